"""Stopping and dying in the middle of the work: nothing is lost and nothing comes twice."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from e2e.process import eventually
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

ROWS = 100_000
LOAD_ROWS = 20
"""In each transaction of Load."""


class Load:
    """Transactions of LOAD_ROWS rows, a few hundred a second, from a thread of its own, until `stop`."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.row_count = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._is_stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._is_stopping.wait(0.002):
                first = self.row_count + 1
                connection.execute(b"INSERT INTO t SELECT generate_series(%d, %d)" % (first, first + LOAD_ROWS - 1))
                self.row_count += LOAD_ROWS


@pytest.fixture
def load(world: World) -> Iterator[Load]:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    load = Load(world.dsn)
    yield load
    load.stop()


@pytest.mark.long
async def test_killed_again_and_again_in_one_big_transaction(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) AS n")
    kill_points = (1, 20_000, 50_000, 80_000)
    killed_at = []
    for point in kill_points:
        await world.holds(point)
        ditto.kill()
        killed_at.append((await world.info()).state.last_seq)
        ditto = world.ditto()
    assert killed_at[0] < ROWS, "the first kill came too late to test anything"
    assert sum(count < ROWS for count in killed_at) >= 2, f"killed at {killed_at}"
    await world.fence()
    assert [event.change[2] for event in await world.events()] == list(range(1, ROWS + 1))


async def test_a_signal_under_load_leaves_slot_and_stream_in_step(world: World, load: Load) -> None:
    await world.streaming()
    load.start()
    for round_number in range(3):
        ditto = world._processes[-1]
        before = await world.message_count()
        await world.holds(before + 500)
        assert await ditto.stop() == 0
        assert ditto.logs("pipeline.drained")
        # Events leave as they arrive, so the last transaction may be there in part: the slot stands before it.
        stored = [message.position for message in await world.messages()]
        whole = max(each.commit_lsn for each in stored if each.ordinal == LOAD_ROWS)
        assert whole <= world.confirmed_lsn, f"round {round_number}"
        assert stored[-1].commit_lsn == whole or world.confirmed_lsn < stored[-1].commit_lsn, f"round {round_number}"
        await world.streaming()
    load.stop()
    assert [event.change[2] for event in await world.events()] == list(range(1, load.row_count + 1))


async def test_killed_again_and_again_under_load(world: World, load: Load) -> None:
    await world.streaming()
    load.start()
    for _ in range(4):
        before = await world.message_count()
        await world.holds(before + 300)
        world._processes[-1].kill()
        tail = await world.tail()
        assert world.confirmed_lsn <= tail.commit_lsn
        world.ditto()
    load.stop()
    assert [event.change[2] for event in await world.events()] == list(range(1, load.row_count + 1))


@pytest.mark.long
async def test_a_signal_in_the_middle_of_a_big_transaction(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t SELECT n, 'row ' || n FROM generate_series(1, {ROWS}) AS n")
    await world.holds(5_000)
    assert await ditto.stop(timeout_s=10) == 0
    stored = (await world.info()).state.last_seq
    assert stored < ROWS, "the signal came too late to test anything"
    tail = await world.tail()
    assert world.confirmed_lsn <= tail.commit_lsn, "a transaction that is not complete is not confirmed"
    await world.streaming()
    await world.fence()
    await world.matches_tables(event_count=ROWS)


async def test_the_second_signal_quits(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    async with Proxy(world.nats_server.port) as proxy:
        ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}")
        await world.fence()
        await world.confirms_tail()
        proxy.is_silent = True
        world.sql("INSERT INTO t SELECT generate_series(1, 100)")
        end = world.value("SELECT pg_current_wal_lsn()")
        sent = (
            f"SELECT sent_lsn >= '{end}' FROM pg_stat_replication JOIN pg_replication_slots ON pid = active_pid "
            f"WHERE slot_name = '{world.name}'"
        )
        # On their way, or behind something else whose answer was swallowed: then they wait for that.
        await eventually(lambda: proxy.swallowed_bytes > 0 and world.value(sent), "the events are on their way")
        ditto.send(signal.SIGTERM)
        await ditto.logged("pipeline.draining")
        assert ditto.is_running, "it waits for the acknowledgements"
        asked_at = time.monotonic()
        ditto.send(signal.SIGTERM)
        code = await ditto.ended(timeout_s=5)
        assert code == 130
        assert time.monotonic() - asked_at < 4
        assert "Traceback" not in ditto.output
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == list(range(1, 101))


async def test_an_idle_pipeline_stops_at_once(world: World) -> None:
    ditto = await world.streaming()
    asked_at = time.monotonic()
    assert await ditto.stop() == 0
    assert time.monotonic() - asked_at < 5
    await eventually(lambda: not world.is_slot_active, "the slot is free", timeout_s=1)


async def test_a_slot_that_was_moved_back_gives_nothing_twice(world: World) -> None:
    """A crash of PostgreSQL does that; here a copy of the slot that was made before does."""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
        f"SELECT pg_copy_logical_replication_slot('{world.name}', '{world.name}_early')",
    )
    ditto = await world.streaming()
    for first in range(1, 1000, 10):
        world.sql(f"INSERT INTO t SELECT generate_series({first}, {first + 9})")
    await world.fence()
    assert await ditto.stop() == 0
    count = await world.message_count()
    world.sql(
        f"SELECT pg_drop_replication_slot('{world.name}')",
        f"SELECT pg_copy_logical_replication_slot('{world.name}_early', '{world.name}')",
    )
    tail = await world.tail()
    assert world.confirmed_lsn < tail.commit_lsn
    ditto = await world.streaming()
    await eventually(lambda: world.confirmed_lsn >= tail.commit_lsn, "what comes again is confirmed", timeout_s=3)
    assert await ditto.stop() == 0
    assert await world.message_count() == count
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == list(range(1, 1001))
