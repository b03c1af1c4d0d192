"""Offsets in a file of lines: where the last ones begin, the first of a time, and how far the file has got.

`end` is everywhere the offset after the last complete line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import msgspec

from ditto.decoding.event_id import position_of
from ditto.formats.checkpoint import decode_checkpoint
from ditto.formats.payload_prefixes import CHECKPOINT, EVENT, ID_LENGTH, RECORD
from ditto.lsn import Position
from ditto.sinks.file.last_line import Read, commit_time_of, rfind
from ditto.sinks.file.records import HEAD_BYTES, read_head

_CHUNK: Final = 1 << 20
_NEAR: Final = 256 << 10
"""Bytes that are looked through line by line."""
_CHECKPOINT_BYTES: Final = 4096
_LINE: Final = 16 << 10
"""Bytes in which most lines end."""


class Place(NamedTuple):
    """Of a line."""

    position: Position
    commit_time: str | None
    """None for a checkpoint."""


def end_of_lines(read: Read, size: int) -> int:
    """The offset after the last complete line of a file of this size."""
    return rfind(read, b"\n", 0, size) + 1


def whole_lines(read: Read, offset: int, end: int) -> bytes:
    """Lines from there on: a megabyte of them, or one that is larger; nothing where the file became shorter."""
    want = _CHUNK
    while True:
        block = read(min(want, end - offset), offset)
        if (cut := block.rfind(b"\n") + 1) or len(block) < want:
            return block[:cut]
        want *= 4


def offset_of_last(read: Read, end: int, count: int) -> int:
    """Where the last `count` lines begin."""
    if not end:
        return 0
    begin = end - 1  # the line break of the last one
    left = count
    while begin > 0:
        start = max(0, begin - _CHUNK)
        chunk = read(begin - start, start)
        breaks = chunk.count(b"\n")
        if breaks < left:
            left -= breaks
            begin = start
            continue
        cut = len(chunk)
        for _ in range(left):
            cut = chunk.rfind(b"\n", 0, cut)
        return start + cut + 1
    return 0


def offset_since(read: Read, end: int, since: datetime) -> int:
    """Where the first line begins that was committed then or later; `end` where there is none.

    Commits are in the order of their LSNs, in which clocks of sessions may be some milliseconds apart.
    """
    low, high = 0, end
    while high - low > _NEAR:
        middle = (low + high) // 2
        found = _dated(read, _next_line(read, middle, high), high)
        if found is None or found[2] >= since:
            high = middle
        else:
            low = found[1]
    while (found := _dated(read, low, end)) is not None:
        if found[2] >= since:
            return found[0]
        low = found[1]
    return end


def _dated(read: Read, offset: int, end: int) -> tuple[int, int, datetime] | None:
    """The first line from there on that has a commit time: its offset, the next one's, and that time."""
    while offset < end:
        after = _next_line(read, offset, end)
        time = _time(read, offset, after)
        if time is not None:
            return offset, after, time
        offset = after
    return None


def _time(read: Read, start: int, after: int) -> datetime | None:
    head = read(min(HEAD_BYTES, after - start), start)
    text: str | None = None
    if head.startswith(EVENT):
        text = commit_time_of(read, start, after)
    elif head.startswith(RECORD) and (record := read_head(head)) is not None:
        text = record.commit_time
    try:
        found = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found is None or found.tzinfo else None


def _next_line(read: Read, offset: int, end: int) -> int:
    """Where the line after the one begins to which the byte at this offset belongs; `end` where there is none."""
    while offset < end:
        size = min(_LINE, end - offset)
        found = read(size, offset).find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += size
    return end


def last_place(read: Read, end: int, key: bytes | None) -> Place | None:
    """Of the last line that has a position; None where there is none, or it cannot be known."""
    while end:
        start = rfind(read, b"\n", 0, end - 1) + 1
        head = read(min(HEAD_BYTES, end - start), start)
        if head.startswith(EVENT):
            identifier = head[len(EVENT) : len(EVENT) + ID_LENGTH]
            position = None if key is None else position_of(identifier, key)
            return None if position is None else Place(position, commit_time_of(read, start, end))
        if head.startswith(RECORD) and (record := read_head(head)) is not None:
            return Place(record.position, record.commit_time)
        if head.startswith(CHECKPOINT):
            try:
                return Place(decode_checkpoint(read(min(_CHECKPOINT_BYTES, end - start), start))[0].position, None)
            except (ValueError, msgspec.MsgspecError):
                return None
        end = start
    return None
