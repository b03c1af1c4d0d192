"""Faults of a cluster of three with a stream of three replicas, under traffic: no hole, nothing twice.

Each prints for how long nothing was stored.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import pytest
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig
from nats.js.errors import APIError

from e2e.cluster import SIZE, Cluster
from e2e.process import eventually
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from e2e.process import DittoProcess
    from e2e.world import World

T = TypeVar("T")

ENOUGH = 30
"""Transactions before and after each fault."""

PAUSE_S = 0.02
"""Between two transactions: two or three events, so that reading the stream does not take longer than the faults."""


@pytest.fixture
async def cluster(world: World, tmp_path: Path) -> AsyncIterator[Cluster]:
    """The world's Ditto and questions go to this cluster instead of the one server."""
    async with Cluster(tmp_path) as cluster:
        world.nats_server = cluster.servers[0]
        yield cluster
        world.close()


async def streaming(world: World, cluster: Cluster, *, is_on_leader: bool = True) -> tuple[DittoProcess, int, int]:
    """Ditto, the server that it is connected to, and the stream's leader: the same one or another."""
    ditto = await world.streaming(nats_url=cluster.url, nats_replicas=SIZE)
    await world.fence()
    failures = ditto.logs("session.failed")  # a new cluster may not have a place for three replicas at once
    own = cluster.server_of(ditto.pid)
    leader = own if is_on_leader else (own + 1) % SIZE
    await cluster.lead(world.stream, leader)
    assert ditto.logs("session.failed") == failures, "an idle chain does not notice who leads"
    return ditto, own, leader


async def patiently(ask: Callable[[], Awaitable[T]], *, timeout_s: float = 60) -> T:
    """Ask again while an election goes on: one more may follow when a server comes back."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return await ask()
        except (NatsError, APIError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def flows(world: World, cluster: Cluster, traffic: Traffic) -> None:
    """Wait until what is committed now has arrived, and some more."""
    world.nats_server = cluster.servers[cluster.witness]
    await cluster.led(world.stream)
    await patiently(lambda: world.fence(timeout_s=90))
    before = traffic.committed_count
    await eventually(lambda: traffic.committed_count >= before + ENOUGH, "the traffic goes on")
    await patiently(lambda: world.fence(timeout_s=90))


async def ends_equal(world: World, cluster: Cluster, ditto: DittoProcess) -> None:
    """The stream equals the tables, and Ditto has met nothing that it could not fix."""
    await cluster.complete()
    await cluster.led(world.stream)
    await patiently(lambda: world.fence(timeout_s=90))
    await patiently(world.matches_tables)
    assert await ditto.stop() == 0
    kinds = [entry["kind"] for entry in ditto.logs("session.failed")]
    print(f"nothing was stored for {await patiently(lambda: longest_silence_s(world)):.2f} s; attempts failed: {kinds}")


async def longest_silence_s(world: World) -> float:
    """Between two messages of the stream, by the clock of its leader."""
    longest, before = 0.0, None
    async with world.jetstream() as jetstream:
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        reading = await jetstream.subscribe(
            f"{world.name}_public_traffic",
            stream=world.stream,
            ordered_consumer=True,
            config=ConsumerConfig(headers_only=True),
        )
        while before is None or before.num_pending:
            metadata = (await reading.next_msg(timeout=20)).metadata
            if before is not None:
                longest = max(longest, (metadata.timestamp - before.timestamp).total_seconds())
            before = metadata
    assert last
    return longest


@pytest.mark.long
async def test_the_leader_steps_down(world: World, cluster: Cluster) -> None:
    ditto, _, leader = await streaming(world, cluster)
    with Traffic(world, pause_s=PAUSE_S) as traffic:
        for _ in range(2):
            await flows(world, cluster, traffic)
            await cluster.step_down(world.stream)
            leader = await cluster.replaced(world.stream, leader)
        await flows(world, cluster, traffic)
    await ends_equal(world, cluster, ditto)


async def test_the_only_server_of_a_stream_is_away(world: World, cluster: Cluster) -> None:
    """As in a rolling restart: the others say that the stream is offline, which is nothing to stop for."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(nats_url=cluster.url, nats_replicas=1)
    await cluster.led(world.stream)
    keeper = await patiently(lambda: cluster.leader(world.stream))
    assert keeper is not None
    await cluster.stop(keeper)
    world.sql("INSERT INTO t VALUES (1)")
    await eventually(
        lambda: sum("offline" in entry["error"] for entry in ditto.logs("session.failed", kind="NotNow")) > 2,
        "it tries again where the stream is offline",
        timeout_s=60,
    )
    await cluster.start(keeper)
    world.nats_server = cluster.servers[keeper]
    await patiently(lambda: world.holds(1, timeout_s=60))
    assert [event.change for event in await patiently(world.events)] == [("t", "INSERT", 1)]
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("is_on_leader", [True, False])
async def test_the_leader_is_killed(world: World, cluster: Cluster, is_on_leader: bool) -> None:
    ditto, _, leader = await streaming(world, cluster, is_on_leader=is_on_leader)
    with Traffic(world, pause_s=PAUSE_S) as traffic:
        await flows(world, cluster, traffic)
        cluster.kill(leader)
        await cluster.replaced(world.stream, leader)
        await flows(world, cluster, traffic)
        await cluster.start(leader)
        await cluster.whole(world.stream)
        await flows(world, cluster, traffic)
    await ends_equal(world, cluster, ditto)
    assert ditto.logs("session.failed"), "it was in the way of the fault"


@pytest.mark.long
async def test_a_rolling_restart(world: World, cluster: Cluster) -> None:
    ditto, _, _ = await streaming(world, cluster)
    with Traffic(world, pause_s=PAUSE_S) as traffic:
        for index in range(SIZE):
            await flows(world, cluster, traffic)
            await cluster.stop(index)
            await flows(world, cluster, traffic)
            await cluster.start(index)
            await cluster.whole(world.stream)
        await flows(world, cluster, traffic)
    await ends_equal(world, cluster, ditto)
    assert ditto.logs("session.failed"), "it was in the way of the fault"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_on_leader", [True, False])
async def test_a_server_is_cut_off_from_the_other_two(world: World, cluster: Cluster, is_on_leader: bool) -> None:
    """Ditto can reach it all the time, and has to go to the others by itself."""
    ditto, own, leader = await streaming(world, cluster, is_on_leader=is_on_leader)
    with Traffic(world, pause_s=PAUSE_S) as traffic:
        await flows(world, cluster, traffic)
        cluster.isolate(own)
        if leader == own:
            await cluster.replaced(world.stream, own)
        await flows(world, cluster, traffic)
        assert cluster.server_of(ditto.pid) != own
        cluster.rejoin(own)
        # How soon it has caught up is the servers' own affair; it takes seconds, or more than a minute.
        await cluster.complete()
        await flows(world, cluster, traffic)
    await ends_equal(world, cluster, ditto)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("is_on_leader", [True, False])
async def test_the_leader_hangs(world: World, cluster: Cluster, is_on_leader: bool) -> None:
    ditto, _, leader = await streaming(world, cluster, is_on_leader=is_on_leader)
    with Traffic(world, pause_s=PAUSE_S) as traffic:
        await flows(world, cluster, traffic)
        cluster.pause(leader)
        await cluster.replaced(world.stream, leader)
        await flows(world, cluster, traffic)
        cluster.resume(leader)
        await cluster.whole(world.stream)
        await flows(world, cluster, traffic)
    await ends_equal(world, cluster, ditto)
    assert ditto.logs("session.failed"), "it was in the way of the fault"


@pytest.mark.long
async def test_a_follower_hangs(world: World, cluster: Cluster) -> None:
    ditto, own, _ = await streaming(world, cluster)
    follower = (own + 1) % SIZE
    with Traffic(world, pause_s=PAUSE_S) as traffic:
        await flows(world, cluster, traffic)
        cluster.pause(follower)
        for _ in range(3):
            await flows(world, cluster, traffic)
        cluster.resume(follower)
        await cluster.whole(world.stream)
        await flows(world, cluster, traffic)
    await ends_equal(world, cluster, ditto)
    assert not ditto.logs("session.failed"), "a majority is enough"
