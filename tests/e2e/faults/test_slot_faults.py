"""The slot is invalidated, dropped, or read by somebody else: Ditto stops or waits, and says what to do."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ditto.lsn import format_lsn
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

ENOUGH = 50
KEEP = "ALTER SYSTEM SET max_slot_wal_keep_size = '{}'"


async def some(ledger: Ledger) -> None:
    before = ledger.committed_count
    await eventually(lambda: ledger.committed_count >= before + ENOUGH, "the workload goes on")


async def loses_its_wal(world: World) -> None:
    """PostgreSQL writes more WAL than the slot may retain."""
    world.sql(KEEP.format("16MB"), "SELECT pg_reload_conf()", "CREATE TABLE noise (n int)")

    def is_lost() -> bool:
        world.sql("INSERT INTO noise VALUES (1)", "SELECT pg_switch_wal()", "CHECKPOINT")
        status = world.value(f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{world.name}'")
        return bool(status == "lost")

    await eventually(is_lost, "the slot is invalidated", timeout_s=60)


async def goes_on_with_a_new_slot(world: World) -> None:
    """The way out that the message names."""
    world.sql(KEEP.format("-1"), "SELECT pg_reload_conf()", f"SELECT pg_drop_replication_slot('{world.name}')")
    await world.streaming(delivery_on_gap="continue")
    world.sql("INSERT INTO t VALUES (100)")
    assert [event.change[2] for event in await world.events() if event.event["table"] == "t"] == [1, 100]


async def test_the_slot_is_invalidated_while_ditto_is_down(postgres_world: World) -> None:
    world = postgres_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    assert await ditto.stop() == 0
    world.sql("INSERT INTO t VALUES (2)")
    await loses_its_wal(world)
    for _ in range(2):
        ditto = world.ditto(delivery_on_gap="continue")  # that alone does not bring back the WAL
        assert await ditto.ended() == 3
        sentence = ditto.sentence()
        assert f"PostgreSQL has invalidated slot {world.name}" in sentence
        assert "ditto slot drop" in sentence
        assert "delivery.on_gap: continue" in sentence
    await goes_on_with_a_new_slot(world)


async def test_the_slot_is_invalidated_while_nats_is_away(own_world: World) -> None:
    """Ditto runs all the time: it says how much room is left, and stops when there is none."""
    world, server = own_world, own_world.nats_server
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    world.sql(KEEP.format("64MB"), "SELECT pg_reload_conf()")
    server.stop()
    world.sql("INSERT INTO t VALUES (2)")
    failure = await ditto.logged("session.failed", kind="SinkLost", count=3)
    assert failure["retained_bytes"] > 0
    assert 0 < failure["wal_left_bytes"] <= 96 << 20
    await loses_its_wal(world)
    assert await ditto.ended(timeout_s=60) == 3
    assert "ditto slot drop" in ditto.sentence()
    server.start()
    await goes_on_with_a_new_slot(world)


async def test_the_slot_is_dropped_while_ditto_runs_and_another_stands_by(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    active = await world.streaming()
    standby = world.ditto()
    holder = await standby.logged("slot.standby")
    assert holder["application"] == "ditto"
    assert holder["user"] == "postgres"
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    tail = await world.tail()

    def is_dropped() -> bool:  # whoever takes the slot in between is ended, too
        world.sql(
            f"SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = '{world.name}' "
            "AND active_pid IS NOT NULL",
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{world.name}' "
            "AND active_pid IS NULL",
        )
        return not world.value(f"SELECT count(*) FROM pg_replication_slots WHERE slot_name = '{world.name}'")

    await eventually(is_dropped, "the slot is dropped")
    for ditto in (active, standby):
        assert await ditto.ended() in {3, 4}
        sentence = ditto.sentence()
        assert f"slot {world.name} does not exist" in sentence or f"slot {world.name} was dropped" in sentence
        assert "delivery.on_gap: continue" in sentence
    world.sql("INSERT INTO t VALUES (2)")
    assert str(tail) in (await refusal(world))
    await world.streaming(delivery_on_gap="continue")
    world.sql("INSERT INTO t VALUES (3)")
    assert [event.change[2] for event in await world.events()] == [1, 3]


async def refusal(world: World) -> str:
    ditto = world.ditto()
    assert await ditto.ended() == 4
    return ditto.sentence()


@contextmanager
def reading(world: World, *, confirms: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    """pg_recvlogical reads the slot, and confirms what it has read: otherwise only when it is asked to end."""
    program = world.postgres.bin_dir / "pg_recvlogical"
    options = ["-o", "proto_version=1", "-o", f"publication_names={world.name}", "-F", "1" if confirms else "0"]
    process = subprocess.Popen(
        [program, "-d", world.dsn, "--slot", world.name, "--start", "-f", "-", "-s", "1", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize("has_confirmed", [True, False])
async def test_another_reader_has_taken_the_slot(world: World, has_confirmed: bool) -> None:
    """It is waited for, by name; what it has confirmed is missing from the stream, and that is said."""
    ditto = await world.streaming()
    with Ledger(world) as ledger:
        await some(ledger)
    await world.fence()
    assert await ditto.stop() == 0
    tail = await world.tail()
    with reading(world, confirms=has_confirmed) as reader:
        await eventually(lambda: world.is_slot_active, "the other one reads")
        ditto = world.ditto()
        holder = await ditto.logged("slot.standby")
        assert holder["application"] == "pg_recvlogical"
        assert holder["pid"] == world.value(
            f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{world.name}'"
        )
        assert holder["address"] == "127.0.0.1"
        assert holder["user"] == "postgres"
        if has_confirmed:
            world.sql("INSERT INTO account VALUES (-1, 0, 'read by the other one')")
            await eventually(lambda: world.confirmed_lsn > tail.commit_lsn, "it has confirmed something")
        else:
            reader.kill()  # it confirms when it ends otherwise
        assert ditto.is_running
        assert not ditto.logs("pipeline.streaming")
    if not has_confirmed:
        await ditto.streaming()
        with Ledger(world, seed=2) as ledger:
            await some(ledger)
        await matches_ledger(world)
        return
    assert await ditto.ended() == 4
    sentence = ditto.sentence()
    assert f"changes from {format_lsn(tail.commit_lsn)} to {format_lsn(world.confirmed_lsn)} are missing" in sentence
    await world.streaming(delivery_on_gap="continue")
    world.sql("INSERT INTO account VALUES (-2, 0, 'for Ditto again')")
    assert [event.change[2] for event in await world.events()][-1] == -2


async def test_a_slot_that_was_invalidated_because_nobody_read_it(postgres_world: World) -> None:
    world = postgres_world
    if world.major < 18:
        pytest.skip("before 18 a slot may idle for ever")
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0
    world.sql("ALTER SYSTEM SET idle_replication_slot_timeout = '1s'", "SELECT pg_reload_conf()")

    def is_lost() -> bool:
        world.sql("CHECKPOINT")
        return bool(world.value("SELECT invalidation_reason = 'idle_timeout' FROM pg_replication_slots"))

    await eventually(is_lost, "the slot is invalidated")
    ditto = world.ditto()
    assert await ditto.ended() == 3
    sentence = ditto.sentence()
    assert "idle_replication_slot_timeout" in sentence
    assert "ditto slot drop" in sentence
