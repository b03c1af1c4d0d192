"""Records of the WAL, taken out of its pages. What real servers write is read in e2e/faults/test_commit_record.py."""

from __future__ import annotations

import struct

import pytest

from ditto.lsn import Transaction
from ditto.source.commit_record import commit_size, parse_commit, without_page_headers

PAGE = 64
TIME = Transaction(0x500, "2026-11-25T12:00:00.000001Z", 700)
TIME_US = 848923200000001


def commit(*, info: int = 0x80, manager: int = 1, before_data: bytes = b"", data: bytes | None = None) -> bytes:
    data = struct.pack("<qI", TIME_US, 0) if data is None else data
    body = before_data + bytes([255, len(data)]) + data
    return struct.pack("<IIQBBxxI", 24 + len(body), 700, 0, info, manager, 0) + body


def paged(record: bytes, *, lsn: int, is_long: bool) -> bytes:
    """The record from `lsn` on, with a header at the beginning of each page after the first."""
    found, first = b"", PAGE - lsn % PAGE
    header = struct.pack("<HHIQI", 0xD118, 0x0002 if is_long else 0, 1, 0, 0).ljust(40 if is_long else 24, b"\xee")
    room = PAGE - len(header)
    parts = [record[:first], *(record[at : at + room] for at in range(first, len(record), room))]
    for part in parts:
        found += part if not found else header + part
    return found


@pytest.mark.parametrize("is_long", [False, True])
@pytest.mark.parametrize("lsn", [0x1008, 0x1020, 0x1030, 0x1038])
def test_a_record_goes_on_in_the_next_pages(lsn: int, *, is_long: bool) -> None:
    record = bytes(range(1, 201))
    wal = paged(record, lsn=lsn, is_long=is_long)
    assert without_page_headers(wal, lsn=lsn, page_size=PAGE) == record
    for size in range(len(wal)):
        part = without_page_headers(wal[:size], lsn=lsn, page_size=PAGE)
        assert record.startswith(part)


@pytest.mark.parametrize("before_data", [b"", b"\xfd\x01\x00", b"\xfc\x07\x00\x00\x00"])
def test_a_commit(before_data: bytes) -> None:
    record = commit(before_data=before_data)
    found = parse_commit(record)
    assert found is not None
    assert commit_size(record) == len(record)
    assert found.xid == 700
    assert found.is_of(TIME)
    assert found.is_of(TIME._replace(xid=None))
    assert not found.is_of(TIME._replace(xid=701))
    assert not found.is_of(TIME._replace(commit_time="2026-11-25T12:00:00.000002Z"))


@pytest.mark.parametrize(
    "record",
    [
        commit(manager=10),
        commit(info=0x20),  # an abort
        commit(data=b"short"),
        commit()[:-1],
        commit(before_data=b"\x00"),
        bytes(24),
        b"\xff" * 24,
    ],
)
def test_what_is_no_commit(record: bytes) -> None:
    assert parse_commit(record) is None
