"""Events are lost for good, and a snapshot of every table heals what consumers have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.process import eventually
from e2e.snapshots.oracle import Oracle
from e2e.snapshots.scene import NAMES, Scene
from e2e.snapshots.writers import KEYED, Writers, copy_tables

if TYPE_CHECKING:
    from e2e.world import World

DELETED = [f"DELETE FROM {shape.name} WHERE n % 3 = {{}}" for shape in KEYED]


async def written(world: World, seed: int, transactions: int = 60) -> None:
    with Writers(world, seed=seed, alters=False) as writers:
        await eventually(lambda: writers.committed_count > transactions, "transactions are committed", timeout_s=60)
    await world.fence()


async def lost(world: World, how: str) -> None:
    """What the stream had, or what the slot would have given. Ditto is away."""
    if how == "purged":
        async with world.jetstream() as jetstream:
            await jetstream.purge_stream(world.stream)
    else:
        world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")


@pytest.mark.long
@pytest.mark.parametrize("how", ["purged", "slot"])
async def test_a_snapshot_heals_what_consumers_have(world: World, how: str) -> None:
    scene = await Scene(world, delivery_on_gap="snapshot").begun()
    await written(world, 1)
    had = copy_tables(world)  # a consumer that reads no further, for now
    world.sql(*(statement.format(0) for statement in DELETED))
    await written(world, 2)
    assert await scene.ditto.stop() == 0
    await scene.recording.read_on()
    scene.recording.forget()
    base = copy_tables(world)
    world.sql(*(statement.format(1) for statement in DELETED))
    await lost(world, how)
    if how == "slot":
        base = copy_tables(world)
    ditto = await world.streaming(**scene.settings)
    with Writers(world, seed=3, alters=False):
        await scene.recording.until(lambda: bool(scene.recording.controls(state="finished")), "it is over", ditto=ditto)
    await world.fence()
    await scene.recording.read_on()
    assert ditto.logs("stream.gap_accepted")
    oracle = Oracle(base, sweeps=True)
    for shape in KEYED:
        assert had[shape.name].rows
        oracle.consumers_had(shape.name, had[shape.name].rows)
    oracle.take_all(scene.recording.messages)
    oracle.matches(copy_tables(world))
    assert oracle.faults == []
    assert {name for _, name in oracle.done} == set(NAMES)
    assert len({run for run, _ in oracle.done}) == 1
    assert await ditto.stop() == 0
    ditto = await world.streaming(**scene.settings)
    await world.fence()
    await scene.recording.read_on()
    assert len(scene.recording.controls(state="finished")) == 1, "once for each gap"


async def test_a_second_gap_while_the_first_is_being_healed_stops(world: World) -> None:
    scene = await Scene(world, delivery_on_gap="snapshot", snapshot_max_rows_per_s="500").begun()
    await written(world, 1)
    assert await scene.ditto.stop() == 0
    await scene.recording.read_on()
    scene.recording.forget()
    await lost(world, "slot")
    ditto = await world.streaming(**scene.settings)
    await scene.recording.until(lambda: any(message.is_read for message in scene.recording.messages), "rows are read")
    ditto.kill()
    await world.slot_is_free()
    await lost(world, "slot")
    await scene.recording.read_on()
    (opened,) = scene.recording.controls()[-1]["open"]
    assert opened["kind"] == "gap"
    for _ in range(2):
        ditto = world.ditto(**scene.settings)
        assert await ditto.ended() == 4, ditto.output
        assert ditto.logs("run.failed", kind="StreamGap")
    await scene.recording.read_on()
    assert not scene.recording.controls(state="finished")
