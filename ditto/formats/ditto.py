"""Events to JSON, a block at a time."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.decoding.change import Event
from ditto.decoding.messages import Encoded
from ditto.sinks.jetstream.frames import line_ends

_ENCODER: Final = msgspec.json.Encoder()


def encode_events(events: list[Event]) -> Encoded:
    """One JSON object an event, keys in the event's order, without white space of its own.

    All with one call: a call for each event costs a third more.
    """
    data = _ENCODER.encode_lines(events)
    ends = line_ends(data)
    # JSON escapes newlines; a column of type `json` is embedded as it stands, and may have some between its tokens.
    return Encoded(data, ends) if len(ends) == len(events) else _encode_one_by_one(events)


def _encode_one_by_one(events: list[Event]) -> Encoded:
    data = bytearray()
    ends = []
    for event in events:
        _ENCODER.encode_into(event, data, -1)
        ends.append(len(data))
        data += b"\n"
    return Encoded(data, ends)
