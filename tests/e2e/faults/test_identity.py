"""A position is not an identity: forged messages, and servers whose history is another one than the stream's."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import TYPE_CHECKING

import pytest

from ditto.lsn import Position, format_lsn
from e2e.process import eventually
from e2e.shell import Shell, shim
from e2e.traffic import TABLE, Traffic

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World


@pytest.fixture
def table(world: World) -> World:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    return world


async def rows(world: World) -> list[int]:
    return [event.change[2] for event in await world.events()]


# ------------------------------------------------------------------------------------ forged and corrupt messages


async def forge(world: World, subject: str, position: object, payload: bytes) -> int:
    """Publish as somebody would who wants Ditto to skip rows; returns the sequence."""
    async with world.jetstream() as jetstream:
        stored = await jetstream.publish(subject, payload, headers={"Ditto-Position": str(position)})
        return stored.seq


async def mended_as_told(world: World, ditto: DittoProcess) -> None:
    """Enter the command that the hint gives."""
    found = re.search(r"nats --server=\S+ stream rmm .*--force", ditto.sentence())
    assert found is not None
    await Shell(world, shim(world.folder / "tools")).run(found[0])


@pytest.mark.parametrize("kind", ["event", "checkpoint", "nonsense"])
async def test_a_forged_position_is_no_starting_point(table: World, kind: str) -> None:
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    stored = (await world.events())[-1]
    await world.confirms_tail()
    assert await ditto.stop() == 0
    ahead = Position(world.confirmed_lsn + 64, 1)
    subject, position, payload = {
        "event": (stored.subject, ahead, stored.payload),
        "checkpoint": (
            f"{world.name}._checkpoint",
            ahead._replace(ordinal=0),
            json.dumps({"lsn": format_lsn(ahead.commit_lsn)}).encode(),
        ),
        "nonsense": (stored.subject, "16/B374D848", stored.payload),
    }[kind]
    sequence = await forge(world, subject, position, payload)
    world.sql("INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)")
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert ("has no id" if kind == "checkpoint" else f"message {sequence} of stream {world.stream}") in ditto.sentence()
    await mended_as_told(world, ditto)
    await world.streaming()
    assert await rows(world) == [1, 2, 3]


async def test_a_forged_message_under_a_running_ditto(table: World) -> None:
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    await forge(world, f"{world.name}_public_t", "FFFF/0:1", b'{"id":"00000000-0000-0000-0000-000000000000"}')
    world.sql("INSERT INTO t VALUES (2)")
    assert await ditto.ended() == 4
    await mended_as_told(world, ditto)
    await world.streaming()
    assert await rows(world) == [1, 2]


async def test_a_forged_message_that_is_not_the_last(table: World) -> None:
    """It is found where the last message of each subject has to be looked at."""
    world = table
    world.sql("CREATE TABLE other (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO other VALUES (1)")
    await world.fence()
    assert await ditto.stop() == 0
    await forge(world, f"{world.name}_public_other", "FFFF/0:1", b"{}")
    async with world.jetstream() as jetstream:
        await jetstream.publish(f"{world.name}_public_t", b"foreign")
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert "FFFF/0:1" in ditto.sentence()


async def test_a_stream_of_an_earlier_version_is_taken_up(table: World) -> None:
    """Its checkpoints have no id, and its metadata does not say since when they would."""
    world = table
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    await world.confirms_tail()
    assert await ditto.stop() == 0
    newer = {"ditto.identified-after", "ditto.publication", "ditto.former-systems", "ditto.place"}
    async with world.jetstream() as jetstream:
        config = (await jetstream.stream_info(world.stream)).config
        config.metadata = {name: value for name, value in (config.metadata or {}).items() if name not in newer}
        await jetstream.update_stream(config)
    position = Position((await world.tail()).commit_lsn + 8, 0)
    await forge(
        world,
        f"{world.name}._checkpoint",
        position,
        json.dumps({"lsn": format_lsn(position.commit_lsn)}, separators=(",", ":")).encode(),
    )
    world.sql("INSERT INTO t VALUES (2)")
    ditto = await world.streaming()
    assert ditto.logs("pipeline.streaming")[0]["tail"] == str(position)
    assert await rows(world) == [1, 2]
    assert "ditto.identified-after" in ((await world.info()).config.metadata or {})
    ditto.kill()
    await world.streaming()
    world.sql("INSERT INTO t VALUES (3)")
    assert await rows(world) == [1, 2, 3]


# ------------------------------------------------------------------------------------ the storage goes back


async def with_a_copy(world: World, **settings: object) -> DittoProcess:
    """A running Ditto, a copy of the server's storage after row 1, and rows 2 to 11 after the copy."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    ditto = await world.streaming(**settings)
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    await asyncio.to_thread(world.postgres.stop)
    copy = await asyncio.to_thread(world.postgres.save_data)
    await asyncio.to_thread(world.postgres.start)
    await ditto.streaming(count=2)
    world.sql(*(f"INSERT INTO t VALUES ({row}, 'before')" for row in range(2, 12)))
    await world.fence()
    await world.confirms_tail()
    await asyncio.to_thread(world.postgres.stop)
    await asyncio.to_thread(world.postgres.restore_data, copy)
    return ditto


@pytest.mark.parametrize("is_running", [True, False])
async def test_the_storage_was_put_back_on_the_same_timeline(postgres_world: World, is_running: bool) -> None:
    world = postgres_world
    ditto = await with_a_copy(world)
    if not is_running:
        assert await ditto.stop() == 0
        tail = await world.tail()
    await asyncio.to_thread(world.postgres.start)
    if is_running:
        # Alone, the tail lies beyond the end of the WAL; Ditto may notice that first.
        world.sql(*(f"INSERT INTO t VALUES ({row}, 'after')" for row in range(2, 42)))
    else:
        world.sql(*(f"INSERT INTO t VALUES ({row}, 'after')" for row in range(2, 42)))
        confirmed = world.confirmed_lsn
        ditto = world.ditto()
    assert await ditto.ended() == 3
    if is_running:
        return
    sentence = ditto.sentence()
    assert f"up to {format_lsn(tail.commit_lsn)}, is not in the stream" in sentence
    assert world.confirmed_lsn == confirmed, "nothing was confirmed of a history that is not the stream's"
    assert await world.tail() == tail


async def test_what_is_left_out_then_is_accepted_only_on_request(postgres_world: World) -> None:
    """As the hint says: start once with on_gap: continue, then reload from the tables."""
    world = postgres_world
    assert await (await with_a_copy(world)).stop() == 0
    await asyncio.to_thread(world.postgres.start)
    world.sql(*(f"INSERT INTO t VALUES ({row}, 'after')" for row in range(2, 42)))
    assert await world.ditto().ended() == 3
    ditto = await world.streaming(delivery_on_gap="continue")
    await ditto.logged("stream.gap_accepted")
    # Fences with numbers of their own: the stream has some from the other history.
    world.sql("INSERT INTO t VALUES (100)", *["INSERT INTO fence DEFAULT VALUES"] * 5)
    events = await world.events()
    assert events[-1].change[2] == 100
    assert not set(range(25, 42)).difference(event.change[2] for event in events), "those after the tail are there"
    assert await ditto.stop() == 0
    await world.streaming()


async def committed(traffic: Traffic) -> None:
    await eventually(lambda: traffic.committed_count > 50, "the traffic goes on")


@pytest.mark.long
async def test_no_false_alarm_under_crashes_of_the_server(postgres_world: World) -> None:
    """A crash moves the slot back: transactions come again, but none that was aborted or has nothing selected."""
    world = postgres_world
    world.sql("CREATE TABLE noise (id int)", TABLE)
    ditto = await world.streaming(
        events_tables={"traffic": ["insert", "update", "delete", "truncate"], "fence": ["insert"]}
    )
    for attempt in range(4):
        world.sql("TRUNCATE traffic")
        with Traffic(world, seed=attempt) as traffic:
            await committed(traffic)
        world.sql("INSERT INTO noise VALUES (1)", "CREATE TABLE IF NOT EXISTS empty (a int)", "SELECT txid_current()")
        if attempt % 2:
            await asyncio.to_thread(world.postgres.kill)
        else:
            await asyncio.to_thread(world.postgres.stop, "immediate")
        await asyncio.to_thread(world.postgres.start)
        await world.fence(timeout_s=60)
    assert not ditto.logs("stream.gap_accepted")
    await world.matches_tables()


async def test_another_publication_is_no_other_history(table: World) -> None:
    """The last transaction does not come again: the new publication has nothing of it."""
    world = table
    world.sql("CREATE TABLE other (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name}b FOR TABLE other")
    ditto = await world.streaming()
    await world.fence()
    world.sql("INSERT INTO t VALUES (1)")
    await eventually(lambda: bool(world.confirmed_lsn), "it is confirmed")
    await world.holds((await world.info()).state.last_seq)
    assert await ditto.stop() == 0
    ditto = await world.streaming(postgres_publication=f"{world.name}b")
    last = (await world.info()).state.last_seq
    world.sql("INSERT INTO other VALUES (2)")
    await world.holds(last + 1)
    assert not ditto.logs("session.failed")
    await eventually_named(world, f"{world.name}b")
    assert await ditto.stop() == 0
    ditto = await world.streaming(postgres_publication=f"{world.name}b")
    last = (await world.info()).state.last_seq
    world.sql("INSERT INTO other VALUES (3)")
    await world.holds(last + 1)
    assert not ditto.logs("session.failed")


async def eventually_named(world: World, publication: str) -> None:
    deadline = time.monotonic() + 20
    while ((await world.info()).config.metadata or {}).get("ditto.publication") != publication:
        assert time.monotonic() < deadline, "the stream does not name the publication"
        await asyncio.sleep(0.02)
