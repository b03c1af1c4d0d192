"""Finds the end of what a file holds for certain, and the position of its last event or checkpoint.

A line needs nothing besides the event: an id is the event's position XOR the key of cluster and slot, so that the key
gives the position back. Lines can be of any length; no more than a part of one is ever in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from ditto.decoding.change import SnapshotMark
from ditto.decoding.event_id import event_id, event_key, position_of
from ditto.errors import FileUnusable, StreamOwned
from ditto.formats.checkpoint import decode_checkpoint
from ditto.formats.payload_prefixes import (
    CHECKPOINT,
    COMMIT_TIME,
    CONTROL,
    CONTROL_OFFSET,
    DESCRIPTION,
    EVENT,
    ID_LENGTH,
    RECORD,
)
from ditto.formats.snapshot_events import read_mark
from ditto.lsn import Position, Transaction, transaction_at
from ditto.sinks.base import PipelineId
from ditto.sinks.file.records import HEAD_BYTES, read_head, read_record_mark
from ditto.sinks.file.torn_line import JUDGED_BYTES, is_claim_begun, is_line_begun

Read: TypeAlias = Callable[[int, int], bytes]
"""Size and offset to bytes, as `os.pread` without the descriptor."""

_COMMIT_TIME_BYTES: Final = 64

_CHUNK: Final = 1 << 20
_MARK_BYTES: Final = 64 << 10
"""Of the longest mark of a row, which a key of several kilobytes may have."""
_CHECKPOINT_BYTES: Final = 4096
"""Of the longest checkpoint, by far."""


class Tail(NamedTuple):
    """What a file holds."""

    end: int
    """Offset after the last complete line; what follows was not written completely."""
    position: Position | None
    last: Transaction | None
    mark: SnapshotMark | None = None
    """Of the last event, where that is a row of a snapshot."""
    snapshots: bytes = b""
    """The last control event of snapshots; empty for none."""


def find_tail(read: Read, size: int, *, pipeline: PipelineId, path: str, unsynced_bytes: int) -> Tail:
    """Look at a file of `size` bytes, of which the last `unsynced_bytes` may not have been on the disk.

    Raises StreamOwned where the lines are those of another slot or cluster, FileUnusable where they are not Ditto's.
    """
    key = event_key(pipeline.system_identifier, pipeline.slot)
    # The last line may be larger than all that may wait to be synchronised with it.
    last_start = rfind(read, b"\n", 0, size - 1) + 1
    hole = _first_hole(read, max(0, last_start - unsynced_bytes), size)
    end = rfind(read, b"\n", 0, hole) + 1
    rest = read(JUDGED_BYTES, end)
    if not (is_line_begun(rest, key) if end else is_claim_begun(rest, size, key)):
        remedy = "remove what follows the last line break, and find out who wrote it" if end else "remove the file"
        raise FileUnusable(
            f"file {path} ends in the middle of a line, which Ditto did not write",
            hint=f"if the file is another program's, give Ditto one of its own (file.path); otherwise {remedy}",
            file=path,
        )
    line_end = end
    while line_end:
        start = rfind(read, b"\n", 0, line_end - 1) + 1
        head = read(HEAD_BYTES, start)
        if not head.startswith(DESCRIPTION):
            position, last = _judge(read, head, start, line_end, key=key, pipeline=pipeline, path=path)
            _check_first(read, line_end, key=key, pipeline=pipeline, path=path)
            return Tail(end, position, last, _mark(read, head, start, line_end), _last_control(read, line_end))
        line_end = start
    if end:
        raise FileUnusable(
            f"file {path} holds descriptions of tables alone: it does not say where to go on",
            hint="if the file is another program's, give Ditto one of its own (file.path); where it continues another "
            "file, let it begin with that one's last line that has an id",
            file=path,
        )
    return Tail(0, None, None)


def _last_control(read: Read, end: int) -> bytes:
    """The last control event of snapshots, however far back; 1 GB takes a second."""
    while (found := rfind(read, CONTROL, 0, end)) > 0:
        start = rfind(read, b"\n", 0, found) + 1
        if found - start == CONTROL_OFFSET:
            line_end = found
            while (newline := read(_CHUNK, line_end).find(b"\n")) < 0:
                line_end += _CHUNK
            return read(line_end + newline - start, start)
        end = found
    return b""


def _mark(read: Read, head: bytes, start: int, line_end: int) -> SnapshotMark | None:
    """Of a row of a snapshot: at the end of an event, at the beginning of a record, whose payload may look like one."""
    if (record := read_head(head)) is not None:
        return read_record_mark(read(_MARK_BYTES, start + record.mark_offset)) if record.mark_offset else None
    mark_start = max(start, line_end - _MARK_BYTES)
    return read_mark(read(line_end - 1 - mark_start, mark_start))


def _judge(
    read: Read, head: bytes, start: int, line_end: int, *, key: bytes, pipeline: PipelineId, path: str
) -> tuple[Position, Transaction | None]:
    """Position, and last transaction at or before it, of the line that begins with `head`."""
    if head.startswith(EVENT):
        position = position_of(head[len(EVENT) : len(EVENT) + ID_LENGTH], key)
        if position is None or not position.ordinal:
            raise _owned(pipeline, path)
        commit_time = commit_time_of(read, start, line_end)
        if commit_time is not None:
            return position, transaction_at(position, commit_time)
    elif head.startswith(RECORD) and (record := read_head(head)) is not None:
        if not record.position.ordinal or record.id != event_id(record.position, key):
            raise _owned(pipeline, path)
        time = record.commit_time
        return record.position, None if time is None else transaction_at(record.position, time)
    elif head.startswith(CHECKPOINT) and line_end - start <= _CHECKPOINT_BYTES:
        try:
            checkpoint, identifier = decode_checkpoint(read(line_end - start, start))
        except (ValueError, msgspec.MsgspecError):
            raise _foreign(path, start) from None
        if identifier != event_id(checkpoint.position, key):
            raise _owned(pipeline, path)
        return checkpoint.position, checkpoint.last
    raise _foreign(path, start)


def _check_first(read: Read, end: int, *, key: bytes, pipeline: PipelineId, path: str) -> None:
    """A file begins with the checkpoint that claims it, whose id leaves no doubt whose it is."""
    head = read(_CHECKPOINT_BYTES, 0)
    if head.startswith(CHECKPOINT):
        line_end = head.find(b"\n") + 1
        _judge(read, head, 0, line_end or end, key=key, pipeline=pipeline, path=path)


def commit_time_of(read: Read, start: int, line_end: int) -> str | None:
    """Of the event between the two offsets; None where there is none."""
    found = rfind(read, COMMIT_TIME, start, line_end)
    if found < 0:
        return None
    text = read(_COMMIT_TIME_BYTES, found + len(COMMIT_TIME))
    return text.partition(b'"')[0].decode("ascii", "replace")


def _first_hole(read: Read, start: int, size: int) -> int:
    """Where the first zero byte is, or `size`.

    No line has one. A machine that failed may leave some in place of what had not reached the disk, also in front of
    something that had.
    """
    for offset in range(start, size, _CHUNK):
        found = read(min(_CHUNK, size - offset), offset).find(b"\0")
        if found >= 0:
            return offset + found
    return size


def rfind(read: Read, wanted: bytes, start: int, end: int) -> int:
    """The offset of the last occurrence between the two offsets, or -1."""
    behind = b""
    while end > start:
        begin = max(start, end - _CHUNK)
        chunk = read(end - begin, begin) + behind
        found = chunk.rfind(wanted)
        if found >= 0:
            return begin + found
        behind, end = chunk[: len(wanted) - 1], begin
    return -1


def _owned(pipeline: PipelineId, path: str) -> StreamOwned:
    return StreamOwned(
        f"file {path} holds events of another slot or another database cluster than slot {pipeline.slot} of cluster "
        f"{pipeline.system_identifier}",
        hint="give each Ditto a file of its own (file.path); after pg_upgrade, or with another slot, begin a new file",
        file=path,
    )


def _foreign(path: str, offset: int) -> FileUnusable:
    return FileUnusable(
        f"file {path} has a line at byte {offset} that Ditto did not write, and cannot go on after it",
        hint="if the file is another program's, give Ditto one of its own (file.path); otherwise remove that line, and "
        "find out who wrote it",
        file=path,
    )
