"""Events to JSON, a block at a time."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.event import Event

_ENCODE: Final = msgspec.json.Encoder().encode


def encode_events(events: list[Event]) -> list[bytes]:
    """One line of JSON an event, keys in the event's order, without white space."""
    return [_ENCODE(event) for event in events]
