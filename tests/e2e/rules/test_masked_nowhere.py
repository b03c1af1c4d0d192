"""A masked or excluded value is nowhere: not in the store, in a log, over HTTP, or in what a command prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import urllib3

from ditto.testing.process import free_port
from e2e.process import eventually
from e2e.rules.commands import ditto

if TYPE_CHECKING:
    from e2e.world import World

CLEAR = "Xq7SecretValue"
"""The beginning of every value that has to stay in the database."""
TABLES = {
    # Keys are masked, in the old rows of updates and deletes too.
    "keyed": "CREATE TABLE keyed (email text PRIMARY KEY, note text, big text, n int)",
    "whole": "CREATE TABLE whole (email text PRIMARY KEY, note text, big text, n int)",
}
HMAC = {"hash": "hmac-sha256", "key": "sesame-key"}
RULES: dict[str, Any] = {
    "actions": ["insert", "update", "delete"],
    "columns": {"exclude": ["note"], "mask": {"email": HMAC, "big": {"keep_last": 2}}},
    "subject": "{prefix}.{table}.{data.email}",
    "headers": {"who": "{data.email}"},
    "key": ["email"],
    "on_error": "keep",
}
CONSTANT: dict[str, Any] = {
    "actions": ["insert", "update", "delete"],
    "columns": {"exclude": ["note"], "mask": {"email": {"constant": "***"}, "big": {"null": True}}},
    "headers": {"who": "{data.email}", "big": "{data.big}"},
    "key": ["email"],
}


async def test_clear_values_are_nowhere(nats_world: World) -> None:
    world = nats_world
    port = free_port()
    world.sql(
        *TABLES.values(),
        *(f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL" for table in TABLES),
        "ALTER TABLE whole REPLICA IDENTITY FULL",
    )
    row = f"('{CLEAR}-0', '{CLEAR}-note', '{CLEAR}-big' || repeat('x', 5000), 1)"
    world.sql(*(f"INSERT INTO {table} VALUES {row}" for table in TABLES))
    tables = {"keyed": RULES, "whole": CONSTANT, "fence": ["insert"]}
    options = {
        "events_tables": tables,
        "snapshot_mode": "initial",
        "events_metadata": ["lsn", "primary_key", "schema_version"],
        "events_schemas": True,
    }
    process = await world.streaming(
        **options,
        events_traceparent_column="email",
        http_listen=f"127.0.0.1:{port}",
        log_level="debug",
    )
    for table in TABLES:
        world.sql(
            f"INSERT INTO {table} VALUES ('{CLEAR}-1', '{CLEAR}-note', '{CLEAR}-big', 1)",
            f"UPDATE {table} SET email = '{CLEAR}-2', n = 2 WHERE email = '{CLEAR}-1'",
            f"UPDATE {table} SET n = 3",
            f"UPDATE {table} SET note = '{CLEAR}-other'",
            f"DELETE FROM {table} WHERE email = '{CLEAR}-2'",
        )
    await eventually(lambda: '"snapshot.finished"' in process.output, "the snapshot is done")
    shown: list[str] = []
    variables = {"DITTO_EVENTS_TABLES": json.dumps(tables), "DITTO_HTTP_LISTEN": f"127.0.0.1:{port}"}
    for arguments in (
        ("verify",),
        ("verify", "--json"),
        ("tail", "--no-follow"),
        ("tail", "--no-follow", "--json"),
        ("check", "--json"),
        ("config", "show"),
        ("snapshot", "status"),
        ("slot", "status"),
    ):
        result = await ditto(world, *arguments, **variables)
        shown.append(result.output)
    with urllib3.PoolManager() as pool:
        paths = ("/v1/status", "/metrics", "/healthz", "/v1/snapshots")
        shown += [pool.request("GET", f"http://127.0.0.1:{port}{path}").data.decode() for path in paths]
    messages = await world.messages()
    assert sum(b'"READ"' in each.payload for each in messages) >= 2
    assert sum(b'"UPDATE"' in each.payload for each in messages) >= 6
    assert await process.stop() == 0
    shown.append(process.output)
    for text in shown:
        assert CLEAR not in text
        assert "sesame-key" not in text
    await _is_not_stored(world)


async def _is_not_stored(world: World) -> None:
    """The server writes what it has in memory when it ends."""
    world.nats_server.stop()
    files = [each for each in world.nats_server.folder.rglob("*") if each.is_file()]
    assert any(b"keyed" in each.read_bytes() for each in files)
    assert [each for each in files if CLEAR.encode() in each.read_bytes()] == []


async def test_what_is_masked_while_a_snapshot_reads_is_no_part_of_its_place_any_more(world: World) -> None:
    """Until then the key of the last row is in control events, so that the next session goes on from it."""
    world.sql(
        "CREATE TABLE keyed (email text PRIMARY KEY)",
        f"INSERT INTO keyed SELECT '{CLEAR}-' || n FROM generate_series(1, 40) AS n",
    )

    def ask(**body: Any) -> None:
        world.sql(f"SELECT pg_logical_emit_message(true, 'ditto.snapshot', '{json.dumps(body)}')")

    process = await world.streaming(snapshot_chunk_rows="10")
    ask(start=["public.keyed"], run="r", max_rows_per_s=10)
    await world.holds(12)
    ask(pause="r")
    await world.fence()
    assert await process.stop() == 0
    before = len(await world.messages())
    tables = {"keyed": {"columns": {"mask": {"email": HMAC}}}, "fence": {}}
    process = await world.streaming(events_tables=tables)
    ask(pause="r")
    ask(resume="r")
    await process.logged("snapshot.finished")
    condition = "email IS NOT NULL"
    ask(start=["public.keyed"], run="asked", where=condition)
    assert "mask column email" in (await process.logged("snapshot.failed"))["reason"]
    arguments = ("snapshot", "start", "--table", "keyed", "--where", condition)
    refused = await ditto(world, *arguments, DITTO_EVENTS_TABLES=json.dumps(tables))
    assert (refused.exit_code, "mask column email" in refused.output) == (3, True), refused.output
    await world.fence()
    messages = await world.messages()
    assert any(f'"cursor":["{CLEAR}-'.encode() in each.payload for each in messages[:before])
    assert [each for each in messages[before:] if CLEAR.encode() in each.payload] == []
    assert sum(b'"READ"' in each.payload for each in messages[before:]) == 40
    assert CLEAR not in process.output


@pytest.mark.parametrize("what", ["bytes", "size"])
async def test_errors_show_no_clear_value(world: World, what: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, email text, big text)")
    mask = {"email": {"keep_last": 1}}
    rules = {"actions": ["insert"], "columns": {"mask": mask}, "subject": "{prefix}.t.{data.email}"}
    process = await world.streaming(events_tables={"t": rules, "fence": ["insert"]})
    if what == "size":
        world.sql(f"INSERT INTO t VALUES (1, '{CLEAR}' || repeat('x', 2000), '')")
    else:
        world.sql(f"INSERT INTO t VALUES (1, '{CLEAR}', '{CLEAR}' || repeat('x', 9000000))")
    assert await process.ended() != 0
    assert CLEAR not in process.output
