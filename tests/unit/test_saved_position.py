"""The place that is kept beside a sink's messages: the slot never passes it."""

from __future__ import annotations

import asyncio

import pytest

from ditto.errors import SinkDenied, SinkLost
from ditto.lsn import Checkpoint, Transaction
from ditto.pipeline.saved_position import Place
from unit.fakes import FakeSink, fake_time, now

LAST = Transaction(0x90, "2026-01-01T00:00:00Z", 7)


def make(*, may_lose_tail: bool = True) -> tuple[Place, FakeSink]:
    sink = FakeSink()
    sink.may_lose_tail = may_lose_tail
    return Place(sink, clock=now), sink


@fake_time
async def test_nothing_is_kept_where_the_sink_keeps_its_last_message() -> None:
    place, sink = make(may_lose_tail=False)
    await place.keep(0x100, LAST)
    assert sink.beside == []
    assert place.limit(0x100) == 0x100
    assert not place.is_waiting


@fake_time
async def test_no_more_is_confirmed_than_is_kept() -> None:
    place, sink = make()
    assert place.limit(0x100) == 0
    await place.keep(0x100, LAST)
    assert sink.beside == [Checkpoint(0x100, LAST)]
    assert place.limit(0x80) == 0x80
    assert place.limit(0x200) == 0x100


@fake_time
async def test_a_transaction_that_may_not_be_before_it_is_left_out() -> None:
    place, sink = make()
    await place.keep(LAST.commit_lsn, LAST)
    assert sink.beside == [Checkpoint(LAST.commit_lsn, None)]


@fake_time
async def test_it_is_kept_every_two_seconds_and_at_once_where_that_is_urgent() -> None:
    place, sink = make()
    await place.keep(0x100, None)
    await place.keep(0x110, None)
    assert [each.lsn for each in sink.beside] == [0x100]
    await place.keep(0x120, None, is_urgent=True)
    assert [each.lsn for each in sink.beside] == [0x100, 0x120]
    was_waiting = place.is_waiting
    await asyncio.sleep(2)
    assert (was_waiting, place.is_waiting) == (True, False)
    await place.keep(0x120, None)  # nothing new
    await place.keep(0x130, None)
    assert [each.lsn for each in sink.beside] == [0x100, 0x120, 0x130]


@fake_time
async def test_a_slow_server_is_asked_more_rarely() -> None:
    """With thousands of subjects nats-server needs seconds: keeping takes at most a fiftieth of the time."""
    place, sink = make()
    original = sink.save_beside

    async def slow(checkpoint: Checkpoint) -> None:
        await asyncio.sleep(3)
        await original(checkpoint)

    sink.save_beside = slow  # type: ignore[method-assign]
    await place.keep(0x100, None)
    await asyncio.sleep(149)
    await place.keep(0x110, None)
    assert [each.lsn for each in sink.beside] == [0x100]
    await asyncio.sleep(1)
    await place.keep(0x110, None)
    assert [each.lsn for each in sink.beside] == [0x100, 0x110]


@fake_time
async def test_a_lost_connection_ends_the_session() -> None:
    place, sink = make()
    sink.fault = SinkLost("gone")
    with pytest.raises(SinkLost):
        await place.keep(0x100, None)
    assert place.limit(0x100) == 0


@fake_time
async def test_a_refusal_is_said_and_holds_nothing_back() -> None:
    place, sink = make()
    sink.fault = SinkDenied("no rights")
    await place.keep(0x100, None)
    assert place.limit(0x100) == 0x100
    sink.fault = None
    await asyncio.sleep(10)
    await place.keep(0x200, None)
    assert sink.beside == []
