"""Every row of a snapshot is the row as of its position, whatever writes meanwhile.

`scripts/snapshots` runs the long version on several majors, with more seeds.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from ditto.testing.programs import as_account, postgres_account, reachable_programs
from e2e.process import eventually
from e2e.snapshots.scene import Scene
from e2e.snapshots.writers import JOURNAL, LONG, PARTITIONED, QUICK, Pace, Writers

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from e2e.world import World

SEEDS = [int(word) for word in os.environ.get("DITTO_TEST_SEEDS", "1").split(",")]


async def be_synchronous(world: World) -> None:
    """COMMIT waits for Ditto: transactions are sent long before others see them."""
    world.sql("ALTER SYSTEM SET synchronous_standby_names = 'ditto'", "SELECT pg_reload_conf()")
    await eventually(
        lambda: world.value("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") == 1,
        "Ditto is the synchronous standby",
    )


async def state_test(world: World, *, seed: int, impl: str, is_synchronous: bool, pace: Pace, runs: int) -> None:
    world.settings["DITTO_IMPL"] = impl
    scene = await Scene(world, pace=pace).begun()
    if is_synchronous:
        await be_synchronous(world)
    with Writers(world, seed=seed, pace=pace) as writers:
        for _ in range(runs):
            await scene.ran(timeout_s=300)
    world.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    oracle = await scene.is_right(fence_s=120)
    print(
        f"seed {seed}: {writers.committed_count} transactions, {writers.refused_count} refused, "
        f"{writers.altered_count} tables altered; {oracle.changed_rows} changes; "
        f"{sum(oracle.reads.values())} rows read, {oracle.repeated_reads} of them again after a move"
    )
    assert writers.committed_count > 50 * runs
    assert oracle.changed_rows > 1_000 * runs
    assert not scene.ditto.logs("session.failed")
    assert await scene.ditto.stop() == 0


@pytest.mark.parametrize(
    ("impl", "is_synchronous"), [("c", True), pytest.param("python", False, marks=pytest.mark.long)]
)
async def test_every_row_is_as_of_its_position(postgres_world: World, impl: str, is_synchronous: bool) -> None:
    await state_test(postgres_world, seed=1, impl=impl, is_synchronous=is_synchronous, pace=QUICK, runs=1)


def begin_epoch(postgres: PostgresServer) -> None:
    """As if 4,294,967,296 transactions had been there."""
    postgres.stop()
    account = postgres_account()
    program = reachable_programs(postgres.bin_dir, account) / "pg_resetwal"
    command: list[str | Path] = [program, "-e", "1", "-D", postgres.data_dir]
    subprocess.run(command, check=True, cwd="/", capture_output=True, **as_account(account))
    postgres.start()


@pytest.mark.long
async def test_transaction_ids_past_32_bits(postgres_world: World) -> None:
    """Changes carry 32 bits, snapshots 64."""
    world = postgres_world
    begin_epoch(world.postgres)
    assert int(world.value("SELECT pg_current_xact_id()::text")) > 1 << 32
    await state_test(world, seed=2, impl="c", is_synchronous=False, pace=QUICK, runs=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("is_synchronous", [False, True], ids=["asynchronous", "synchronous"])
@pytest.mark.parametrize("impl", ["c", "python"])
async def test_every_row_is_as_of_its_position_for_long(
    postgres_world: World, impl: str, is_synchronous: bool, seed: int
) -> None:
    await state_test(postgres_world, seed=seed, impl=impl, is_synchronous=is_synchronous, pace=LONG, runs=4)


async def test_the_initial_snapshot(world: World) -> None:
    """Of every table, once: killed in its middle it goes on, and a later start does not begin another."""
    pace = Pace(slow_s=1)
    scene = await Scene(world, pace=pace, snapshot_mode="initial", snapshot_max_rows_per_s="9000").begun()
    with Writers(world, seed=3, pace=pace):
        await scene.recording.until(
            lambda: any(each["state"] == "reading" for each in scene.recording.controls()), "rows are read"
        )
        scene.ditto.kill()
        scene.ditto = await world.streaming(**scene.settings)
        await scene.recording.until(
            lambda: bool(scene.recording.controls(state="finished")), "the run is finished", ditto=scene.ditto
        )
    assert await scene.ditto.stop() == 0
    scene.ditto = await world.streaming(**scene.settings)
    (run,) = [each["run"] for each in scene.recording.controls(state="finished")]
    scene.runs = [run]
    await scene.is_right()
    assert {each["run"] for each in scene.recording.controls()} == {run}


@pytest.mark.long
async def test_a_partitioned_table(world: World) -> None:
    """Published as its root: rows go from one partition to another as deletions and insertions."""
    shapes = [PARTITIONED, JOURNAL]
    scene = Scene(world, shapes=shapes)
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES WITH (publish_via_partition_root)")
    await scene.begun()
    with Writers(world, seed=4, shapes=shapes):
        for _ in range(2):
            await scene.ran()
    await scene.is_right()
