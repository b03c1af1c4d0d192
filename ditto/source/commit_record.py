"""Reads one commit record from the server's WAL: which transaction commits at an LSN, sent by a slot or not.

Logical decoding leaves out a transaction of which nothing is published, and that can change between two times that the
same transaction is decoded: pgoutput keeps what it has read of a publication, so that a transaction which was open
during ALTER PUBLICATION … ADD TABLE is sent or not, depending on the transactions before it. The WAL itself is
certain. It is read as a physical standby reads it.

Layout: https://doxygen.postgresql.org/xlogrecord_8h_source.html, and `xl_xact_commit` in xact.h; the same in 14 to 18.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ditto.lsn import Transaction
from ditto.source.replication import Replication

_RECORD: Final = struct.Struct("<IIQBBxxI")
"""Length, transaction id, previous record, info, resource manager, checksum."""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
HEADER_SIZE: Final = _RECORD.size
_PAGE: Final = struct.Struct("<HHIQI")
_SHORT_PAGE_HEADER: Final = 24
_LONG_PAGE_HEADER: Final = 40
_IS_LONG: Final = 0x0002
_TRANSACTION_MANAGER: Final = 1
_OPERATION: Final = 0x70
_COMMIT: Final = 0x00
_COMMIT_PREPARED: Final = 0x30
_BLOCK_SHORT, _BLOCK_LONG, _BLOCK_ORIGIN, _BLOCK_TOPLEVEL = 255, 254, 253, 252
_MOST: Final = 8 << 20
"""Bytes of the largest record that is read: one of many subtransactions or dropped files is long."""


class CommitRecord(NamedTuple):
    """A commit record of the WAL."""

    times_us: frozenset[int]
    """Microseconds since 2000: of this server, and of the one that the transaction was replicated from."""
    xid: int | None
    """None for a prepared transaction, which is committed by another one."""

    def is_of(self, transaction: Transaction) -> bool:
        """Whether it is this one's."""
        time_us = (datetime.fromisoformat(transaction.commit_time) - _EPOCH) // timedelta(microseconds=1)
        return time_us in self.times_us and (None in {self.xid, transaction.xid} or self.xid == transaction.xid)


def commit_size(wal: bytes) -> int:
    """Bytes of the commit record that begins with these, of which there are at least `HEADER_SIZE`; 0 for others."""
    size, _, _, info, manager, _ = _RECORD.unpack_from(wal)
    is_commit = manager == _TRANSACTION_MANAGER and info & _OPERATION in {_COMMIT, _COMMIT_PREPARED}
    return size if is_commit and HEADER_SIZE < size <= _MOST else 0


def without_page_headers(wal: bytes, *, lsn: int, page_size: int) -> bytes:
    """The records' own bytes, of WAL that begins at `lsn`; a page header at its end may be there in part."""
    parts = []
    at = 0
    while at < len(wal):
        offset = (lsn + at) % page_size
        if offset == 0:
            if len(wal) - at < _PAGE.size:
                break
            is_long = _PAGE.unpack_from(wal, at)[1] & _IS_LONG
            at += _LONG_PAGE_HEADER if is_long else _SHORT_PAGE_HEADER
            offset = (lsn + at) % page_size
        parts.append(wal[at : at + page_size - offset])
        at += page_size - offset
    return b"".join(parts)


def parse_commit(record: bytes) -> CommitRecord | None:
    """Of a whole record; None for one that is no commit."""
    size = commit_size(record)
    if not size or len(record) < size:
        return None
    _, xid, _, info, _, _ = _RECORD.unpack_from(record)
    at = HEADER_SIZE
    while at < size and record[at] in {_BLOCK_ORIGIN, _BLOCK_TOPLEVEL}:
        at += 3 if record[at] == _BLOCK_ORIGIN else 5
    header = {_BLOCK_SHORT: 2, _BLOCK_LONG: 5}.get(record[at] if at < size else 0)
    if header is None or size - at - header < 8:
        return None
    data = record[at + header : size]
    # The replication origin, with its time, comes last; where there is none, these bytes are no time that fits.
    times = (int.from_bytes(part, "little", signed=True) for part in (data[:8], data[-8:]))
    return CommitRecord(frozenset(times), xid if info & _OPERATION == _COMMIT else None)


async def is_committed(dsn: str, transaction: Transaction, *, page_size: int, clock: Callable[[], float]) -> bool:
    """Whether the server's WAL has this transaction's commit. Raises what a replication connection does."""
    source = Replication(dsn, clock=clock, max_events=1, max_bytes=1)
    try:
        await source.connect()
        system = await source.identify()
        switches = await source.switch_lsns(system.timeline)
        record = await read_commit(
            source,
            transaction.commit_lsn,
            end_lsn=system.wal_lsn,
            timeline=min(
                (each for each, lsn in switches.items() if lsn > transaction.commit_lsn), default=system.timeline
            ),
            page_size=page_size,
        )
        return record is not None and record.is_of(transaction)
    finally:
        await source.close()


async def read_commit(
    source: Replication, lsn: int, *, end_lsn: int, timeline: int, page_size: int
) -> CommitRecord | None:
    """The commit record that begins at `lsn`; None where none does.

    `source` is connected, and does nothing else; `end_lsn` is where its server's WAL ends, at least. Raises what the
    server says where it refuses, and ConnectionLost.
    """
    if lsn + HEADER_SIZE > end_lsn:
        return None
    wal = b""
    async for part in source.wal(lsn, timeline=timeline):
        wal += part
        record = without_page_headers(wal, lsn=lsn, page_size=page_size)
        if len(record) >= HEADER_SIZE:
            size = commit_size(record)
            if len(record) >= size:
                return parse_commit(record[:size]) if size else None
        if len(wal) >= end_lsn - lsn:  # for more it would wait until somebody writes
            return None
    return None
