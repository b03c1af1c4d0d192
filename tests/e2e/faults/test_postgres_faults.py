"""PostgreSQL goes away, hangs, breaks off in the middle of a row: the events arrive all the same, each once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

import pytest

from e2e.process import eventually
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from e2e.world import World

ROWS = 60_000
BIG = f"INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) AS n"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, name text)"


async def arrived(world: World, count: int = ROWS) -> None:
    assert [event.change[2] for event in await world.events()] == list(range(1, count + 1))


@pytest.mark.parametrize("mode", ["fast", pytest.param("immediate", marks=pytest.mark.long)])
async def test_postgresql_restarts_under_load(postgres_world: World, mode: Literal["fast", "immediate"]) -> None:
    world = postgres_world
    world.sql(TABLE)
    ditto = await world.streaming()
    world.sql(BIG, "CHECKPOINT")
    await world.holds(2_000)
    began_at = time.monotonic()
    await asyncio.to_thread(world.postgres.stop, mode)
    assert time.monotonic() - began_at < 15
    world.postgres.start()
    assert (await ditto.logged("session.failed"))["kind"] in {"ConnectionLost", "ServerNotReady"}
    await ditto.streaming(count=2)
    await arrived(world)
    assert await ditto.stop() == 0
    assert "Traceback" not in ditto.output


@pytest.mark.parametrize("confirm_delay", ["0s", "5m"])
async def test_postgresql_stops_at_once_while_ditto_is_idle(postgres_world: World, confirm_delay: str) -> None:
    world = postgres_world
    world.sql(TABLE)
    ditto = await world.streaming(delivery_confirm_delay=confirm_delay)
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    # WAL that Ditto has no event for: PostgreSQL waits until that is confirmed, too.
    world.sql("CREATE UNLOGGED TABLE noise AS SELECT 1", "CHECKPOINT", "SELECT pg_switch_wal()")
    began_at = time.monotonic()
    await asyncio.to_thread(world.postgres.stop, "fast")
    assert time.monotonic() - began_at < 5
    world.postgres.start()
    await ditto.streaming(count=2)
    world.sql("INSERT INTO t VALUES (2)")
    await arrived(world, 2)


async def test_postgresql_stops_although_nats_is_down(postgres_world: World) -> None:
    """Ditto must not hold up the shutdown for longer than its own time-outs."""
    world = postgres_world
    world.sql(TABLE)
    async with Proxy(world.nats_server.port) as proxy:
        ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}", nats_ack_timeout="2s")
        proxy.is_silent = True
        world.sql("INSERT INTO t VALUES (1)")
        began_at = time.monotonic()
        await asyncio.to_thread(world.postgres.stop, "fast")
        assert time.monotonic() - began_at < 10
        proxy.is_silent = False
        world.postgres.start()
        await ditto.streaming(count=2, timeout_s=40)
        await arrived(world, 1)


@pytest.mark.long
async def test_postgresql_is_killed(postgres_world: World) -> None:
    world = postgres_world
    world.sql(TABLE)
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1, 'x')")
    await world.fence()
    world.postgres.kill()
    await ditto.logged("session.failed")
    world.postgres.start()
    world.sql("INSERT INTO t VALUES (2, 'x')")
    await arrived(world, 2)


@pytest.mark.long
async def test_the_walsender_is_terminated(world: World) -> None:
    world.sql(TABLE)
    ditto = await world.streaming()
    world.sql(BIG)
    await world.holds(2_000)
    world.sql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{world.name}'")
    assert (await ditto.logged("session.failed"))["kind"] == "ConnectionLost"
    assert (await world.info()).state.last_seq < ROWS, "it ended too late to test anything"
    await arrived(world)


@pytest.mark.long
async def test_the_connection_to_postgresql_breaks_in_the_middle_of_a_row(world: World) -> None:
    world.sql(TABLE)
    async with Proxy(world.postgres.port) as proxy:
        ditto = await world.streaming(postgres_dsn=world.dsn_by(proxy.port))
        proxy.cut_later(from_server=1_000_003)
        world.sql(BIG)
        assert (await ditto.logged("session.failed"))["kind"] == "ConnectionLost"
        for round_number, size in ((2, 2_000_001), (3, 500_007)):
            proxy.cut_later(from_server=size)
            await ditto.logged("session.failed", count=round_number)
        await arrived(world)


async def test_the_connection_to_postgresql_breaks_while_nothing_happens(world: World) -> None:
    world.sql(TABLE)
    async with Proxy(world.postgres.port) as proxy:
        ditto = await world.streaming(postgres_dsn=world.dsn_by(proxy.port))
        proxy.cut()
        assert (await ditto.logged("session.failed"))["kind"] == "ConnectionLost"
        world.sql("INSERT INTO t VALUES (1)")
        await arrived(world, 1)


@pytest.mark.long
async def test_a_connection_to_postgresql_that_nobody_answers_on(world: World) -> None:
    """Half open: the server has gone without a word, and nothing that is sent comes back."""
    world.sql(TABLE)
    async with Proxy(world.postgres.port) as proxy:
        # The proxy acknowledges what is sent, so that only silence tells; with a longer time-out it takes longer.
        dsn = world.dsn_by(proxy.port, options="-c wal_sender_timeout=40s")
        ditto = await world.streaming(postgres_dsn=dsn)
        proxy.is_silent = True
        began_at = time.monotonic()
        failure = await ditto.logged("session.failed", timeout_s=45)
        assert 25 < time.monotonic() - began_at < 40
        assert failure["kind"] == "ConnectionLost"
        proxy.is_silent = False
        proxy.cut()
        world.sql("INSERT INTO t VALUES (1)")
        await arrived(world, 1)


async def test_commits_wait_for_ditto_as_a_synchronous_standby(postgres_world: World) -> None:
    world = postgres_world
    world.sql(TABLE)
    ditto = await world.streaming()
    world.postgres.settings["synchronous_standby_names"] = "ditto"
    world.sql("ALTER SYSTEM SET synchronous_standby_names = 'ditto'", "SELECT pg_reload_conf()")
    await eventually(
        lambda: world.value("SELECT sync_state FROM pg_stat_replication") == "sync", "Ditto is the synchronous standby"
    )
    for row in range(1, 21):
        world.sql(f"SET synchronous_commit = remote_apply; INSERT INTO t VALUES ({row})")
        assert await world.message_count() >= row
    assert ditto.is_running
    world.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    await arrived(world, 20)
