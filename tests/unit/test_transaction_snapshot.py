"""Which transactions a snapshot sees, where the stream has 32 bits of their ids and the snapshot 64."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding.transaction_snapshot import TxSnapshot


def test_snapshots_are_read_as_postgresql_writes_them() -> None:
    assert TxSnapshot.parse("10:20:10,14,15") == TxSnapshot(10, 20, frozenset({10, 14, 15}))
    assert TxSnapshot.parse("7:7:") == TxSnapshot(7, 7, frozenset())


@pytest.mark.parametrize("text", ["", "1:2", "a:b:", "1:2:x", "1:2:3:4"])
def test_other_text_is_no_snapshot(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TxSnapshot.parse(text)


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize(
    ("xid", "is_seen"), [(9, True), (10, False), (11, True), (14, False), (19, True), (20, False), (3000, False)]
)
def test_a_transaction_is_seen_once_it_has_ended(xid: int, is_seen: bool, epoch: int) -> None:
    base = epoch << 32
    snapshot = TxSnapshot(base + 10, base + 20, frozenset({base + 10, base + 14, base + 15}))
    assert snapshot.sees(xid) is is_seen


def test_ids_that_wrapped_around_are_later() -> None:
    base = 3 << 32
    snapshot = TxSnapshot(base - 5, base + 5, frozenset({base - 3, base + 3}))
    seen = [(base + offset) & 0xFFFF_FFFF for offset in range(-10, 10) if snapshot.sees((base + offset) & 0xFFFF_FFFF)]
    assert seen == [(base + offset) & 0xFFFF_FFFF for offset in (-10, -9, -8, -7, -6, -5, -4, -2, -1, 0, 1, 2, 4)]


@given(st.integers(1 << 31, 1 << 63), st.integers(-(1 << 31), (1 << 31) - 1), st.integers(0, 100), st.data())
def test_32_bits_are_enough(xmax: int, distance: int, width: int, data: st.DataObject) -> None:
    xid = xmax + distance
    running = data.draw(st.frozensets(st.integers(xmax - width, xmax - 1), max_size=5)) if width else frozenset()
    expected = xid < xmax and xid not in running
    assert TxSnapshot(min(running, default=xmax), xmax, running).sees(xid & 0xFFFF_FFFF) is expected
