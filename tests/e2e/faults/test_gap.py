"""The stream or the slot has lost something: Ditto says what, and goes on only where it is told to."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from ditto.check.run import run_checks
from ditto.config import load
from ditto.decoding.event_id import event_id, event_key
from ditto.formats.checkpoint import decode_checkpoint
from ditto.lsn import Position, format_lsn, parse_lsn
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


@pytest.fixture
def stopped(world: World) -> World:
    """The table t, of which nothing is in the stream yet; no Ditto runs."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    return world


def missing(tail: Position, world: World) -> str:
    """How the refusal names what is gone: everything between that position and where the slot stands."""
    return f"changes from {format_lsn(tail.commit_lsn)} to {format_lsn(world.confirmed_lsn)} are missing"


async def refusal(world: World) -> str:
    """What it says when it refuses to start."""
    ditto = world.ditto()
    assert await ditto.ended() == 4
    sentence = ditto.sentence()
    assert "missing" in sentence
    assert "delivery.on_gap: continue" in sentence
    assert world.stream in sentence
    return sentence


async def ran(world: World, *rows: int) -> None:
    """Run Ditto until these rows are stored."""
    ditto = await world.streaming()
    world.sql(*(f"INSERT INTO t VALUES ({row})" for row in rows))
    await world.fence()
    assert await ditto.stop() == 0


async def test_the_stream_was_purged(stopped: World) -> None:
    world = stopped
    await ran(world, 1, 2)
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    world.sql("INSERT INTO t VALUES (3)")
    confirmed = world.confirmed_lsn
    sentence = await refusal(world)
    assert f"to {format_lsn(confirmed)} are missing" in sentence
    assert world.confirmed_lsn == confirmed, "a refusal changes nothing"
    await world.streaming(delivery_on_gap="continue")
    assert [event.change[2] for event in await world.events()] == [3]


async def test_accepting_a_gap_is_needed_only_once(stopped: World) -> None:
    world = stopped
    await ran(world, 1)
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    ditto = await world.streaming(delivery_on_gap="continue")
    accepted = await ditto.logged("stream.gap_accepted")
    assert accepted["level"] == "error"
    assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", accepted["missing_from"])
    assert accepted["missing_to"] == format_lsn(world.confirmed_lsn)
    assert await ditto.stop() == 0
    ditto = await world.streaming()
    assert not ditto.logs("stream.gap_accepted")
    world.sql("INSERT INTO t VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [2]


async def test_the_end_of_the_stream_was_deleted(stopped: World) -> None:
    world = stopped
    await ran(world, 1, 2)
    messages = await world.messages()
    # All but the first event: what is left looks like a tail, and is too old.
    async with world.jetstream() as jetstream:
        for message in messages[2:]:
            await jetstream.delete_msg(world.stream, message.sequence)
    sentence = await refusal(world)
    assert missing(messages[1].position, world) in sentence


async def test_the_stream_was_deleted(stopped: World) -> None:
    """The metadata that named the owner has gone with it; the slot tells that this is no first start."""
    world = stopped
    await ran(world, 1)
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    world.sql("INSERT INTO t VALUES (2)")
    confirmed = world.confirmed_lsn
    for _ in range(2):  # the first refusal must not make the second start look like a restart
        ditto = world.ditto()
        assert await ditto.ended() == 4
        assert f"changes up to {format_lsn(confirmed)} are not in this stream" in ditto.sentence()
    ditto = await world.streaming(delivery_on_gap="continue")
    assert ditto.logs("stream.gap_accepted", missing_to=format_lsn(confirmed))
    assert [event.change[2] for event in await world.events()] == [2]


async def test_the_stream_was_deleted_and_postgresql_has_crashed(postgres_world: World) -> None:
    """The statistics of the slot are gone: PostgreSQL says that nothing was ever read from it. The lease knows."""
    world = postgres_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    assert await ditto.stop() == 0
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    await asyncio.to_thread(world.postgres.stop, "immediate")
    await asyncio.to_thread(world.postgres.start)
    for _ in range(2):
        ditto = world.ditto()
        assert await ditto.ended() == 4
        assert "are not in this stream" in ditto.sentence()
    (finding,) = [each for each in await run_checks(load(None, {}, world.settings)) if each.check == "stream.tail"]
    assert finding.level == "error", "the check says what a start says"
    assert "are not in this stream" in finding.what


async def test_a_slot_that_is_made_anew_with_its_stream_is_no_gap(stopped: World) -> None:
    """The lease of the one before has left a trace."""
    world = stopped
    await ran(world, 1)
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")
    await world.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [2]


async def test_a_slot_that_others_made_long_before_is_no_gap(stopped: World) -> None:
    world = stopped
    world.sql(
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
        *(f"INSERT INTO t VALUES ({row})" for row in range(1, 501)),
    )
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == list(range(1, 501))


async def test_a_first_start_that_failed_half_way_is_no_gap(stopped: World) -> None:
    """Publication and slot are there, and the stream cannot be made yet."""
    world = stopped
    world.sql(
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')",
    )
    async with world.jetstream() as jetstream:
        await jetstream.add_stream(name=f"{world.stream}_OTHER", subjects=[world.fence_subject])
    for row in (1, 2):
        ditto = world.ditto()
        assert await ditto.ended() == 4
        assert "another stream" in ditto.sentence()
        world.sql(f"INSERT INTO t VALUES ({row})")
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(f"{world.stream}_OTHER")
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == [1, 2]


async def test_the_stream_was_deleted_while_ditto_streams(stopped: World) -> None:
    world = stopped
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    world.sql("INSERT INTO t VALUES (2)")
    failure = await ditto.logged("session.failed")
    assert failure["kind"] in {"NotNow", "StreamNotFound"}


async def test_the_slot_was_made_anew(stopped: World) -> None:
    world = stopped
    await ran(world, 1)
    world.sql(f"SELECT pg_drop_replication_slot('{world.name}')", "INSERT INTO t VALUES (2)")
    sentence = await refusal(world)
    assert f"slot {world.name} does not exist" in sentence
    assert world.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{world.name}'") == []
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')", "INSERT INTO t VALUES (3)")
    tail = await world.tail()
    sentence = await refusal(world)
    assert missing(tail, world) in sentence
    await world.streaming(delivery_on_gap="continue")
    assert [event.change[2] for event in await world.events()] == [1, 3]


async def test_the_slot_is_dropped_while_ditto_is_away_and_made_by_ditto(stopped: World) -> None:
    world = stopped
    await ran(world, 1)
    world.sql(f"SELECT pg_drop_replication_slot('{world.name}')", "INSERT INTO t VALUES (2)")
    await world.streaming(delivery_on_gap="continue")
    world.sql("INSERT INTO t VALUES (3)")
    assert [event.change[2] for event in await world.events()] == [1, 3]


async def test_the_store_was_restored_from_an_earlier_copy(nats_world: World) -> None:
    world = nats_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await ran(world, 1)
    earlier = await world.tail()
    world.nats_server.stop()
    copy = world.folder / "copy"
    shutil.copytree(world.nats_server.store_dir, copy)
    world.nats_server.start()
    await ran(world, 2, 3)
    world.nats_server.stop()
    shutil.rmtree(world.nats_server.store_dir)
    shutil.copytree(copy, world.nats_server.store_dir)
    world.nats_server.start()
    assert await world.tail() == earlier
    sentence = await refusal(world)
    assert missing(earlier, world) in sentence


async def test_the_database_was_restored_from_an_earlier_copy(stopped: World) -> None:
    """Its new changes would get positions that the stream has already seen."""
    world = stopped
    await ran(world, 1)
    async with world.jetstream() as jetstream:
        future = "FFFF/0:1"
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        headers = {"Ditto-Position": future, "Nats-Expected-Last-Sequence": str(last)}
        system = world.value("SELECT system_identifier::text FROM pg_control_system()")
        event = {"id": event_id(Position.parse(future), event_key(system, world.name))}
        await jetstream.publish(f"{world.name}_public_t", msgspec.json.encode(event), headers=headers)
    ditto = world.ditto()
    assert await ditto.ended() == 3
    assert future in ditto.sentence()


@pytest.mark.long
async def test_no_false_alarm_after_idleness(stopped: World) -> None:
    """An idle slot's confirmed LSN moves on, through checkpoints of which only the last one is kept."""
    world = stopped
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    event_tail = await world.tail()

    wal_lsn = unrelated_wal(world)
    await eventually(lambda: world.confirmed_lsn > wal_lsn, "the idle slot lets go of WAL", timeout_s=25)
    tail = await world.tail()
    assert tail > event_tail
    assert tail.ordinal == 0
    assert world.confirmed_lsn <= tail.commit_lsn
    checkpoints = [message for message in await world.messages() if message.subject == f"{world.name}._checkpoint"]
    assert len(checkpoints) == 1, "rolled up"
    checkpoint, _ = decode_checkpoint(checkpoints[0].payload)
    assert checkpoint.lsn == tail.commit_lsn
    assert checkpoint.last is not None, "it says which transaction is the last before it"
    assert checkpoint.last.commit_lsn == event_tail.commit_lsn
    ditto.kill()
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [1, 2]


def unrelated_wal(world: World) -> int:
    """WAL in another database; returns where it ends."""
    world.sql(
        "CREATE TABLE IF NOT EXISTS noise (id int)",
        "INSERT INTO noise SELECT generate_series(1, 1000)",
        dsn=world.postgres.dsn,
    )
    return parse_lsn(world.value("SELECT pg_current_wal_insert_lsn()::text"))


async def test_the_end_of_a_transaction_was_lost(stopped: World) -> None:
    """The last transaction comes again after every start, so that its end is stored again when the stream lost it."""
    world = stopped
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)", "INSERT INTO t SELECT generate_series(2, 11)")
    await world.holds(12)  # the first message is a checkpoint
    assert await ditto.stop() == 0
    async with world.jetstream() as jetstream:
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        for sequence in range(last - 4, last + 1):
            await jetstream.delete_msg(world.stream, sequence)
    await world.streaming()
    assert [event.change[2] for event in await world.events()] == list(range(1, 12))
