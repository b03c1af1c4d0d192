"""A few events for the screen, as a consumer gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import nats.errors
import nats.js.errors
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ditto.formats.stored_events import read_event

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
    try:
        event = read_event(message.data)
    except msgspec.MsgspecError:
        return None
    row = bytes(event.data)
    return Sample(message.subject, event.action, (bytes(event.data_old) if row == b"{}" else row).decode())
