"""`events.oversize`: what becomes of events that are larger than a message can be (here 1 MB)."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
import nats
import pytest
from nats.js.errors import NotFoundError

from ditto.reader import ObjectDamaged, ObjectGone, whole_event
from e2e.snapshots.finished import snapshot_finished
from e2e.values.test_large import peak_rss

if TYPE_CHECKING:
    from nats.js import JetStreamContext

    from e2e.world import World

LARGE = 3_000_000
TABLE = "CREATE TABLE t (id int PRIMARY KEY, small text, large text, larger text)"


async def run_ditto(world: World, *arguments: str, **settings: object) -> tuple[int, str]:
    """Exit code and output of a command."""
    given = {f"DITTO_{name.upper()}": str(value) for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", *arguments),
        env={"PATH": os.environ["PATH"], **world.settings, **given},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode()


def stored_in(world: World) -> dict[str, Any]:
    return {"events_oversize": "object_store", "nats_object_store_bucket": world.name}


async def events_of(world: World) -> list[dict[str, Any]]:
    await world.fence(timeout_s=60)
    events = [message.event for message in await world.messages()]
    return [event for event in events if event.get("table", "fence") != "fence" and "action" in event]


async def test_the_largest_columns_are_left_out_and_named(world: World) -> None:
    world.sql(TABLE, "ALTER TABLE t REPLICA IDENTITY FULL")
    await world.streaming(events_oversize="strip")
    world.sql(
        f"INSERT INTO t VALUES (1, 'a', repeat('x', 600000), repeat('y', {LARGE}))",
        "UPDATE t SET small = 'b'",
        "INSERT INTO t VALUES (2, 'c', 'd', 'e')",
        "DELETE FROM t WHERE id = 1",
    )
    first, second, third, fourth = await events_of(world)
    assert first["stripped"] == ["larger"]
    assert first["data"] == {"id": 1, "small": "a", "large": "x" * 600000}
    assert second["stripped"] == ["larger", "large"]
    assert (second["data"], second["dataOld"]) == ({"id": 1, "small": "b"}, {"id": 1, "small": "a"})
    assert "stripped" not in third
    assert fourth["stripped"] == ["larger"]
    assert set(fourth["dataOld"]) == {"id", "small", "large"}


async def test_the_key_stays_whatever_its_size(world: World) -> None:
    world.sql("CREATE TABLE t (id text, n int, large text)", "ALTER TABLE t REPLICA IDENTITY FULL")
    ditto = await world.streaming(events_oversize="strip")
    world.sql("INSERT INTO t VALUES ('k', 1, repeat('y', 2000000))")
    (event,) = await events_of(world)
    assert event["stripped"] == ["large"], "a table without a key"
    assert await ditto.stop() == 0


async def test_the_whole_event_is_in_the_object_store(world: World) -> None:
    world.sql(TABLE)
    await world.streaming(**stored_in(world))
    world.sql(
        f"INSERT INTO t VALUES (1, 'a', 'l', repeat('é', {LARGE}))",
        "INSERT INTO t VALUES (2, 'b', 'c', 'd')",
    )
    first, second = await events_of(world)
    assert first["data"] == {"id": 1}
    assert set(first["object"]) == {"bucket", "name", "size", "digest"}
    assert first["object"]["name"] == first["id"]
    client = await nats.connect(world.nats_server.url)
    try:
        jetstream = client.jetstream()
        whole = await whole_event(jetstream, first)
        assert whole["data"] == {"id": 1, "small": "a", "large": "l", "larger": "é" * LARGE}
        assert "object" not in whole
        assert {name: whole[name] for name in ("id", "action", "commitTime")} == {
            name: first[name] for name in ("id", "action", "commitTime")
        }
        assert await whole_event(jetstream, second) == second
        with pytest.raises(ObjectDamaged):
            await whole_event(jetstream, {**first, "object": {**first["object"], "size": 1}})
        await world.matches_tables(event_count=2)
        store = await jetstream.object_store(world.name)
        await store.delete(first["object"]["name"])
        with pytest.raises(ObjectGone):
            await whole_event(jetstream, first)
        with pytest.raises(ObjectGone):
            await whole_event(jetstream, {**first, "object": {**first["object"], "bucket": "nowhere"}})
    finally:
        await client.close()


async def chunk_count(jetstream: JetStreamContext, world: World) -> int:
    """How many chunks were ever stored."""
    with suppress(NotFoundError):
        return (await jetstream.stream_info(f"OBJ_{world.name}")).state.last_seq
    return 0


@pytest.mark.long
async def test_killed_in_the_middle_of_uploads_nothing_is_left_behind(world: World) -> None:
    world.sql(TABLE)
    settings = {**stored_in(world), "events_group_by": "transaction"}
    world.fence_subject = f"{world.name}.transactions"
    ditto = await world.streaming(**settings)
    world.sql(*(f"INSERT INTO t SELECT {n}, 'a', 'b', repeat(md5('{n}'), 200000)" for n in range(12)))

    async with world.jetstream() as jetstream:
        for number in range(1, 7):
            # In the middle of an object of 49 chunks, and further every time.
            while await chunk_count(jetstream, world) < number * 70:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.002)
            ditto.kill()
            ditto = world.ditto(**settings)
    await ditto.streaming(timeout_s=60)
    events = await events_of(world)
    assert [event["data"]["id"] for event in events] == list(range(12))
    await world.matches_tables(event_count=12)
    async with world.jetstream() as jetstream:
        state = (await jetstream.stream_info(f"OBJ_{world.name}")).state
    chunks = sum(-(-event["object"]["size"] // (128 << 10)) + 1 for event in events)
    assert state.messages == chunks


@pytest.mark.parametrize("mode", ["strip", "object_store"])
async def test_rows_of_a_snapshot_and_groups(world: World, mode: str) -> None:
    world.sql(TABLE, f"INSERT INTO t SELECT i, 'a', 'b', repeat('y', i % 2 * {LARGE}) FROM generate_series(1, 4) AS i")
    world.fence_subject = f"{world.name}.transactions"
    await world.streaming(
        snapshot_mode="initial",
        events_group_by="transaction",
        events_oversize=mode,
        nats_object_store_bucket=world.name,
    )
    world.transaction(*(f"UPDATE t SET small = 'b' WHERE id = {n}" for n in range(1, 5)))
    await snapshot_finished(world)
    reads = [event for event in await events_of(world) if event["action"] == "READ"]
    assert [event["data"]["id"] for event in reads] == [1, 2, 3, 4]
    assert ["larger" in event["data"] for event in reads] == [False, True, False, True]
    assert all("snapshot" in event for event in reads)
    assert list(reads[0])[-1] == "snapshot", "where the next session reads it"
    if mode == "object_store":
        await world.matches_tables()


@pytest.mark.parametrize("name", ["ditto", "cloudevents", "msgpack"])
async def test_verify_and_tail(world: World, name: str) -> None:
    world.sql(TABLE, "ALTER TABLE t ALTER larger SET STORAGE EXTERNAL")
    await world.streaming(**stored_in(world), events_tables={"t": {"format": name}, "*": {}})
    world.sql(f"INSERT INTO t VALUES (1, 'a', 'l', repeat('y', {LARGE}))", "UPDATE t SET small = 'b'")
    await world.fence()
    async with world.jetstream() as jetstream:
        stored = await jetstream.get_last_msg(world.stream, f"{world.name}_public_t")
        assert stored.seq is not None
        stored = await jetstream.get_msg(world.stream, stored.seq - 1)
        read = msgspec.msgpack.decode if name == "msgpack" else json.loads
        whole = await whole_event(jetstream, read(stored.data or b""))
        event = whole["data"] if name == "cloudevents" else whole
        assert event["data"]["larger"] == "y" * LARGE
    code, output = await run_ditto(world, "verify", **stored_in(world))
    assert code == 0, output
    code, output = await run_ditto(world, "tail", "--no-follow", **stored_in(world))
    assert "whole in the object store" in output
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(f"OBJ_{world.name}")
    code, output = await run_ditto(world, "verify", **stored_in(world))
    assert code != 0
    assert "object that is gone" in output


@pytest.mark.parametrize("name", ["ditto", "cloudevents", "msgpack"])
async def test_verify_says_what_stripped_events_cannot_tell(world: World, name: str) -> None:
    world.sql(TABLE, "ALTER TABLE t ALTER larger SET STORAGE EXTERNAL")
    await world.streaming(events_oversize="strip", events_tables={"t": {"format": name}, "*": {}})
    world.sql(f"INSERT INTO t VALUES (1, 'a', 'l', repeat('y', {LARGE}))", "UPDATE t SET small = 'b'")
    await world.fence()
    code, output = await run_ditto(world, "verify", events_oversize="strip")
    assert code == 0, output
    assert "no larger" in output


@pytest.mark.parametrize("mode", ["strip", "object_store"])
async def test_headers_and_keys_need_room_too(world: World, mode: str) -> None:
    """The payload alone would fit."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, k text, large text)")
    rules = {"t": {"actions": ["insert"], "key": ["k"], "headers": {"h": "{data.k}"}}, "*": {}}
    ditto = await world.streaming(**{**stored_in(world), "events_oversize": mode}, events_tables=rules)
    world.sql("INSERT INTO t VALUES (1, repeat('%', 400), repeat('v', 1046500))")
    (event,) = await events_of(world)
    assert "large" not in event["data"]
    assert await ditto.stop() == 0


async def test_without_it_the_error_says_so(world: World) -> None:
    world.sql(TABLE)
    ditto = await world.streaming()
    world.sql(f"INSERT INTO t VALUES (1, 'a', 'l', repeat('y', {LARGE}))")
    assert await ditto.ended() != 0
    assert "events.oversize" in ditto.output


async def test_a_bucket_that_may_not_be_created(world: World) -> None:
    world.sql(TABLE)
    ditto = await world.streaming(**stored_in(world))
    await ditto.stop()
    ditto = await world.streaming(nats_create="false", **stored_in(world))
    world.sql(f"INSERT INTO t VALUES (1, 'a', 'l', repeat('y', {LARGE}))")
    await ditto.ended()
    assert "object add" in ditto.output
    assert json.dumps("y" * 50)[1:-1] not in ditto.output


async def test_objects_expire(world: World) -> None:
    """With all their parts; the reference stays, and says what is gone. Later events are stored as ever."""
    world.sql(TABLE)
    await world.streaming(**stored_in(world), nats_object_store_ttl="1s")
    references = []
    async with world.jetstream() as jetstream:
        for number in (1, 2):
            world.sql(f"INSERT INTO t VALUES ({number}, 'a', 'l', repeat('y', {LARGE}))")
            references.append((await events_of(world))[-1])
            bucket = await jetstream.stream_info(f"OBJ_{world.name}")
            assert bucket.config.max_age == 1
            assert bucket.state.last_seq >= number * (LARGE // (128 << 10) + 2), "it was there"
            while (await jetstream.stream_info(f"OBJ_{world.name}")).state.messages:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.05)
            for each in references:
                with pytest.raises(ObjectGone):
                    await whole_event(jetstream, each)
    assert [each["data"] for each in references] == [{"id": 1}, {"id": 2}]
    code, output = await run_ditto(world, "verify", **stored_in(world))
    assert code != 0
    assert "object that is gone" in output


async def test_objects_stay_without_a_time_to_live(world: World) -> None:
    world.sql(TABLE)
    await world.streaming(**stored_in(world))
    world.sql(f"INSERT INTO t VALUES (1, 'a', 'l', repeat('y', {LARGE}))")
    await world.fence()
    async with world.jetstream() as jetstream:
        assert not (await jetstream.stream_info(f"OBJ_{world.name}")).config.max_age


@pytest.mark.long
async def test_a_value_of_100_mb(world: World) -> None:
    """Memory holds a few times its size, and the order stays."""
    world.sql(TABLE)
    ditto = await world.streaming(**stored_in(world))
    world.transaction(
        "INSERT INTO t VALUES (1, 'a', 'b', 'c')",
        "INSERT INTO t VALUES (2, 'a', 'b', repeat('0123456789', 10000000))",
        "INSERT INTO t VALUES (3, 'a', 'b', 'c')",
    )
    await world.fence(timeout_s=60)
    assert [event["data"]["id"] for event in await events_of(world)] == [1, 2, 3]
    assert peak_rss(ditto) < 700_000_000
    await world.matches_tables(event_count=3)
