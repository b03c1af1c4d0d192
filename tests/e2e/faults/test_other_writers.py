"""Somebody else writes into the stream: noticed, said, and everything of Ditto's arrives all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.process import eventually
from e2e.traffic import Traffic

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

FOREIGN = 4
MANY = 300
"""More than Ditto looks back at before it looks at the last message on each subject."""
ROWS = 200_000


async def write(world: World, subject: str = "._checkpoint") -> int:
    """Store a message as somebody would who knows nothing of Ditto; returns its sequence."""
    async with world.jetstream() as jetstream:
        return (await jetstream.publish(f"{world.name}{subject}", b"not a checkpoint")).seq


async def ends_equal(world: World, ditto: DittoProcess, foreign: list[int]) -> None:
    """Without the foreign messages the stream equals the tables."""
    await world.fence(timeout_s=60)
    async with world.jetstream() as jetstream:
        for sequence in foreign:
            await jetstream.delete_msg(world.stream, sequence)
    await world.matches_tables()
    assert await ditto.stop() == 0


def warned(ditto: DittoProcess) -> list[int]:
    entries = ditto.logs("stream.foreign_message")
    assert {entry["level"] for entry in entries} <= {"warning"}
    assert all("another writer" in entry["reason"] for entry in entries)
    return sorted({entry["sequence"] for entry in entries})


async def test_foreign_messages_between_transactions(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    foreign = []
    for row in range(FOREIGN):
        world.sql(f"INSERT INTO t VALUES ({row})")
        await world.fence()
        foreign.append(await write(world))
        world.sql(f"INSERT INTO t SELECT generate_series({row * 1000 + 100}, {row * 1000 + 199})")
    await ends_equal(world, ditto, foreign)
    assert warned(ditto) == foreign
    assert [failure["kind"] for failure in ditto.logs("session.failed")] == ["ChainBroken"] * FOREIGN


@pytest.mark.long
async def test_foreign_messages_in_the_middle_of_a_transaction(world: World) -> None:
    """One that takes the sequence of an event which is on its way: those after the event must not be stored."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, body text)")
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) AS n")
    foreign: list[int] = []
    for _ in range(FOREIGN):
        await world.holds((foreign[-1] if foreign else 0) + 3_000)
        foreign.append(await write(world))
    assert foreign[-1] < ROWS, "the last one came too late to test anything"
    await ends_equal(world, ditto, foreign)
    assert warned(ditto) == foreign


async def test_foreign_messages_while_ditto_is_down(world: World) -> None:
    """However many there are after its last message, it finds where it was."""
    ditto = await world.streaming()
    with Traffic(world) as traffic:
        await eventually(lambda: traffic.committed_count > 30, "the traffic goes on")
        await world.fence()
        assert await ditto.stop() == 0
        foreign = [await write(world) for _ in range(FOREIGN)]
        ditto = await world.streaming()
        await world.fence()
    assert warned(ditto) == foreign[-1:]
    await ends_equal(world, ditto, foreign)


@pytest.mark.parametrize("count", [FOREIGN, MANY])
async def test_foreign_messages_on_the_subject_of_the_last_event(world: World, count: int) -> None:
    """It is that subject's last message then."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    await world.fence()
    last = (await world.info()).state.last_seq
    world.sql("INSERT INTO t VALUES (1)")
    await world.holds(last + 1)
    await world.confirms_tail()
    assert await ditto.stop() == 0
    async with world.jetstream() as jetstream:
        foreign = [(await jetstream.publish(f"{world.name}_public_t", b"not an event")).seq for _ in range(count)]
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    await ends_equal(world, ditto, foreign)
