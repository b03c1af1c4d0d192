"""Sizes of chunks, rates, and rows that moved."""

from __future__ import annotations

import asyncio

import pytest

from ditto.decoding.messages import Moved
from ditto.pipeline.snapshots.limits import ChunkSize, Limits
from ditto.pipeline.snapshots.moved_rows import MANY, MovedRows
from unit.fakes import fake_time, now


def test_chunks_grow_while_they_are_read_quickly() -> None:
    size = ChunkSize(max_rows=5000, max_bytes=1)
    found = [size.rows]
    for _ in range(3):
        size.held(0.2, size.rows, 100, has_events=False)
        size.took(0.01, has_events=False)
        found.append(size.rows)
    assert found == [1000, 4000, 5000, 5000], "no event waits"
    size.took(3.0, has_events=False)
    assert size.rows == 2500
    size.took(0.6, has_events=False)
    assert size.rows == 2500


def test_chunks_are_small_where_events_would_wait_for_them() -> None:
    size = ChunkSize(max_rows=5000, max_bytes=1)
    size.took(0.01, has_events=False)
    assert size.rows == 4000
    for _ in range(3):
        size.took(0.01, has_events=True)
        assert size.rows == 1000, "until it is known how long they wait"
    for _ in range(9):
        size.held(0.01, 1000, 1 << 20, has_events=True)
        size.took(0.01, has_events=True)
    assert size.rows == 2357
    size.held(0.1, 2500, 5 << 20, has_events=True)
    assert size.rows == 300
    size.took(0.01, has_events=True)
    assert size.rows == 300
    size.took(0.01, has_events=False)
    assert size.rows == 1200


@pytest.mark.parametrize(("row_bytes", "least"), [(10, 250), (1 << 10, 64), (1 << 20, 1)])
def test_chunks_do_not_become_smaller_than_helps(row_bytes: int, least: int) -> None:
    """Where sending a few rows takes long, the rows are not the reason."""
    size = ChunkSize(max_rows=5000, max_bytes=1)
    for _ in range(20):
        size.took(0.01, has_events=True)
        size.held(0.06, size.rows, size.rows * row_bytes, has_events=True)
    assert size.rows == least


@fake_time
async def test_the_rate_is_kept() -> None:
    limits = Limits(100, clock=now, changed=asyncio.Event())
    began_at = now()
    for _ in range(5):
        await limits.wait()
        limits.spend(50)
    assert now() - began_at == pytest.approx(2.0)


@fake_time
async def test_a_request_ends_the_wait() -> None:
    changed = asyncio.Event()
    limits = Limits(1, clock=now, changed=changed)
    limits.spend(1000)
    began_at = now()
    asyncio.get_running_loop().call_later(3, changed.set)
    assert await limits.wait() is False
    assert now() - began_at == pytest.approx(3.0)
    assert await limits.wait() is True
    assert now() - began_at == pytest.approx(1000.0, abs=0.5)


@fake_time
async def test_the_time_that_reading_takes_is_part_of_the_rate() -> None:
    limits = Limits(100, clock=now, changed=asyncio.Event())
    began_at = now()
    for _ in range(10):
        assert await limits.wait() is True
        await asyncio.sleep(0.1)  # a chunk is read
        limits.spend(100)
    await limits.wait()
    assert now() - began_at == pytest.approx(10.0, abs=0.3)
    await asyncio.sleep(60)
    limits.spend(100)
    limits.spend(100)
    began_at = now()
    await limits.wait()
    assert now() - began_at > 1.5, "a longer pause is not made up for"


def test_the_slot_keeps_what_moved_rows_until_a_control_event_that_has_them_is_durable() -> None:
    durable = 0
    moved = MovedRows(acknowledged=lambda: durable)
    assert moved.limit(0x900) == 0x900
    moved.add([Moved(7, 0x300, ("1",)), Moved(8, 0x400, ("2",)), Moved(8, 0x400, ("2",))])
    assert moved.has_unsaved is True
    assert moved.limit(0x900) == 0x300
    assert moved.keys == (("1",), ("2",))
    moved.saved(10)
    moved.add([Moved(9, 0x500, ("3",))])
    durable = 9
    assert moved.limit(0x900) == 0x300
    durable = 10
    assert moved.limit(0x900) == 0x500
    assert moved.limit(0x350) == 0x350


def test_a_moved_row_waits_until_it_has_been_read() -> None:
    moved = MovedRows(acknowledged=lambda: 0)
    moved.begin([("0",)])
    moved.add([Moved(7, 0x300, ("1",)), Moved(12, 0x400, ("2",))])
    moved.know((1 << 32) + 4)
    assert [each.xid for each in moved.waiting] == [4, 7, 12]
    read = moved.waiting[:2]
    moved.add([Moved(8, 0x500, ("3",))])
    moved.resolve(read)
    assert moved.keys == (("2",), ("3",))


def test_there_is_a_bound() -> None:
    moved = MovedRows(acknowledged=lambda: 0)
    moved.add(Moved(1, 1, (str(number),)) for number in range(MANY + 1))
    assert moved.are_too_many


def test_there_is_a_bound_of_their_bytes() -> None:
    moved = MovedRows(acknowledged=lambda: 0, most_bytes=100)
    moved.add([Moved(1, 1, ("x" * 40,))])
    moved.resolve(moved.waiting)
    moved.add([Moved(1, 1, ("x" * 40,)), Moved(1, 1, ("y" * 40,))])
    assert (moved.are_too_many, len(moved.keys)) == (False, 2)
    moved.add([Moved(1, 1, ("z" * 40,))])
    assert (moved.are_too_many, len(moved.keys)) == (True, 0)


def test_where_there_are_too_many_the_slot_keeps_them_until_the_table_has_failed() -> None:
    durable = 0
    moved = MovedRows(acknowledged=lambda: durable, most_bytes=10)
    moved.add([Moved(1, 0x300, ("x" * 40,))])
    moved.saved(1)  # a chunk, or a request
    durable = 1
    assert moved.limit(0x900) == 0x300
    assert moved.has_unsaved is True
    moved.given_up()
    moved.saved(2)
    assert moved.limit(0x900) == 0x300
    durable = 2
    assert moved.limit(0x900) == 0x900
