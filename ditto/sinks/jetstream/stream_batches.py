"""The messages of a stream from its first to its last, in batches that are asked for one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from ditto.sinks.base import Part
from ditto.sinks.jetstream.batch_reader import KEPT_NS, BatchReader, reading

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ditto.sinks.jetstream.api import Api
    from ditto.sinks.jetstream.api_answers import StreamState

_BATCH_MESSAGES: Final = 4000
_BATCH_BYTES: Final = 16 * 1024 * 1024
"""No more than the server has for a client that is slow (64 MB)."""
BATCH_TIMEOUT_S = 30


async def read_batches(
    client: Client, api: Api, stream: str, state: StreamState, *, prefix: str
) -> AsyncGenerator[Part]:
    """Up to the last message of `state`. Raises SinkLost where some could not be read, TimeoutError, nats.errors.Error.

    Pull requests of its own: nats-py's fetch costs several times as much for each message.
    """
    wanted = {"deliver_policy": "all", "ack_policy": "none", "mem_storage": True, "inactive_threshold": KEPT_NS}
    terms = {"batch": _BATCH_MESSAGES, "no_wait": True}
    batches = BatchReader(prefix, batch=_BATCH_MESSAGES, last_sequence=state.last_seq)
    consumer = await api.create_consumer(stream, wanted, f"read stream {stream}")
    async with reading(
        client, api, batches, of=(stream, consumer.name), terms=terms, max_bytes=_BATCH_BYTES
    ) as requests:
        while not batches.is_done:
            async with asyncio.timeout(BATCH_TIMEOUT_S):
                await requests.ask()
                await batches.batch
            yield Part(batches.take(), batches.messages, state.messages)
