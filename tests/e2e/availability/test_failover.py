"""A standby with a copy of the slot is promoted: Ditto goes on with it, or names what it had not received."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ditto.lsn import parse_lsn
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.standby import SLOT, make_standby

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.servers import PostgresServer
    from e2e.world import World

ENOUGH = 100


def needs_failover_slots(world: World) -> None:
    if world.major < 17:
        pytest.skip("PostgreSQL has slots that survive a failover from 17 on")


@contextmanager
def standby_of(world: World) -> Iterator[PostgresServer]:
    standby = make_standby(world, world.folder / "standby")
    try:
        standby.start()
        yield standby
    finally:
        standby.close()


async def some(ledger: Ledger) -> None:
    before = ledger.committed_count
    await eventually(lambda: ledger.committed_count >= before + ENOUGH, "the workload goes on")


def has_copy(world: World, standby: PostgresServer) -> bool:
    """The standby has a copy of the slot that survives its promotion."""
    world.sql("SELECT pg_log_standby_snapshot()")  # what a busy primary writes every 15 s
    query = (
        f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{world.name}' AND synced AND NOT temporary "
        "AND invalidation_reason IS NULL"
    )
    return bool(world.sql(query, dsn=standby.dsn)[0][0])


def promote(world: World, standby: PostgresServer) -> None:
    """The primary is gone for good; from now on the test speaks to the standby."""
    world.sql("SELECT pg_promote()", dsn=standby.dsn)
    world.postgres = standby
    world.settings["DITTO_POSTGRES_DSN"] = world.dsn


@pytest.mark.parametrize("way", [pytest.param("hosts", marks=pytest.mark.long), "proxy"])
async def test_a_standby_is_promoted(postgres_world: World, way: str) -> None:
    """With several hosts in postgres.dsn, and behind an address that moves; the slot existed without `failover`."""
    needs_failover_slots(postgres_world)
    world, primary = postgres_world, postgres_world.postgres
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")
    with standby_of(world) as standby:
        # The primary sends Ditto nothing that the standby has not received.
        primary.settings["synchronized_standby_slots"] = SLOT
        world.sql(f"ALTER SYSTEM SET synchronized_standby_slots = '{SLOT}'", "SELECT pg_reload_conf()")
        async with Proxy(primary.port) as proxy:
            ports = f"{primary.port},{standby.port}"
            dsn = {
                "hosts": f"postgresql://postgres@127.0.0.1,127.0.0.1/{world.name}?port={ports}"
                "&target_session_attrs=read-write",
                "proxy": world.dsn_by(proxy.port),
            }[way]
            ditto = await world.streaming(postgres_dsn=dsn, postgres_failover=True)
            with Ledger(world) as ledger:
                await some(ledger)
                await eventually(lambda: has_copy(world, standby), "the standby has a copy of the slot", timeout_s=60)
                await some(ledger)
            # What was committed and not received by the standby would be lost to the tables, too.
            written = parse_lsn(world.value("SELECT pg_current_wal_lsn()::text"))
            await eventually(lambda: received(world, standby) >= written, "the standby has received everything")
            primary.kill()
            proxy.target_port = standby.port
            if way == "proxy":
                failure = await ditto.logged("session.failed", kind="ServerNotReady")
                assert "standby" in failure["error"]
                assert "target_session_attrs=read-write" in failure["hint"]
            await asyncio.to_thread(promote, world, standby)
            await ditto.streaming(count=2, timeout_s=60)
            with Ledger(world, seed=2) as ledger:
                await some(ledger)
            await matches_ledger(world)
            assert await ditto.stop() == 0
        ditto = await world.streaming(postgres_failover=True)  # the timeline is known by now
        assert await ditto.stop() == 0


def received(world: World, standby: PostgresServer) -> int:
    return parse_lsn(world.sql("SELECT pg_last_wal_replay_lsn()::text", dsn=standby.dsn)[0][0])


@pytest.mark.long
async def test_the_standby_had_not_received_everything(postgres_world: World) -> None:
    """Without `synchronized_standby_slots` the stream may hold what the new primary never saw."""
    needs_failover_slots(postgres_world)
    world, primary = postgres_world, postgres_world.postgres
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    with standby_of(world) as standby:
        ditto = await world.streaming(postgres_failover=True)
        world.sql("INSERT INTO t VALUES (1)")
        await eventually(lambda: has_copy(world, standby), "the standby has a copy of the slot", timeout_s=60)
        await world.fence()
        last = received(world, standby)
        await asyncio.to_thread(standby.stop)
        world.sql("INSERT INTO t VALUES (2)")
        await world.fence()
        tail = await world.tail()
        assert tail.commit_lsn > last
        assert await ditto.stop() == 0
        primary.kill()
        await asyncio.to_thread(standby.start)
        await asyncio.to_thread(promote, world, standby)
        world.sql("INSERT INTO t SELECT generate_series(3, 5000)")
        ditto = world.ditto(postgres_failover=True)
        assert await ditto.ended() == 3
        sentence = ditto.sentence()
        assert f"holds events up to {tail}" in sentence
        switch = re.search(r"left the stream's timeline 1 at (\S+)", sentence)
        assert switch is not None, sentence
        assert last <= parse_lsn(switch[1]) < tail.commit_lsn
        assert "start with a new postgres.slot, nats.stream and events.prefix" in sentence


@pytest.mark.long
async def test_killed_right_after_a_promotion(postgres_world: World) -> None:
    """The stream's end lies after the switch, and its metadata does not name the new timeline yet."""
    needs_failover_slots(postgres_world)
    world, primary = postgres_world, postgres_world.postgres
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    with standby_of(world) as standby:
        ditto = await world.streaming(postgres_failover=True)
        world.sql("INSERT INTO t VALUES (1)")
        await eventually(lambda: has_copy(world, standby), "the standby has a copy of the slot", timeout_s=60)
        await world.fence()
        assert await ditto.stop() == 0
        written = parse_lsn(world.value("SELECT pg_current_wal_lsn()::text"))
        await eventually(lambda: received(world, standby) >= written, "the standby has received everything")
        primary.kill()
        await asyncio.to_thread(promote, world, standby)
        ditto = await world.streaming(postgres_failover=True)
        last = (await world.info()).state.last_seq
        world.sql("INSERT INTO t VALUES (2)")
        await world.holds(last + 1)
        ditto.kill()
        async with world.jetstream() as jetstream:  # it may have noted the timeline within that second
            config = (await jetstream.stream_info(world.stream)).config
            config.metadata = {**(config.metadata or {}), "ditto.timeline": "1"}
            await jetstream.update_stream(config)
        await world.streaming(postgres_failover=True)
        world.sql("INSERT INTO t VALUES (3)")
        assert [event.change[2] for event in await world.events()] == [1, 2, 3]
        deadline = time.monotonic() + 10
        while ((await world.info()).config.metadata or {})["ditto.timeline"] != "2":
            assert time.monotonic() < deadline, "the new timeline is not noted"


@pytest.mark.long
async def test_a_standby_that_is_read_restarts_and_is_behind(postgres_world: World) -> None:
    """Right after its restart it has replayed less than it had sent before."""
    world = postgres_world
    if world.major < 17:
        pytest.skip("the standby's settings are of 17")
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    with standby_of(world) as standby:
        written = parse_lsn(world.value("SELECT pg_current_wal_lsn()::text"))
        await eventually(lambda: received(world, standby) >= written, "the standby has received everything")
        ditto = world.ditto(postgres_dsn=world.dsn_by(standby.port))
        deadline = time.monotonic() + 60
        while not ditto.logs("pipeline.streaming"):
            world.sql("SELECT pg_log_standby_snapshot()")  # what creating a slot there waits for
            await asyncio.sleep(0.2)
            assert time.monotonic() < deadline, ditto.output
        for first in range(1, 30_000, 1000):
            world.sql(f"INSERT INTO t SELECT generate_series({first}, {first + 999})")
        await world.fence()
        await asyncio.to_thread(standby.stop, "immediate")
        standby.settings["recovery_min_apply_delay"] = "5s"
        await asyncio.to_thread(standby.start)
        waiting = await ditto.logged("session.failed", kind="ServerNotReady")
        assert "the standby has WAL up to" in waiting["error"]
        await ditto.streaming(count=2, timeout_s=60)
        await world.fence(timeout_s=60)
        await world.matches_tables(event_count=30_000)


async def test_the_slot_is_made_for_a_failover(world: World) -> None:
    needs_failover_slots(world)
    await world.streaming(postgres_failover=True)
    assert world.value(f"SELECT failover FROM pg_replication_slots WHERE slot_name = '{world.name}'") is True
