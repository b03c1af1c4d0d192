"""Two Dittos on one slot: one streams, the other stands by."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_the_second_takes_over(world: World, end: signal.Signals) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(1, 50000)")
    await world.holds(1000)
    first.send(end)
    taken_at = time.monotonic()
    await second.streaming()
    assert time.monotonic() - taken_at < 5
    assert len(second.logs("slot.standby")) == 1, "it says so once"
    assert second.logs("slot.taken_over")
    world.sql("INSERT INTO t SELECT generate_series(50001, 50100)")
    assert [event.change[2] for event in await world.events()] == list(range(1, 50101))
    assert not second.logs("attempt.failed")
    third = world.ditto()
    await third.logged("slot.standby")
    assert await second.stop() == 0
    await third.streaming()
    assert await third.stop() == 0


async def test_a_takeover_after_a_long_wait_stores_nothing_behind_the_tail(world: World) -> None:
    """A checkpoint is due at once then, and the slot stands before the tail: here far before, to be sure."""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
        f"SELECT pg_copy_logical_replication_slot('{world.name}', '{world.name}_early')",
    )
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    due_at = time.monotonic() + 10.5
    world.sql(*(f"INSERT INTO t SELECT generate_series({row}, {row + 99})" for row in range(1, 40_000, 100)))
    await eventually(lambda: time.monotonic() > due_at, "a checkpoint is due")
    await world.fence()
    second.send(signal.SIGSTOP)
    first.kill()
    await world.slot_is_free()
    world.sql(
        f"SELECT pg_drop_replication_slot('{world.name}')",
        f"SELECT pg_copy_logical_replication_slot('{world.name}_early', '{world.name}')",
    )
    second.send(signal.SIGCONT)
    await second.streaming()
    await world.fence()
    second.kill()
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == list(range(1, 40_001))


async def test_one_that_was_frozen_stores_nothing_when_it_thaws(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"ALTER DATABASE {world.name} SET wal_sender_timeout = '1s'")
    first = await world.streaming()
    second = world.ditto()
    await second.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(1, 50000)")
    await world.holds(1000)
    first.send(signal.SIGSTOP)
    await second.streaming()
    world.sql("INSERT INTO t SELECT generate_series(50001, 50100)")
    await world.fence()
    first.send(signal.SIGCONT)
    await first.logged("attempt.failed")
    await first.logged("slot.standby")
    world.sql("INSERT INTO t SELECT generate_series(50101, 50200)")
    assert [event.change[2] for event in await world.events()] == list(range(1, 50201))
    assert first.is_running
    assert not second.logs("attempt.failed")
