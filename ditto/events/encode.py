"""Events to JSON, a block at a time."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.event import Event
from ditto.messages import Encoded

_ENCODE_INTO: Final = msgspec.json.Encoder().encode_into


def encode_events(events: list[Event]) -> Encoded:
    """One JSON object an event, keys in the event's order, without white space.

    All into one buffer: a bytes object for each cost a fifth more.
    """
    data = bytearray()
    return Encoded(data, [_ENCODE_INTO(event, data, -1) or len(data) for event in events])
