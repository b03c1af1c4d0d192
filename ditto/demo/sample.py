"""A few events for the screen, as a consumer gets them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

if TYPE_CHECKING:
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

FETCH_TIMEOUT_S = 1


class Sample(NamedTuple):
    subject: str
    action: str
    text: str
    """The row in JSON: the new one, or for a DELETE what is known of the old one."""


async def newest(jetstream: JetStreamContext, stream: str, subject: str) -> Sample | None:
    """The newest event with this subject, from a consumer made for it; None when there is none (yet)."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.LAST, ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=10
    )
    try:
        subscription = await jetstream.pull_subscribe(subject, stream=stream, config=config)
    except nats.js.errors.NotFoundError:
        return None
    try:
        (message,) = await subscription.fetch(1, timeout=FETCH_TIMEOUT_S)
    except nats.errors.TimeoutError:
        return None
    finally:
        await subscription.unsubscribe()
    return _sample(message)


def _sample(message: Msg) -> Sample | None:
    event: dict[str, Any] = json.loads(message.data)
    if "action" not in event:
        return None  # a checkpoint
    row = event["data"] or event["dataOld"]
    return Sample(message.subject, event["action"], json.dumps(row, ensure_ascii=False, separators=(",", ":")))
