"""What the lines of a file are, as `base.Reader` gives them."""

from __future__ import annotations

from typing import Final

import msgspec

from ditto.decoding.event_id import key_of, position_of
from ditto.formats.checkpoint import decode_checkpoint
from ditto.formats.payload_prefixes import (
    CHECKPOINT,
    CONTROL,
    CONTROL_OFFSET,
    DESCRIPTION,
    EVENT,
    ID_LENGTH,
    RECORD,
)
from ditto.lsn import Position
from ditto.sinks.base import MessageKind, ReadMessage
from ditto.sinks.file.last_line import Read
from ditto.sinks.file.records import HEAD_BYTES, read_head, read_record

_ID: Final = slice(len(EVENT), len(EVENT) + ID_LENGTH)
_CHUNK: Final = 1 << 20
_LINES_WITH_KEY: Final = (b"\n" + CHECKPOINT, b"\n" + RECORD)
_CHECKPOINT_BYTES: Final = 4096


class Lines:
    """Makes messages of lines that come one after the other.

    An event says its id alone, which is its position XOR a key. A checkpoint and a record say both, and so the key.
    """

    def __init__(self, key: bytes | None) -> None:
        """`key` as far as it is known: see `find_key`."""
        self._key = key
        self._position: Position | None = None

    def messages(self, block: bytes, offset: int) -> list[ReadMessage]:
        """Of whole lines, the first of which begins at this offset of the file."""
        found = []
        for line in block.split(b"\n")[:-1]:
            message = self._message(line, offset)
            self._position = message.position or self._position
            found.append(message)
            offset += len(line) + 1
        return found

    def _message(self, line: bytes, offset: int) -> ReadMessage:
        if line.startswith(EVENT):
            kind = MessageKind.CONTROL if line.startswith(CONTROL, CONTROL_OFFSET) else MessageKind.EVENT
            position = None if self._key is None else position_of(line[_ID], self._key)
            return ReadMessage(offset, kind, line, position=position)
        try:
            if line.startswith(RECORD):
                record = read_record(line)
                self._key = self._key or key_of(record.id.encode(), record.position)
                return ReadMessage(
                    offset,
                    MessageKind.EVENT,
                    record.payload,
                    record.subject,
                    record.headers,
                    record.key,
                    record.position,
                )
            if line.startswith(CHECKPOINT):
                checkpoint, identifier = decode_checkpoint(line)
                self._key = self._key or key_of((identifier or "").encode(), checkpoint.position)
                return ReadMessage(offset, MessageKind.CHECKPOINT, line, position=checkpoint.position)
        except (ValueError, msgspec.MsgspecError):
            return ReadMessage(offset, MessageKind.EVENT, line)  # another program's
        if line.startswith(DESCRIPTION):
            return ReadMessage(offset, MessageKind.DESCRIPTION, line, position=self._position)
        return ReadMessage(offset, MessageKind.EVENT, line)


def find_key(read: Read, end: int) -> bytes | None:
    """By the first checkpoint or record: the first line of a file that Ditto has created. None where there is none."""
    found = 0 if read(HEAD_BYTES, 0).startswith((CHECKPOINT, RECORD)) else _find_line(read, 0, end)
    while found is not None:
        head = read(_CHECKPOINT_BYTES, found)
        if (key := _key_of_line(head)) is not None:
            return key
        found = _find_line(read, found + 1, end)
    return None


def _find_line(read: Read, start: int, end: int) -> int | None:
    """Where the first checkpoint or record begins that is not the first line."""
    longest = max(map(len, _LINES_WITH_KEY))
    for offset in range(start, end, _CHUNK):
        chunk = read(_CHUNK + longest, offset)
        places = [place for each in _LINES_WITH_KEY if (place := chunk.find(each)) >= 0]
        if places:
            return offset + min(places) + 1
    return None


def _key_of_line(head: bytes) -> bytes | None:
    if (record := read_head(head)) is not None:
        return key_of(record.id.encode(), record.position)
    try:
        checkpoint, identifier = decode_checkpoint(head.partition(b"\n")[0])
    except (ValueError, msgspec.MsgspecError):
        return None
    return None if identifier is None else key_of(identifier.encode(), checkpoint.position)
