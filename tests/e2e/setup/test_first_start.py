"""The first start, while somebody else starts, or holds up what it has to create."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from e2e.process import eventually
from e2e.setup.test_check import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

TABLE = "CREATE TABLE t (id int PRIMARY KEY)"


def create_slot(world: World) -> None:
    with suppress(psycopg.errors.AdminShutdown):
        world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")


@contextmanager
def held_up(world: World) -> Iterator[psycopg.Connection[Any]]:
    """An open transaction, and a session that creates the slot and waits for it; the transaction's connection."""
    with world.connect() as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        creation = threading.Thread(target=create_slot, args=(world,))
        creation.start()
        try:
            yield writer
        finally:
            if not writer.closed:
                writer.rollback()
            creation.join()


async def is_being_created(world: World) -> None:
    query = f"FROM pg_replication_slots WHERE slot_name = '{world.name}' AND confirmed_flush_lsn IS NULL"
    await eventually(lambda: world.value(f"SELECT count(*) {query}") == 1, "the slot is being created")


def cli(world: World, *arguments: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "ditto", *arguments, "--json"],
        env={"PATH": "/usr/bin", **world.settings},
        capture_output=True,
        text=True,
        check=False,  # a status without a leader has an exit code of its own
        timeout=60,
    )
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


async def test_a_slot_that_somebody_else_creates_is_waited_for(world: World) -> None:
    world.sql(TABLE, f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    with held_up(world) as writer:
        await is_being_created(world)
        ditto = world.ditto()
        warning = await ditto.logged("slot.waiting_for_transactions")
        assert warning["transactions"] == [f"PID {writer.info.backend_pid}"]
        found = await check(world)
        assert found["slot.usable"].level == "warning"
        assert "is being created" in found["slot.usable"].what
        assert f"PID {writer.info.backend_pid}" in found["slot.oldest_transaction"].what
        assert found["stream.tail"].level == "ok"
        slot = await asyncio.to_thread(cli, world, "slot", "status")
        assert slot["is_being_created"] is True
        assert slot["confirmed_lsn"] is slot["lag_bytes"] is None
        status = await asyncio.to_thread(cli, world, "status")
        assert status["survey"]["leader"] is None
        assert status["survey"]["slot"]["lag_bytes"] is status["lag_s"] is None
        assert ditto.is_running
        writer.commit()
        await ditto.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [2]
    assert await ditto.stop() == 0


async def test_a_slot_whose_creation_is_given_up_is_created(world: World) -> None:
    world.sql(TABLE)
    with held_up(world) as writer:
        await is_being_created(world)
        ditto = world.ditto()
        query = f"FROM pg_replication_slots WHERE slot_name = '{world.name}'"
        await ditto.logged("publication.created")
        world.sql(f"SELECT pg_terminate_backend(active_pid, 5000) {query}")
        await eventually(lambda: world.value(f"SELECT count(*) {query} AND active") == 1, "Ditto creates the slot")
        writer.commit()
    await ditto.streaming()
    assert ditto.logs("slot.created")
    assert await ditto.stop() == 0


async def test_a_ditto_that_was_killed_while_it_created_the_slot(world: World) -> None:
    """Its session goes on creating it: PostgreSQL does not look whether anybody is still there."""
    world.sql(TABLE)
    with world.connect() as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        first = world.ditto()
        await is_being_created(world)
        first.kill()
        second = world.ditto()
        # Until it waits for the slot: the wait is said after a while.
        assert (await second.logged("slot.waiting_for_transactions"))["transactions"]
        writer.commit()
        await second.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [2]
    assert await second.stop() == 0


async def start_together(world: World, count: int) -> None:
    """One streams, the others stand by, and nobody has found fault with what was half there."""
    dittos = [world.ditto() for _ in range(count)]

    def working() -> int:
        ended = [ditto.output for ditto in dittos if not ditto.is_running]
        assert not ended, ended
        return sum(bool(ditto.logs("pipeline.streaming")) for ditto in dittos)

    def standing_by() -> int:
        return sum(bool(ditto.logs("slot.standby")) for ditto in dittos)

    await eventually(lambda: working() == 1 and standing_by() == count - 1, "one works, the others stand by")
    assert [ditto.logs("session.failed") for ditto in dittos] == [[]] * count
    for ditto in dittos:
        ditto.kill()


async def begin_anew(world: World) -> None:
    """As if there had never been a Ditto."""
    query = f"FROM pg_replication_slots WHERE slot_name = '{world.name}'"
    world.sql(
        f"SELECT pg_terminate_backend(active_pid, 5000) {query} AND active_pid IS NOT NULL",
        f"SELECT pg_drop_replication_slot(slot_name) {query}",
        f"DROP PUBLICATION IF EXISTS {world.name}",
    )
    async with world.jetstream() as jetstream:
        for stream in (world.stream, "KV_ditto_leases"):
            await jetstream.delete_stream(stream)


async def test_two_that_start_together_against_nothing(nats_world: World) -> None:
    nats_world.sql(TABLE)
    for _ in range(2):
        await start_together(nats_world, 2)
        await begin_anew(nats_world)


@pytest.mark.long
async def test_three_that_start_together_against_nothing_twenty_times(nats_world: World) -> None:
    nats_world.sql(TABLE)
    for _ in range(20):
        await start_together(nats_world, 3)
        await begin_anew(nats_world)


async def test_a_publication_that_somebody_else_is_creating(world: World) -> None:
    """Its name is taken, and nobody sees it before the other one commits."""
    world.sql(TABLE)
    with world.connect() as other:
        other.execute(f"CREATE PUBLICATION {world.name} FOR ALL TABLES".encode())
        ditto = world.ditto()
        waiting = "FROM pg_stat_activity WHERE query LIKE 'CREATE PUBLICATION%' AND wait_event_type = 'Lock'"
        await eventually(lambda: world.value(f"SELECT count(*) {waiting}") == 1, "Ditto waits for the other one")
        other.commit()
    await ditto.streaming()
    assert not ditto.logs("publication.created")
    world.sql("INSERT INTO t VALUES (1)")
    assert [event.change[2] for event in await world.events()] == [1]
    assert await ditto.stop() == 0


def left(world: World) -> list[Any]:
    return world.sql(
        "SELECT pubname::text FROM pg_publication UNION ALL SELECT slot_name::text FROM pg_replication_slots "
        "WHERE database = current_database()"
    )


async def test_a_stream_that_cannot_be_used_is_found_before_anything_is_created(world: World) -> None:
    """Another stream takes the subjects: no slot is left for which PostgreSQL would keep WAL."""
    world.sql(TABLE)
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=f"{world.stream}_OTHER", subjects=[f"{world.name}_public_t"])
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert "another stream takes some of its subjects already" in ditto.sentence()
    assert left(world) == []
    assert not ditto.logs("start.left_behind")


@pytest.mark.parametrize("tables", [None, {"t": ["insert"]}])
async def test_an_unusable_stream_is_found_before_anything_is_created(world: World, tables: Any) -> None:
    world.sql(TABLE)
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=world.stream, subjects=[f"{world.name}_else"])
    ditto = world.ditto(**({} if tables is None else {"events_tables": tables}))
    assert await ditto.ended() == 4
    assert "does not take the subjects" in ditto.sentence()
    assert left(world) == []


def drop_slot(world: World) -> None:
    subprocess.run(
        [sys.executable, "-m", "ditto", "slot", "drop", "--yes"],
        env={"PATH": "/usr/bin", **world.settings},
        check=True,
        timeout=60,
    )


async def test_a_role_that_may_only_replicate_and_read(world: World) -> None:
    """The hint names the rights that are missing, and the statement; once somebody has run it, Ditto starts."""
    role = f"{world.name}_reader"
    world.sql(TABLE, f"CREATE ROLE {role} LOGIN REPLICATION", f"GRANT SELECT ON t TO {role}")
    dsn = world.dsn.replace("postgres@", f"{role}@")
    ditto = world.ditto(postgres_dsn=dsn, events_tables={"t": ["insert"]})
    assert await ditto.ended() == 3
    (failure,) = ditto.logs("run.failed")
    assert failure["kind"] == "AccessDenied"
    assert "pipeline" not in failure
    assert "has CREATE on the database and owns the tables" in failure["hint"]
    world.sql(failure["hint"].partition("let one of them run ")[2])
    await world.streaming(postgres_dsn=dsn, events_tables={"t": ["insert"]})


async def test_what_a_failed_first_start_leaves_is_said(nats_world: World) -> None:
    """The stream turns out to be unusable only when the slot is there: the way out is printed."""
    world = nats_world
    world.sql(TABLE)
    with world.connect() as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        ditto = world.ditto()
        await is_being_created(world)
        async with world.jetstream() as jetstream:
            await jetstream.delete_stream(world.stream)
            await jetstream.add_stream(name=f"{world.stream}_OTHER", subjects=[f"{world.name}_public_t"])
        writer.commit()
        assert await ditto.ended() == 4
    (warning,) = ditto.logs("start.left_behind")
    assert (warning["slot"], warning["publication"]) == (world.name, world.name)
    assert left(world) == [(world.name,), (world.name,)]
    assert "ditto slot drop" in warning["hint"]
    await asyncio.to_thread(drop_slot, world)
    world.sql(warning["hint"].partition("in psql ")[2])
    assert left(world) == []
