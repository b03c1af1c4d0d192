"""Groups read back: several events in one payload (`events.group`), in the order of their positions."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.formats import deep_json
from ditto.formats.stored_events import Header, is_msgpack, no_header

FIRST: Final = "Ditto-First"
"""On groups alone: the ordinal of the first event; `Ditto-Position` is that of the last one."""
EVENTS: Final = "Ditto-Events"
"""How many events."""
GROUP: Final = "Ditto-Group"
"""The number of the group in its transaction; on another message, that of the group before it."""
LAST: Final = "Ditto-Group-Last"
"""`true`: no group of the transaction follows."""

_ARRAY: Final = b"["
_LINE_END: Final = b"\n"
_MSGPACK_ARRAY: Final = b"\x90"
"""Its tag, or a lower one of arrays: an event is a map of less than 16 fields, whose tag is lower."""


def events_in(payload: bytes, header: Header = no_header) -> list[bytes]:
    """The payload of each event of a message, which may be a group or not: no event in JSON begins with a bracket or
    ends with a line break, and none in MessagePack is an array.

    Raises msgspec.DecodeError for an array that is none.
    """
    if is_msgpack(header):
        return _elements(payload) if payload[:1] >= _MSGPACK_ARRAY else [payload]
    if payload.startswith(_ARRAY):
        return [bytes(each) for each in deep_json.elements(payload)]
    if payload.endswith(_LINE_END):
        return payload.splitlines()
    return [payload]


def _elements(payload: bytes) -> list[bytes]:
    # Chooses between compiled and plain code, which programs that only read JSON should not fail for.
    from ditto.formats.msgpack_arrays import split_array  # noqa: PLC0415

    try:
        data, ends = split_array(payload)
    except (IndexError, ValueError) as error:
        raise msgspec.DecodeError("no array of events") from error
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
