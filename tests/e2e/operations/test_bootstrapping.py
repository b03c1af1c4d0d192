"""The cache of the guide "Bootstrapping a consumer": right at every moment, while applications write."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg

from ditto.testing.process import free_port
from e2e.consumer import EXAMPLES
from e2e.operations.test_snapshot_requests import command
from e2e.process import eventually
from e2e.traffic import TABLE, Traffic

sys.path.insert(0, str(EXAMPLES / "python"))
import cache as program
from cache import Cache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from e2e.world import Stored, World

TABLES = ("papers", "traffic")
Rows = dict[tuple[str, str], dict[str, Any]]
SETTINGS: dict[str, Any] = {"events_metadata": ["primary_key"], "events_schemas": "true", "snapshot_chunk_rows": "150"}


def make_tables(world: World) -> None:
    """With rows that no change tells of, and large values that stay when another column is changed."""
    world.sql(
        TABLE,
        "CREATE TABLE papers (id int PRIMARY KEY, n int, body text)",
        "ALTER TABLE papers ALTER body SET STORAGE EXTERNAL",
        "INSERT INTO traffic SELECT -1000000 - i, i, repeat('o', i % 500) FROM generate_series(1, 3000) AS i",
        "INSERT INTO papers SELECT i, 0, repeat('paper ' || i || ' ', 400) FROM generate_series(1, 600) AS i",
    )


class Papers:
    """Changes rows from before the snapshot, mostly without their large values, until the block is left."""

    def __init__(self, world: World) -> None:
        self._dsn = world.dsn
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                number = 0
                while not self._stop.wait(0.004):
                    number += 1
                    connection.execute("UPDATE papers SET n = n + 1 WHERE id %% 37 = %s", [number % 37])
                    if number % 5 == 0:
                        connection.execute("UPDATE papers SET id = 10000 + id WHERE id = %s", [number % 600])
                    if number % 7 == 0:
                        connection.execute("DELETE FROM papers WHERE id = %s", [(13 * number) % 600])
                    if number % 11 == 0:
                        connection.execute("UPDATE papers SET body = 'new ' || n WHERE id = %s", [(7 * number) % 600])
        except BaseException as error:  # noqa: BLE001  it is raised where the block is left
            self._failure = error


def tables_now(world: World, *names: str) -> Rows:
    """The rows of these tables by table and key, as the cache has them."""
    return {
        (name, json.dumps([row["id"]])): row
        for name in names or TABLES
        for (row,) in world.sql(f"SELECT to_jsonb(t) FROM {name} AS t")
    }


def cached(cache: Cache, *names: str) -> Rows:
    return {
        (name, key): row
        for name in names or TABLES
        for key, row in (cache.tables["public", name].rows if ("public", name) in cache.tables else {}).items()
    }


class Reference:
    """The tables as they are at each position: rows from before any change, and every change since."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def apply(self, event: dict[str, Any]) -> None:
        name, new, old = event["table"], event["data"], event["dataOld"]
        if event["action"] == "TRUNCATE":
            self.rows = {key: row for key, row in self.rows.items() if key[0] != name}
        elif event["action"] != "READ" and name in TABLES:
            before = self.rows.pop((name, json.dumps([{**new, **old}["id"]])), {})
            if event["action"] != "DELETE":
                kept = {column: before[column] for column in event.get("unchanged", ())}
                self.rows[name, json.dumps([new["id"]])] = {**new, **kept}


def check_every_moment(messages: list[Stored], base: Rows, *, begin: int = 1) -> Cache:
    """Replay the messages into a cache that begins at that sequence: no row of it is ever wrong, and none is missing
    where it says that it has all.
    """
    cache, reference = Cache(), Reference(dict(base))
    for message in messages:
        event = json.loads(message.payload)
        if "action" in event:
            reference.apply(event)
        if message.sequence < begin:
            continue
        cache.apply(event)
        if event.get("action") in {"READ", "UPDATE", "INSERT"} and event["table"] in TABLES:
            key = json.dumps([event["data"]["id"]])
            have = cache.tables["public", event["table"]].rows.get(key)
            assert have in (None, reference.rows[event["table"], key]), message
            assert have is not None or "unchanged" in event, message
        if "snapshot" in event and "action" not in event:
            whole = [name for name in TABLES if ("public", name) in cache.tables]
            assert all(reference.rows[key] == row for key, row in cached(cache, *whole).items()), message
            for name in whole:
                if cache.tables["public", name].is_complete:
                    assert len(cached(cache, name)) == sum(key[0] == name for key in reference.rows), message
    return cache


@asynccontextmanager
async def following(world: World, cache: Cache, run: str | None = None) -> AsyncIterator[asyncio.Task[None]]:
    """The program, as it is: keeps the cache up while the body runs."""

    async def follow() -> None:
        async with world.jetstream() as jetstream, aclosing(program.follow(jetstream, cache, run)) as sequences:
            async for sequence in sequences:
                cache.sequence = sequence  # type: ignore[attr-defined]

    task = asyncio.create_task(follow())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_cache_that_starts_while_applications_write_is_right_at_every_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "STREAM", world.stream)
    monkeypatch.setattr(program, "PREFIX", world.name)
    make_tables(world)
    port = free_port()
    await world.streaming(http_listen=f"127.0.0.1:{port}", **SETTINGS)
    address = {"DITTO_HTTP_LISTEN": f"127.0.0.1:{port}"}
    base = tables_now(world)
    with Traffic(world), Papers(world):
        code, out, err = await command(world, "start", "-t", "papers", "-t", "traffic", **address)
        assert code == 0, err
        run = out.strip()
        async with following(world, Cache(), run) as task:
            code, out, err = await command(world, "status", run, "--watch", "--every", "100ms", **address)
            assert code == 0, out + err
            assert f"run {run}: done" in out
            await asyncio.sleep(0.5)  # and the writers go on for a while
            assert not task.done()
    async with following(world, late := Cache(), run):
        await world.fence()
        last = (await world.info()).state.last_seq
        await eventually(lambda: getattr(late, "sequence", 0) >= last, "the cache has everything")
    expected = tables_now(world)
    assert cached(late) == expected
    assert all(late.tables["public", name].is_complete for name in TABLES)

    messages = await world.messages()
    begun = next(each.sequence for each in messages if each.event.get("snapshot", {}).get("state") == "begun")
    for begin in (1, begun):
        assert cached(check_every_moment(messages, base, begin=begin)) == expected
    reads = [each.event for each in messages if each.event.get("action") == "READ"]
    assert len(reads) > 3000
    assert {each["snapshot"]["run"] for each in reads} == {run}
    await world.matches_tables()


async def test_what_was_deleted_in_a_gap_goes_at_the_end_of_the_snapshot(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "STREAM", world.stream)
    make_tables(world)
    ditto = await world.streaming(snapshot_mode="initial", **SETTINGS)
    cache = Cache()
    async with following(world, cache):
        await eventually(lambda: len(cached(cache)) == 3600, "all rows are in the cache", timeout_s=40)
        await world.fence()
        assert await ditto.stop() == 0
        world.sql("DELETE FROM papers WHERE id % 2 = 0", "UPDATE traffic SET n = -1 WHERE id < -1002000")
        # Nobody can store these: the slot is moved past them.
        world.sql(f"SELECT pg_replication_slot_advance('{world.name}', pg_current_wal_lsn())")
        await world.streaming(delivery_on_gap="snapshot", **SETTINGS)
        expected = tables_now(world)
        await eventually(lambda: cached(cache) == expected, "the cache is right again", timeout_s=40)


def test_a_table_without_a_key_is_never_said_to_be_complete() -> None:
    """Its rows are not in the cache, so the cache must not say that they are not in the table."""
    cache, table = Cache(), {"schema": "public", "table": "t"}
    cache.apply({"snapshot": {"state": "begun", "run": "r", "rows": 0, **table}})
    cache.apply({"action": "READ", "data": {"n": 1}, "dataOld": {}, "meta": {"primaryKey": []}, **table})
    cache.apply({"snapshot": {"state": "done", "run": "r", "rows": 1, **table}})
    cache.apply({"action": "TRUNCATE", "data": {}, "dataOld": {}, "meta": {"primaryKey": []}, **table})
    assert not cache.tables
