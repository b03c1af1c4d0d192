"""Groups read back: several events in one payload (`events.group`), in the order of their positions."""

from __future__ import annotations

from typing import Final

from ditto.formats import deep_json

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


def events_in(payload: bytes) -> list[bytes]:
    """The payload of each event of a message, which may be a group or not: no event of the default format begins with
    a bracket or ends with a line break.

    Raises msgspec.DecodeError for an array that is none.
    """
    if payload.startswith(_ARRAY):
        return [bytes(each) for each in deep_json.elements(payload)]
    if payload.endswith(_LINE_END):
        return payload.splitlines()
    return [payload]
