"""A database that makes and drops tables all the time: what is kept of them is bounded."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import psycopg
import pytest

from ditto.config.load import load
from ditto.monitoring.counters import Counters
from ditto.monitoring.state import States
from ditto.pipeline import dropped_tables
from ditto.pipeline.pipeline import Pipeline
from ditto.pipeline.supervisor import follow
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World

MB = 1_000_000


def made_and_dropped(world: World, numbers: range) -> None:
    """One row each."""
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        for begin in range(numbers.start, numbers.stop, 50):
            batch = range(begin, min(begin + 50, numbers.stop))
            connection.execute("; ".join(f"CREATE TABLE part_{n} (id int PRIMARY KEY, a text, b text)" for n in batch))
            connection.execute("; ".join(f"INSERT INTO part_{n} VALUES ({n}, 'a', 'b')" for n in batch))
            connection.execute("; ".join(f"DROP TABLE part_{n}" for n in batch))


async def made_until_forgotten(world: World, counts: list[int], wanted: int, *, begin: int) -> int:
    """Make and drop tables until so many are forgotten; how many there were in all. The more are kept, the rarer it
    looks.
    """
    while sum(counts) < wanted:
        assert begin < 2000
        await asyncio.to_thread(made_and_dropped, world, range(begin, begin + 30))
        begin += 30
    return begin


async def test_dropped_tables_are_forgotten_and_others_go_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropped_tables, "MANY", 10)
    monkeypatch.setattr(dropped_tables, "PERIOD_S", 0.1)
    counts: list[int] = []
    monkeypatch.setattr(
        dropped_tables, "log", SimpleNamespace(info=lambda _event, *, count, left: counts.append(count))
    )
    world.sql("CREATE TABLE kept (id int PRIMARY KEY)", "CREATE TABLE again (id int PRIMARY KEY)")
    stop, counters, states = asyncio.Event(), Counters(), States()
    pipeline = Pipeline(config=load(None, {}, world.settings), counters=counters, states=states)
    running = asyncio.ensure_future(follow(pipeline, stop=stop))
    await eventually(lambda: states.state == "streaming", "it streams")
    world.sql("INSERT INTO kept VALUES (1)", "INSERT INTO again VALUES (1)")
    made = await made_until_forgotten(world, counts, 20, begin=0)
    world.sql("DROP TABLE again", "CREATE TABLE again (id int PRIMARY KEY)", "INSERT INTO again VALUES (2)")
    world.sql("INSERT INTO kept VALUES (2)", "INSERT INTO again VALUES (3)", "TRUNCATE kept")
    made = await made_until_forgotten(world, counts, 60, begin=made)
    changes = [event.change for event in await world.events()]
    stop.set()
    await running
    assert counters.sessions == {"stopped": 1}, "in one session"
    assert [each[2] for each in changes if each[0] == "again"] == [1, 2, 3]
    assert [each[1] for each in changes if each[0] == "kept"] == ["INSERT", "INSERT", "TRUNCATE"]
    assert [each[2] for each in changes if each[0].startswith("part_")] == list(range(made))
    counters.refresh()
    assert counters.passed.total() == len(changes) + 1, "and the fence"


@pytest.mark.long
async def test_memory_with_thousands_of_dropped_tables(world: World) -> None:
    """Each took 2 kB when all of them were kept, or 4 with ten columns."""
    ditto = await world.streaming(events_subject="{prefix}.{schema}.{table}")
    await asyncio.to_thread(made_and_dropped, world, range(8_000))
    await world.holds(8_000, timeout_s=60)
    await ditto.logged("tables.forgotten", timeout_s=60)
    before = ditto.rss_bytes
    await asyncio.to_thread(made_and_dropped, world, range(8_000, 16_000))
    await world.holds(16_000, timeout_s=60)
    await ditto.logged("tables.forgotten", count=2, timeout_s=60)
    assert ditto.rss_bytes - before < 6 * MB
