"""Where a stored event is in the slot, for a sink that finds its tail by messages or by a record of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ditto.decoding.change import SnapshotMark
from ditto.formats.own_headers import read_own
from ditto.formats.payload_prefixes import COMMIT_TIME
from ditto.formats.snapshot_events import read_mark
from ditto.formats.stored_groups import GROUP
from ditto.lsn import Position, Transaction, transaction_at

_COMMIT_TIME_BYTES: Final = 64


class EventPlace(NamedTuple):
    """What the next session has to know of the last event."""

    position: Position
    last: Transaction | None
    """The last transaction at or before the position; None where it is not known."""
    mark: SnapshotMark | None = None
    """Of a row of a snapshot."""
    group: int = 0
    """The number of its group in its transaction; 0 for none."""


def place_of(position: Position, payload: bytes, headers: Mapping[str, str]) -> EventPlace:
    """By the headers where they say it, otherwise by the payload, which is an event in Ditto's own shape then."""
    own = read_own(headers.get)
    if own is None:
        time, mark = commit_time_of(payload), read_mark(payload)
    else:
        time, mark = own.commit_time, own.mark
    group = headers.get(GROUP, "")
    return EventPlace(
        position,
        None if time is None else transaction_at(position, time),
        mark,
        int(group) if group.isascii() and group.isdigit() else 0,
    )


def commit_time_of(payload: bytes) -> str | None:
    """Of an event in Ditto's own shape; None where there is none."""
    start = payload.rfind(COMMIT_TIME)
    if start < 0:
        return None
    text = payload[start + len(COMMIT_TIME) : start + len(COMMIT_TIME) + _COMMIT_TIME_BYTES]
    return text.partition(b'"')[0].decode("ascii", "replace")
