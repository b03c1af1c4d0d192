"""Events read back from a stream."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from ditto.formats.checkpoint import encode_checkpoint
from ditto.formats.stored_events import read_event
from ditto.lsn import Checkpoint

EVENT = (
    b'{"id":"i","schema":"s","table":"t","action":"UPDATE","data":{"a":%b},"dataOld":{},'
    b'"commitTime":"%b","unchanged":["b"],"jsonNull":["a"]}'
)
TIME = b"2026-01-02T03:04:05.678901Z"
DEPTH = 50_000


@pytest.mark.parametrize("value", [b"null", b"[" * DEPTH + b"]" * DEPTH], ids=["flat", "deep"])
def test_an_event(value: bytes) -> None:
    event = read_event(EVENT % (value, TIME))
    assert (event.schema, event.table, event.action) == ("s", "t", "UPDATE")
    assert bytes(event.data) == b'{"a":%b}' % value, "rows are not read"
    assert (event.unchanged, event.json_null, event.json_null_old) == (("b",), ("a",), ())
    assert event.committed_at() == datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


@pytest.mark.parametrize(
    "payload",
    [
        encode_checkpoint(Checkpoint(0x500, None), b"0" * 16),
        b'{"schema":"s","table":"t","columns":[]}',
        b"",
        b"\xff",
        b"[]",
    ],
    ids=["checkpoint", "description", "empty", "binary", "list"],
)
def test_what_is_no_event(payload: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        read_event(payload)


def test_a_time_that_no_calendar_has() -> None:
    event = read_event(EVENT % (b"1", b"294276-12-31T23:59:59.000000Z"))
    with pytest.raises(ValueError, match="294276"):
        event.committed_at()
