"""What the stream has stored disappears again, while Ditto runs and while it is down: never without a word."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from ditto.lsn import Position, format_lsn
from e2e.process import eventually
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

ENOUGH = 100
"""Transactions between two steps."""


@pytest.fixture
def table(world: World) -> World:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    return world


async def some(traffic: Traffic) -> None:
    before = traffic.committed_count
    await eventually(lambda: traffic.committed_count >= before + ENOUGH, "the traffic goes on", timeout_s=60)


async def rows(world: World) -> list[int]:
    return [event.change[2] for event in await world.events()]


async def refusal(ditto: DittoProcess) -> str:
    assert await ditto.ended(timeout_s=60) == 4
    sentence = ditto.sentence()
    assert "missing" in sentence or "not in this stream" in sentence
    assert "delivery.on_gap: continue" in sentence
    return sentence


# ------------------------------------------------------------------------------------ the store goes back


@pytest.mark.parametrize(
    ("is_down", "delay"),
    [
        pytest.param(False, "5m", marks=pytest.mark.long),
        (True, "0s"),
        pytest.param(False, "0s", marks=pytest.mark.long),
        pytest.param(True, "5m", marks=pytest.mark.long),
    ],
)
async def test_the_store_goes_back_to_an_earlier_copy(nats_world: World, is_down: bool, delay: str) -> None:
    """As after a power failure, or from a backup: acknowledged messages are gone, and their sequences with them."""
    world, server, copy = nats_world, nats_world.nats_server, nats_world.folder / "copy"
    ditto = await world.streaming(delivery_confirm_delay=delay)
    with Traffic(world) as traffic:
        await some(traffic)
        await world.fence()
        server.stop()
        server.save_store(copy)
        server.start()
        await ditto.streaming(count=2)
        await some(traffic)
        await world.fence()
        lost = await world.tail()
        confirmed = world.confirmed_lsn
        if is_down:
            assert await ditto.stop() == 0
        attempts = len(ditto.logs("pipeline.streaming"))
        server.stop()
        server.restore_store(copy)
        server.start()
        if is_down:
            attempts, ditto = 0, world.ditto(delivery_confirm_delay=delay)
        if delay == "5m":
            resumed = await ditto.streaming(count=attempts + 1, timeout_s=60)
            assert Position.parse(resumed["tail"]) < lost, "it was lost, and stored again"
            await some(traffic)
            await world.fence(timeout_s=60)
        else:
            sentence = await refusal(ditto)
            tail = await world.tail()
            assert tail.commit_lsn < confirmed <= world.confirmed_lsn
            assert f"ends at {tail}" in sentence
            assert f"from {format_lsn(tail.commit_lsn)} to {format_lsn(world.confirmed_lsn)} are missing" in sentence
    if delay == "5m":
        await world.fence(timeout_s=60)
        await world.matches_tables()
        assert await ditto.stop() == 0


# ------------------------------------------------------------------------------------ purged


async def test_a_purge_while_it_streams_does_not_disturb_it(table: World) -> None:
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    world.sql("INSERT INTO t VALUES (2)")
    assert await rows(world) == [2]
    assert not ditto.logs("session.failed")
    assert await ditto.stop() == 0
    # There is a tail again: nothing is missing after it.
    await world.streaming()
    world.sql("INSERT INTO t VALUES (3)")
    assert await rows(world) == [2, 3]


async def test_a_purge_that_keeps_the_last_message_is_no_gap(table: World) -> None:
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream, keep=1)
    assert await ditto.stop() == 0
    await world.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    assert await rows(world) == [2]


@pytest.mark.long
async def test_a_purge_under_traffic(world: World) -> None:
    """The chain goes on: no message after it is missing, and no attempt ends."""
    ditto = await world.streaming()
    with Traffic(world) as traffic:
        for _ in range(3):
            await some(traffic)
            async with world.jetstream() as jetstream:
                await jetstream.purge_stream(world.stream)
        await some(traffic)
    await world.fence()
    found = await world.messages()
    assert [message.sequence for message in found] == list(range(found[0].sequence, found[-1].sequence + 1))
    assert not ditto.logs("session.failed")
    assert await ditto.stop() == 0


# ------------------------------------------------------------------------------------ deleted


async def deleted_while_it_streams(world: World, **settings: object) -> DittoProcess:
    ditto = await world.streaming(**settings)
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    world.sql("INSERT INTO t VALUES (2)")
    return ditto


async def test_the_stream_was_deleted_while_it_streams(table: World) -> None:
    world = table
    ditto = await deleted_while_it_streams(world)
    sentence = await refusal(ditto)
    confirmed = world.confirmed_lsn  # not before: that of the fence may have been on its way
    assert f"changes up to {format_lsn(confirmed)} are not in this stream" in sentence
    await world.streaming(delivery_on_gap="continue")
    # What was committed after the deletion PostgreSQL still has.
    assert (await rows(world))[-1] == 2


async def test_the_stream_was_deleted_while_it_streams_and_it_may_go_on(table: World) -> None:
    world = table
    ditto = await deleted_while_it_streams(world, delivery_on_gap="continue")
    accepted = await ditto.logged("stream.gap_accepted")
    assert accepted["level"] == "error"
    world.sql("INSERT INTO t VALUES (3)")
    assert (await rows(world))[-2:] == [2, 3]


# ------------------------------------------------------------------------------------ limits and consumers


async def make_stream(world: World, **settings: Any) -> None:
    """As somebody else would, before the first start."""
    subjects = [f"{world.name}._checkpoint", f"{world.name}_public_t", f"{world.name}_public_traffic"]
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[*subjects, world.fence_subject], **settings)


async def emptied(world: World, *, timeout_s: float = 30) -> None:
    """Wait until there is no message in the stream."""
    deadline = time.monotonic() + timeout_s
    while await world.message_count():
        assert time.monotonic() < deadline, f"there are still messages after {timeout_s:g} s"
        await asyncio.sleep(0.05)


async def ends_empty(world: World, ditto: DittoProcess) -> None:
    """The last message is gone, as the stream's settings want it: the next start knows where it was."""
    assert not ditto.logs("session.failed"), "the chain goes on without its last message"
    assert await ditto.stop() == 0
    ditto = await world.streaming()
    assert not ditto.logs("stream.gap_accepted")
    last = (await world.info()).state.last_seq
    world.sql("INSERT INTO t VALUES (3)")
    await world.holds(last + 1)
    assert not ditto.logs("session.failed")


@pytest.mark.long
async def test_messages_expire(table: World) -> None:
    world = table
    await make_stream(world, max_age=2)
    ditto = await world.streaming()
    assert "max_age" in ditto.logs("stream.risk")[0]["reason"]
    for row in (1, 2):
        last = (await world.info()).state.last_seq
        world.sql(f"INSERT INTO t VALUES ({row})")
        await world.holds(last + 1)
        await emptied(world)
    await ends_empty(world, ditto)


@pytest.mark.long
async def test_consumers_delete_what_they_have_read(table: World) -> None:
    world = table
    await make_stream(world, retention="workqueue")
    ditto = await world.streaming()
    assert "retention is workqueue" in ditto.logs("stream.risk")[0]["reason"]
    async with world.jetstream() as jetstream:
        config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT)
        reader = await jetstream.pull_subscribe(">", durable="all", stream=world.stream, config=config)
        for row in (1, 2):
            last = (await world.info()).state.last_seq
            world.sql(f"INSERT INTO t VALUES ({row})")
            await world.holds(last + 1)
            while await world.message_count():
                for message in await reader.fetch(10):
                    await message.ack_sync()
    await ends_empty(world, ditto)


@pytest.mark.long
async def test_a_stream_that_drops_its_oldest_messages(world: World) -> None:
    """Its last message stays: no start takes that for a gap."""
    await make_stream(world, max_msgs=200, discard="old")
    ditto = await world.streaming()
    assert "max_msgs" in ditto.logs("stream.risk")[0]["reason"]
    with Traffic(world) as traffic:
        for _ in range(2):
            await some(traffic)
            ditto.kill()
            ditto = await world.streaming()
        await some(traffic)
    await world.fence()
    found = await world.messages()
    last = found[-1].sequence
    assert [message.sequence for message in found] == list(range(last - len(found) + 1, last + 1))
    assert len(found) <= 200 < last
