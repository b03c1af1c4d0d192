"""Packing of events into groups in plain Python: the same interface and the same results as `_packing.pyx`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_ONE_LINE: Final = bytes.maketrans(b"\n\r", b"  ")


def split(
    routes: Sequence[bytes],
    commit_lsns: Sequence[int],
    ends: Sequence[int],
    *,
    gap: int,
    route: bytes,
    max_events: int,
    max_bytes: int,
    lsn: int,
    count: int,
    size: int,
) -> list[int]:
    """Where the runs of a block end: events of one group, or one message that has a route of its own.

    A group has events of one transaction, all on `route`: at most `max_events`, and no more than `max_bytes` with a
    byte between two, unless a single one is larger. `lsn`, `count` and `size` are those of the group that is open: the
    first run goes on with it, unless the first end is 0.
    """
    found: list[int] = []
    start = 0
    for index, (each, commit_lsn, end) in enumerate(zip(routes, commit_lsns, ends, strict=True)):
        payload, start = end - start, end + gap
        if each != route:
            if count:
                found.append(index)
            found.append(index + 1)
            count = size = 0
            continue
        if count and (commit_lsn != lsn or count >= max_events or size + 1 + payload > max_bytes):
            found.append(index)
            count = size = 0
        size += payload + (1 if count else 0)
        count, lsn = count + 1, commit_lsn
    if ends and count:
        found.append(len(ends))
    return found


def join(
    into: bytearray,
    data: bytes | bytearray,
    ends: Sequence[int],
    first: int,
    stop: int,
    *,
    gap: int,
    separator: int,
    is_line: bool,
) -> None:
    """Append the payloads from `first` up to `stop`, with a byte between two and, where `into` is not empty, before.

    A `separator` of -1 is none. With `is_line`, line breaks within a payload become spaces.
    """
    if not 0 <= first < stop <= len(ends) or gap < 0:
        raise ValueError("no such payloads")
    start, before = (ends[first - 1] + gap if first else 0), len(into)
    for index, end in enumerate(ends[first:stop]):
        if not start <= end <= len(data):
            del into[before:]
            raise ValueError("an end outside of the payloads")
        if separator >= 0 and (into or index):
            into.append(separator)
        payload = data[start:end]
        into += payload.translate(_ONE_LINE) if is_line else payload
        start = end + gap
