"""Builds CopyData messages byte by byte, as PostgreSQL's manual lays them out.

https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

INT4: Final = 23
TEXT: Final = 25
JSONB: Final = 3802

UNCHANGED: Final = object()
"""A TOASTed value that is not sent."""

Cell = bytes | str | None | object
Row = list[Cell]


class Column(NamedTuple):
    name: str
    type_oid: int = TEXT
    is_key: bool = False


def copy_data(message: bytes) -> bytes:
    """XLogData: start, end and send time, which the decoder steps over, then the message."""
    return b"w" + struct.pack("!QQq", 1, 2, 3) + message


def keepalive(end_lsn: int, *, wants_reply: bool = False) -> bytes:
    return b"k" + struct.pack("!Qq?", end_lsn, 0, wants_reply)


def string(text: str) -> bytes:
    return text.encode() + b"\0"


def begin(lsn: int, *, time_us: int = 0) -> bytes:
    return copy_data(b"B" + struct.pack("!QqI", lsn, time_us, 700))


def commit(lsn: int, *, end_lsn: int | None = None) -> bytes:
    return copy_data(b"C" + struct.pack("!BQQq", 0, lsn, lsn + 8 if end_lsn is None else end_lsn, 0))


def relation(oid: int, name: str, columns: list[Column], *, namespace: str = "public", identity: str = "d") -> bytes:
    message = b"R" + struct.pack("!I", oid) + string(namespace) + string(name) + identity.encode()
    message += struct.pack("!H", len(columns))
    for column in columns:
        message += struct.pack("!B", column.is_key) + string(column.name) + struct.pack("!Ii", column.type_oid, -1)
    return copy_data(message)


def type_(oid: int, namespace: str, name: str) -> bytes:
    return copy_data(b"Y" + struct.pack("!I", oid) + string(namespace) + string(name))


def origin(name: str) -> bytes:
    return copy_data(b"O" + struct.pack("!Q", 5) + string(name))


def row(cells: Row) -> bytes:
    """TupleData."""
    parts = [struct.pack("!H", len(cells))]
    for cell in cells:
        if cell is None:
            parts.append(b"n")
        elif cell is UNCHANGED:
            parts.append(b"u")
        else:
            assert isinstance(cell, str | bytes)
            data = cell.encode() if isinstance(cell, str) else cell
            parts.append(b"t" + struct.pack("!i", len(data)) + data)
    return b"".join(parts)


def insert(oid: int, new: Row) -> bytes:
    return copy_data(b"I" + struct.pack("!I", oid) + b"N" + row(new))


def _old_part(key: Row | None, old: Row | None) -> bytes:
    if key is not None:
        return b"K" + row(key)
    return b"" if old is None else b"O" + row(old)


def update(oid: int, new: Row, *, key: Row | None = None, old: Row | None = None) -> bytes:
    return copy_data(b"U" + struct.pack("!I", oid) + _old_part(key, old) + b"N" + row(new))


def delete(oid: int, *, key: Row | None = None, old: Row | None = None) -> bytes:
    return copy_data(b"D" + struct.pack("!I", oid) + _old_part(key, old))


def truncate(*oids: int, flags: int = 0) -> bytes:
    return copy_data(b"T" + struct.pack("!IB", len(oids), flags) + b"".join(struct.pack("!I", oid) for oid in oids))


def logical_message(
    content: bytes = b"content", *, is_transactional: bool = True, prefix: str = "prefix", lsn: int = 9
) -> bytes:
    return copy_data(
        b"M" + struct.pack("!BQ", is_transactional, lsn) + string(prefix) + struct.pack("!I", len(content)) + content
    )
