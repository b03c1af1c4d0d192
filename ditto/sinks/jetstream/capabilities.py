"""What the pipeline, and `ditto check`, have to know about a stream as a sink."""

from __future__ import annotations

from ditto.config import Nats
from ditto.sinks.base import Capabilities
from ditto.sinks.jetstream.batches import FLOW


def capabilities(config: Nats, *, max_bytes: int = 0, ack_interval: int = FLOW) -> Capabilities:
    """`max_bytes` is known once the stream has been looked at."""
    return Capabilities(
        "stream",
        config.stream,
        "nats.stream and events.prefix",
        "raise max_payload of nats-server (and max_msg_size of the stream), up to the 32 MB that its file store takes",
        max_bytes=max_bytes,
        ack_interval=ack_interval,
        is_fenced=True,
    )
