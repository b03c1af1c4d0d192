"""Everything that can end a session ends it in the middle of snapshots: the rows are right all the same, each once."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest

from e2e.kills import killed_at_random
from e2e.process import eventually
from e2e.snapshots.scene import Scene
from e2e.snapshots.writers import Writers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.process import DittoProcess
    from e2e.world import World

ROWS_PER_S = 3_000
"""Of each run: one second or two for each table."""
FEW_AND_MANY = [pytest.param(1, id="once"), pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
MANY = [pytest.param(5, marks=[pytest.mark.long, pytest.mark.timeout(900)])]


class Broken(Scene):
    """A scene whose snapshots are interrupted."""

    def __init__(self, world: World, *, seed: int) -> None:
        super().__init__(world)
        self.chance = random.Random(seed)
        self.seed = seed

    def begin_run(self) -> None:
        self.request(max_rows_per_s=ROWS_PER_S)

    async def goes_on(self, ditto: DittoProcess) -> None:
        """Wait for some more rows of the newest run; the next one begins where that ends before."""
        wanted = self.recording.reads(self.runs[-1]) + self.chance.randint(1, 1_500)

        def is_there() -> bool:
            return self.recording.reads(self.runs[-1]) >= wanted or self.is_over

        await self.recording.until(is_there, "rows are read", ditto=ditto)
        if self.is_over:
            self.begin_run()
            await self.goes_on(ditto)

    def ask(self, **body: str) -> None:
        """What SQL clients may ask for."""
        with self.world.connect() as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s)", [json.dumps(body)])

    async def pause(self) -> None:
        """Pause the newest run, and wait until that is stored."""
        self.ask(pause=self.runs[-1])
        paused = partial(self.recording.controls, run=self.runs[-1], state="paused")
        await self.recording.until(lambda: bool(paused()), "the run is paused", ditto=self.ditto)

    @property
    def is_over(self) -> bool:
        """The newest run."""
        return bool(self.recording.controls(run=self.runs[-1], state="finished"))

    async def interrupted(self, fault: Callable[[], Awaitable[object]], *, count: int, kinds: set[str]) -> None:
        """That fault `count` times, in the middle of runs; each ends the session, for one of these reasons."""
        ditto = self.ditto
        with Writers(self.world, seed=self.seed):
            self.begin_run()
            for number in range(1, count + 1):
                await self.goes_on(ditto)
                assert not self.is_over, "in the middle of a run"
                await fault()
                failure = await ditto.logged("session.failed", count=number, timeout_s=60)
                assert failure["kind"] in kinds, failure
            await self.recording.finished(self.runs[-1], ditto=ditto)
        await self.is_right()


@pytest.mark.parametrize("kill_count", [1, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
async def test_ditto_is_killed(world: World, kill_count: int) -> None:
    scene = Broken(world, seed=kill_count)
    await scene.begun()
    with Writers(world, seed=kill_count):
        scene.begin_run()
        ditto = await killed_at_random(
            world, scene.ditto, scene.goes_on, count=kill_count, chance=scene.chance, **scene.settings
        )
        await scene.recording.finished(scene.runs[-1], ditto=ditto)
    await scene.is_right()


@pytest.mark.parametrize("kill_count", FEW_AND_MANY)
@pytest.mark.long
async def test_nats_is_killed(nats_world: World, kill_count: int) -> None:
    scene = Broken(nats_world, seed=kill_count)
    await scene.begun()

    async def fault() -> None:
        nats_world.nats_server.kill()
        await asyncio.sleep(scene.chance.uniform(0, 1))
        await asyncio.to_thread(nats_world.nats_server.start)

    await scene.interrupted(fault, count=kill_count, kinds={"SinkLost", "NotNow", "AckTimeout"})


@pytest.mark.parametrize("count", MANY)
async def test_the_walsender_is_terminated(world: World, count: int) -> None:
    scene = Broken(world, seed=count)
    await scene.begun()

    terminate = (
        f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{world.name}' "
        "AND active_pid IS NOT NULL"
    )

    async def fault() -> None:
        # Rows that were stored before the last end may still be read here, before the next session has the slot.
        await eventually(lambda: bool(world.sql(terminate)), "a walsender is terminated")

    await scene.interrupted(fault, count=count, kinds={"ConnectionLost"})


@pytest.mark.parametrize("count", MANY)
async def test_the_connection_that_reads_is_terminated(world: World, count: int) -> None:
    scene = Broken(world, seed=count)
    await scene.begun()
    reader = (
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend' AND query ~ 'COPY|ditto.marker'"
    )

    with Writers(world, seed=count):
        scene.begin_run()
        for number in range(1, count + 1):
            while len(scene.ditto.logs("snapshot.retrying")) < number:
                await scene.goes_on(scene.ditto)
                await eventually(
                    lambda: bool(world.sql(f"SELECT pg_terminate_backend(pid) {reader}")), "it is terminated"
                )
                # Where the next table has no key, another connection reads it, and nothing is tried again.
                with suppress(AssertionError):
                    await scene.ditto.logged("snapshot.retrying", count=number, timeout_s=3)
        await scene.recording.finished(scene.runs[-1], ditto=scene.ditto)
    await scene.is_right()
    assert not scene.ditto.logs("session.failed"), "the stream goes on"


@pytest.mark.long
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_postgresql_restarts(postgres_world: World, mode: Literal["fast", "immediate"]) -> None:
    scene = Broken(postgres_world, seed=4)
    await scene.begun()
    fault = partial(asyncio.to_thread, postgres_world.postgres.restart, mode)
    await scene.interrupted(fault, count=1, kinds={"ConnectionLost", "ServerNotReady"})


@pytest.mark.long
async def test_a_standby_takes_over(world: World) -> None:
    scene = Broken(world, seed=5)
    await scene.begun()
    second = world.ditto(**scene.settings)
    await second.logged("slot.standby")
    with Writers(world, seed=5):
        scene.begin_run()
        await scene.goes_on(scene.ditto)
        scene.ditto.kill()
        await second.streaming(timeout_s=30)
        await scene.recording.finished(scene.runs[-1], ditto=second)
    await scene.is_right()


@pytest.mark.long
async def test_a_pause_that_outlives_the_process(world: World) -> None:
    """Paused, restarted, resumed: nothing is read meanwhile, and nothing twice."""
    scene = Broken(world, seed=6)
    await scene.begun()
    with Writers(world, seed=6):
        scene.begin_run()
        run = scene.runs[-1]
        await scene.goes_on(scene.ditto)
        await scene.pause()
        assert await scene.ditto.stop() == 0
        await scene.recording.read_on()
        count = scene.recording.reads(run)
        ditto = await world.streaming(**scene.settings)
        await world.fence()
        await scene.recording.read_on()
        assert scene.recording.reads(run) == count
        scene.ask(resume=run)
        await scene.recording.finished(run, ditto=ditto)
    await scene.is_right()


@pytest.mark.parametrize("is_killed", [pytest.param(False, marks=pytest.mark.long), True])
@pytest.mark.parametrize(
    "when",
    [
        pytest.param("reading", marks=pytest.mark.long),
        pytest.param("paused", marks=pytest.mark.long),
        "down",
        pytest.param("started again", marks=pytest.mark.long),
    ],
)
async def test_rows_that_move_to_where_all_was_read(world: World, when: str, is_killed: bool) -> None:
    """The event of such a move leaves out the large column that did not change: only one more READ tells it."""
    scene = Broken(world, seed=7)
    await scene.begun()

    def move(first: int) -> None:
        world.sql(f"UPDATE accounts SET id = -id - 1 WHERE id BETWEEN {first} AND {first + 400} AND doc <> 'short'")

    async def end() -> None:
        if is_killed:
            scene.ditto.kill()
        else:
            assert await scene.ditto.stop() == 0

    scene.request(tables=["accounts"], max_rows_per_s=500)
    run = scene.runs[-1]
    await scene.recording.until(lambda: scene.recording.reads(run) > 300, "rows are read", ditto=scene.ditto)
    if when == "reading":
        move(8_000)
    else:
        await scene.pause()
    if when == "paused":
        move(8_000)
        await world.fence()
        move(7_000)
    await end()
    if when == "down":
        move(8_000)
    scene.ditto = await world.streaming(**scene.settings)
    if when == "started again":
        move(8_000)
        await world.fence()
        await end()
        move(7_000)
        scene.ditto = await world.streaming(**scene.settings)
    scene.ask(resume="")
    await scene.recording.finished(run, ditto=scene.ditto)
    await scene.is_right(tables=["accounts"])
    await scene.recording.read_on()
    moved = [message for message in scene.recording.messages if message.is_read and message.event["data"]["id"] < 0]
    assert moved, "there was nothing to read again"
