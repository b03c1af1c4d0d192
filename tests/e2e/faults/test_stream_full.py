"""The stream, the account or the disk is full: Ditto waits, says so, holds the slot, and goes on when there is room."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.process import eventually
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

ENOUGH = 100
"""Transactions after there is room again."""


async def make_stream(world: World, **limits: Any) -> None:
    names = ("public_t", "public_traffic", "public_fence")
    subjects = [f"{world.name}._checkpoint", *(f"{world.name}_{name}" for name in names)]
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=subjects, discard="new", **limits)


async def change_stream(world: World, **limits: Any) -> None:
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        await jetstream.update_stream(config.evolve(**limits))


async def stalls(world: World, ditto: DittoProcess, traffic: Traffic) -> None:
    """It says that there is no room, again and again, and the slot stays where the stream ends."""
    failure = await ditto.logged("session.failed", count=3, kind="NotNow", timeout_s=60)
    assert any(word in failure["error"] for word in ("full", "resources")), failure
    assert failure["hint"]
    before = traffic.committed_count
    await eventually(lambda: traffic.committed_count >= before + ENOUGH, "the application goes on")
    tail = await world.tail()
    assert world.confirmed_lsn <= tail.commit_lsn
    before = traffic.committed_count
    await eventually(lambda: traffic.committed_count >= before + ENOUGH, "the application goes on")
    assert await world.tail() == tail, "nothing is stored"
    assert ditto.is_running


async def recovers(world: World, ditto: DittoProcess, traffic: Traffic) -> None:
    before = traffic.committed_count
    await eventually(lambda: traffic.committed_count >= before + ENOUGH, "the application goes on")
    await world.fence(timeout_s=60)
    assert ditto.is_running


@pytest.mark.parametrize(
    ("tight", "wide"),
    [
        pytest.param({"max_msgs": 500}, {"max_msgs": -1}, id="max_msgs", marks=pytest.mark.long),
        pytest.param({"max_bytes": 200_000}, {"max_bytes": 1 << 30}, id="max_bytes", marks=pytest.mark.long),
    ],
)
async def test_the_limits_of_the_stream(world: World, tight: dict[str, int], wide: dict[str, int]) -> None:
    await make_stream(world, **tight)
    ditto = await world.streaming()
    with Traffic(world) as traffic:
        await stalls(world, ditto, traffic)
        await change_stream(world, **wide)
        await recovers(world, ditto, traffic)
    await world.fence()
    await world.matches_tables()
    assert await ditto.stop() == 0


async def test_room_is_made_by_a_purge(world: World) -> None:
    """Only what was read already may go; here the first half."""
    await make_stream(world, max_msgs=1000)
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 1500)")
    await ditto.logged("session.failed", count=2, kind="NotNow", timeout_s=60)
    first = [message.change[2] for message in (await world.messages())[1:]]
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream, keep=100)
    rest = [event.change[2] for event in await world.events(timeout_s=60)]
    assert first == list(range(1, 1000))
    assert rest == list(range(900, 1501))


@pytest.mark.long
async def test_the_file_store_of_the_server(nats_world: World) -> None:
    """What an operator allots to JetStream is used up."""
    world, server = nats_world, nats_world.nats_server
    store = {"store_dir": str(server.store_dir)}
    server.config = f"jetstream: {json.dumps({**store, 'max_file_store': 400_000})}"
    server.restart()
    ditto = await world.streaming()
    with Traffic(world) as traffic:
        await stalls(world, ditto, traffic)
        server.config = ""
        server.restart()
        await recovers(world, ditto, traffic)
    await world.fence()
    await world.matches_tables()
    assert await ditto.stop() == 0
