"""NATS goes away, hangs, breaks off in the middle of a frame: the events arrive all the same, each once."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import pytest

from ditto.testing.process import free_port
from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from e2e.world import World

ROWS = 60_000
BIG = f"INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) AS n"


@pytest.fixture
def tables(nats_world: World) -> World:
    nats_world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    return nats_world


async def arrived(world: World, count: int = ROWS) -> None:
    assert [event.change[2] for event in await world.events()] == list(range(1, count + 1))


@pytest.mark.parametrize("end", ["kill", pytest.param("stop", marks=pytest.mark.long)])
async def test_nats_restarts_under_load(tables: World, end: str) -> None:
    world = tables
    ditto = await world.streaming()
    world.sql(BIG)
    await world.holds(2_000)
    if end == "kill":
        world.nats_server.kill()
    else:
        world.nats_server.stop()
    # A server that is being stopped first answers that JetStream is gone.
    assert (await ditto.logged("session.failed"))["kind"] in {"SinkLost", "NotNow"}
    world.nats_server.start()
    assert (await world.info()).state.last_seq < ROWS, "it ended too late to test anything"
    await arrived(world)
    assert await ditto.stop() == 0


async def test_nats_restarts_while_nothing_happens(tables: World) -> None:
    world = tables
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    world.nats_server.restart()
    await ditto.streaming(count=2)
    world.sql("INSERT INTO t VALUES (2)")
    await arrived(world, 2)


@pytest.mark.long
async def test_nats_hangs_for_longer_than_an_acknowledgement_may_take(tables: World) -> None:
    world = tables
    ditto = await world.streaming(nats_ack_timeout="1s")
    world.sql(BIG)
    await world.holds(2_000)
    world.nats_server.pause()
    assert (await ditto.logged("session.failed"))["kind"] == "AckTimeout"
    world.nats_server.resume()
    assert (await world.info()).state.last_seq < ROWS, "it hung too late to test anything"
    await arrived(world)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_nats_hangs_for_thirty_seconds(tables: World) -> None:
    """With the default time-outs, under traffic."""
    world = tables
    ditto = await world.streaming()
    with Traffic(world) as traffic:
        await eventually(lambda: traffic.committed_count >= 100, "the traffic goes on")
        world.nats_server.pause()
        hung_at = time.monotonic()
        assert (await ditto.logged("session.failed", timeout_s=60))["kind"] == "AckTimeout"
        assert time.monotonic() - hung_at < 25, "nats.ack_timeout is 10 s"
        await eventually(lambda: time.monotonic() > hung_at + 30, "the hang is over", timeout_s=60)
        world.nats_server.resume()
        await world.fence(timeout_s=60)
    await world.fence(timeout_s=60)
    await world.matches_tables()
    assert await ditto.stop() == 0


@pytest.mark.long
async def test_some_servers_of_the_list_are_away(tables: World) -> None:
    world = tables
    port = free_port()
    ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{port},{world.nats_server.url}")
    world.sql("INSERT INTO t VALUES (1)")
    await arrived(world, 1)
    world.nats_server.stop()
    failure = await ditto.logged("session.failed", count=3)
    assert {f"127.0.0.1:{each}" for each in (port, world.nats_server.port)} == set(
        re.findall(r"127\.0\.0\.1:\d+", failure["error"])
    )
    world.nats_server.start()
    world.sql("INSERT INTO t VALUES (2)")
    await arrived(world, 2)


@pytest.mark.long
async def test_the_connection_to_nats_breaks_in_the_middle_of_a_frame(tables: World) -> None:
    world = tables
    async with Proxy(world.nats_server.port) as proxy:
        ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}")
        world.sql(BIG)
        for round_number, size in enumerate((1_000_003, 2_000_001, 500_007), 1):
            proxy.cut_later(from_client=size)
            await eventually(lambda: proxy.has_cut, "the connection is cut")
            assert (await ditto.logged("session.failed", count=round_number))["kind"] == "SinkLost"
        assert (await world.info()).state.last_seq < ROWS, "it broke too late to test anything"
        await arrived(world)


@pytest.mark.long
async def test_the_connection_to_nats_breaks_in_the_middle_of_an_acknowledgement(tables: World) -> None:
    world = tables
    async with Proxy(world.nats_server.port) as proxy:
        ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}")
        proxy.cut_later(from_server=1_001)
        world.sql(BIG)
        assert (await ditto.logged("session.failed"))["kind"] == "SinkLost"
        await arrived(world)


@pytest.mark.long
async def test_nats_accepts_and_says_nothing(tables: World) -> None:
    world = tables
    async with Proxy(world.nats_server.port) as proxy:
        ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}", nats_ack_timeout="1s")
        proxy.is_silent = True
        world.sql(BIG)
        assert (await ditto.logged("session.failed"))["kind"] == "AckTimeout"
        # Connecting anew must not wait for ever either.
        failure = await ditto.logged("session.failed", count=2, timeout_s=30)
        assert failure["kind"] == "SinkLost"
        assert "cannot reach NATS" in failure["error"]
        proxy.is_silent = False
        await arrived(world)


async def test_a_slow_line_to_nats(tables: World) -> None:
    world = tables
    async with Proxy(world.nats_server.port) as proxy:
        proxy.delay_s = 0.02
        ditto = await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}", delivery_max_in_flight=2_000)
        world.sql("INSERT INTO t SELECT n, 'x' FROM generate_series(1, 5000) AS n")
        await arrived(world, 5000)
        assert not ditto.logs("session.failed")
        assert await ditto.stop() == 0


@pytest.mark.long
async def test_a_blocked_sink_does_not_cost_the_walsender(tables: World) -> None:
    """Standby status messages go out while reading is paused, for longer than wal_sender_timeout."""
    world = tables
    world.sql(f"ALTER DATABASE {world.name} SET wal_sender_timeout = '2s'")
    ditto = await world.streaming(nats_ack_timeout="60s", delivery_max_in_flight=1_000)
    world.sql(BIG)
    await world.holds(1_000)
    walsender = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{world.name}'"
    pid = world.value(walsender)
    world.nats_server.pause()
    await asyncio.sleep(6)  # this is the fault, not a wait for a state
    assert world.value(walsender) == pid
    world.nats_server.resume()
    await arrived(world)
    assert not ditto.logs("session.failed")


@pytest.mark.long
async def test_memory_is_bounded_while_nats_hangs(tables: World) -> None:
    world = tables
    ditto = await world.streaming(nats_ack_timeout="60s", delivery_max_in_flight_bytes=8_000_000)
    world.nats_server.pause()
    before = ditto.rss_bytes
    world.sql("INSERT INTO t SELECT n, repeat('x', 2000) FROM generate_series(1, 60000) AS n")
    highest = 0
    for _ in range(60):
        highest = max(highest, ditto.rss_bytes)
        await asyncio.sleep(0.05)
    assert highest - before < 64_000_000, "120 MB are waiting, 8 may be in flight"
    world.nats_server.resume()
    await world.holds(60_000, timeout_s=60)
    highest = max(highest, ditto.rss_bytes)
    assert highest - before < 96_000_000
    await world.fence()
    await world.matches_tables(event_count=60_000)
