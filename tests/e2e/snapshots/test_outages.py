"""What others do to a snapshot, its requests, its table and its stream: the changes go on, and so does the snapshot."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from e2e.snapshots.finished import snapshot_finished

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import World

SLOW = {"snapshot_chunk_rows": "100", "snapshot_max_rows_per_s": "500"}
ROWS = 2_000


def ask(world: World, content: str) -> None:
    """As any SQL client may."""
    with world.connect() as connection:
        connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s::text)", [content])


def start(world: World, run: str, *tables: str) -> None:
    ask(world, json.dumps({"start": list(tables or ["public.big"]), "run": run}))


async def reading(world: World, **settings: Any) -> DittoProcess:
    """A Ditto in the middle of the run `r`."""
    world.sql(
        "CREATE TABLE big (id text PRIMARY KEY, doc text)",
        "ALTER TABLE big ALTER doc SET STORAGE EXTERNAL",
        f"INSERT INTO big SELECT 'm' || lpad(i::text, 8, '0'), repeat('x', 2100) FROM generate_series(1, {ROWS}) AS i",
    )
    ditto = await world.streaming(**SLOW, **settings)
    start(world, "r")
    await ditto.logged("snapshot.begun")
    count = await world.message_count()
    await world.holds(count + 100)
    return ditto


async def all_read(world: World, ditto: DittoProcess) -> None:
    """The run `r` ends, and has read every row once."""
    await ditto.logged("snapshot.done", run="r")
    await snapshot_finished(world)
    keys = [each.event["data"]["id"] for each in await world.messages() if each.event.get("action") == "READ"]
    assert (len(keys), len(set(keys))) == (ROWS, ROWS)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"start":' + '{"a":' * 9_000, id="nested"),
        pytest.param('{"start": [' + "[" * 9_000, id="nested names"),
        pytest.param('{"start": ["a\\u0000b"]}', id="nul"),
        pytest.param("y" * 1_000_000, id="large"),
    ],
)
async def test_a_request_that_cannot_be_read(world: World, content: str) -> None:
    ditto = await world.streaming()
    ask(world, content)
    await ditto.logged("snapshot.request", state="refused")
    start(world, "after", "public.fence")
    await ditto.logged("snapshot.done", run="after")
    await world.fence()
    assert not ditto.logs("session.failed")


async def test_more_requests_than_can_be_kept(world: World) -> None:
    """60 kB each: every control event has all open runs, and has to fit into a message."""
    ditto = await world.streaming()
    with world.connect() as connection:
        for number in range(25):
            body = json.dumps({"start": [f"public.{'x' * 55}{n}" for n in range(900)], "run": f"large-{number}"})
            connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s::text)", [body])
    refused = await ditto.logged("snapshot.request", state="refused")
    assert "no room" in refused["reason"]
    await world.fence()
    ask(world, '{"cancel": ""}')
    start(world, "after", "public.fence")
    await ditto.logged("snapshot.done", run="after")
    assert not ditto.logs("session.failed")


@pytest.mark.parametrize("is_paused", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_more_moved_rows_than_can_be_kept(world: World, is_paused: bool) -> None:
    """Their keys are part of the control event: the table fails, before that is too large for a message."""
    ditto = await reading(world)
    if is_paused:
        ask(world, '{"pause": "r"}')
        await ditto.logged("snapshot.request", state="paused")
    world.sql(
        "UPDATE big SET id = 'a' || substr(id, 2) || (SELECT string_agg(md5(n::text || id), '') "
        "FROM generate_series(1, 60) AS n) WHERE id > 'm00001000'"
    )
    failed = await ditto.logged("snapshot.failed", run="r")
    assert "too many rows of public.big got other keys" in failed["reason"]
    await world.confirms_tail()
    start(world, "after")
    await ditto.logged("snapshot.done", run="after", rows=ROWS)
    assert not ditto.logs("session.failed")


async def test_a_start_while_the_table_is_locked(world: World) -> None:
    """Changes of the other tables do not wait for that lock."""
    ditto = await reading(world)
    with world.connect() as connection:
        connection.execute("LOCK TABLE big IN ACCESS EXCLUSIVE MODE")
        assert await ditto.stop() == 0
        ditto = await world.streaming(**SLOW)
        await world.fence()
    await all_read(world, ditto)


async def test_the_stream_gives_up_the_subjects(world: World) -> None:
    """The changes go on, and so does the snapshot when the stream takes its subjects again."""
    subjects = [f"{world.name}_public_fence", f"{world.name}_public_big", f"{world.name}._checkpoint"]
    more = [*subjects, f"{world.name}._snapshot.>"]
    await set_stream(world, "CREATE", subjects=more)
    ditto = await reading(world, nats_create="false")
    await set_stream(world, "UPDATE", subjects=subjects)
    await ditto.logged("snapshot.retrying")
    await world.fence()
    await set_stream(world, "UPDATE", subjects=more)
    await all_read(world, ditto)


async def test_a_session_that_stores_events_and_no_rows(world: World) -> None:
    """Its tail was a row, which alone told how far the table is read; the one of the next session is an event."""
    ditto = await world.streaming()
    await world.fence()
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"INSERT INTO t SELECT generate_series(1, {ROWS})")
    await world.confirms_tail()
    await world.fence()
    await set_stream(world, "UPDATE", max_bytes=(await world.info()).state.bytes + 150_000, discard="new")
    start(world, "r", "public.t")
    await ditto.logged("session.failed")
    ditto.kill()
    tail = await world.tail()
    assert tail.ordinal > 1, "it is full in the middle of a chunk"
    last = (await world.info()).state.last_seq
    await world.slot_is_free()
    await set_stream(world, "UPDATE", max_bytes=-1)
    with world.connect() as connection:
        connection.execute("INSERT INTO fence DEFAULT VALUES")  # no row is read before that is over
        ditto = await world.streaming()
        await world.holds(last + 1)
        assert await world.tail() == tail._replace(ordinal=tail.ordinal + 1), "how far the table is read"
        ditto.kill()
        await world.slot_is_free()
        ditto = await world.streaming()
        await world.fence()
        ditto.kill()
    await world.slot_is_free()
    await all_read(world, await world.streaming())


@pytest.mark.parametrize("is_killed", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_the_stream_is_purged(world: World, is_killed: bool) -> None:
    """With the messages it loses how far the table was read: the run is known all the same, and reads it anew."""
    ditto = await reading(world)
    deadline = time.monotonic() + 20
    while "ditto.snapshots" not in ((await world.info()).config.metadata or {}):
        assert time.monotonic() < deadline, "the run is not kept beside the stream"
        await asyncio.sleep(0.1)
    if is_killed:
        ditto.kill()
    else:
        assert await ditto.stop() == 0
    async with world.jetstream() as jetstream:
        await jetstream.purge_stream(world.stream)
    ditto = await world.streaming(**SLOW, delivery_on_gap="continue")
    await all_read(world, ditto)


async def set_stream(world: World, verb: str, **settings: object) -> None:
    wanted = {"name": world.stream, "storage": "file", "discard": "new", "allow_batched": True}
    async with world.jetstream() as jetstream:
        if verb == "UPDATE":
            answer = await jetstream._nc.request(f"$JS.API.STREAM.INFO.{world.stream}", b"")
            wanted = json.loads(answer.data)["config"]
        content = json.dumps({**wanted, **settings}).encode()
        answer = await jetstream._nc.request(f"$JS.API.STREAM.{verb}.{world.stream}", content)
        assert "error" not in json.loads(answer.data), answer.data
