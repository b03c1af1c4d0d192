"""Snapshots where the events go to other sinks than NATS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from e2e.kills import killed_at_random
from e2e.sinks.recordings import recording_of
from e2e.sinks.test_standard_output import Piped
from e2e.snapshots.oracle import Oracle
from e2e.snapshots.recording import FileRecording
from e2e.snapshots.scene import NAMES
from e2e.snapshots.test_faults import Broken
from e2e.snapshots.writers import Writers, copy_tables, make_tables, request

if TYPE_CHECKING:
    from e2e.sinks.file_world import FileWorld
    from e2e.sinks.kafka_world import KafkaWorld
    from e2e.sinks.replayed_world import ReplayedWorld


LONG = (pytest.mark.long, pytest.mark.timeout(1200))


@pytest.mark.parametrize(
    ("sink", "kill_count"),
    [
        pytest.param("file", 1, marks=LONG),
        *(pytest.param(sink, 3, marks=LONG) for sink in ("redis", "kafka", "rabbitmq")),
        *(pytest.param(sink, 20, marks=LONG) for sink in ("file", "redis", "kafka", "rabbitmq")),
    ],
)
async def test_killed_in_the_middle_of_a_snapshot(request: pytest.FixtureRequest, sink: str, kill_count: int) -> None:
    world: ReplayedWorld = request.getfixturevalue(f"{sink}_world")
    scene = Broken(world, seed=kill_count)
    scene.recording = recording_of(world)
    await scene.begun()
    with Writers(world, seed=kill_count):
        scene.begin_run()
        ditto = await killed_at_random(
            world, scene.ditto, scene.goes_on, count=kill_count, chance=scene.chance, **scene.settings
        )
        await scene.recording.finished(scene.runs[-1], ditto=ditto)
    oracle = await scene.is_right()
    assert sum(oracle.reads.values()) > len(NAMES)
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_broker_is_killed_in_the_middle_of_a_snapshot(own_kafka_world: KafkaWorld) -> None:
    world = own_kafka_world
    scene = Broken(world, seed=5)
    scene.recording = recording_of(world)
    await scene.begun()

    async def kill() -> None:
        world.kafka.kill()
        await asyncio.to_thread(world.kafka.start)

    await scene.interrupted(kill, count=3, kinds={"AckTimeout", "SinkLost", "NotNow"})
    assert await scene.ditto.stop() == 0


@pytest.mark.long
async def test_standard_output(file_world: FileWorld) -> None:
    world, output = file_world, file_world.folder / "output"
    make_tables(world)
    world.settings["DITTO_SNAPSHOT_CHUNK_ROWS"] = "200"
    piped = Piped(world, output)
    try:
        await piped.streaming()
        base = copy_tables(world)
        recording = FileRecording(world, output)
        with Writers(world, seed=9):
            request(world, "run", *(f"public.{name}" for name in NAMES))
            await recording.finished("run")
        number = world.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        fence = {"n": number}
        await recording.until(
            lambda: any(
                message.is_change and message.event["table"] == "fence" and message.event["data"] == fence
                for message in recording.messages
            ),
            "all has arrived",
        )
        oracle = Oracle(base)
        oracle.take_all(recording.messages)
        oracle.matches(copy_tables(world))
        assert oracle.faults == []
        assert sorted(oracle.done) == sorted(("run", name) for name in NAMES)
        assert piped.stop() == 0
    finally:
        piped.process.kill()
        piped.process.wait()
