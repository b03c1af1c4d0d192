"""Documents that are nested as deeply as PostgreSQL takes them: everything that reads events back takes them, too."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import nats
import psycopg
import pytest
from click.testing import CliRunner, Result

from ditto.cli import main
from ditto.demo.sample import newest

if TYPE_CHECKING:
    from e2e.world import World

LISTS = "repeat('[', {0}) || repeat(']', {0})"
OBJECTS = "repeat('{{\"a\": ', {0}) || '1' || repeat('}}', {0})"


def deepest(world: World, document: str) -> int:
    """How many levels PostgreSQL stores; 4,000 or so, or more where the stack is larger."""
    levels = 1000
    while levels < 100_000:
        try:
            deeper = document.format(levels * 2)
            world.sql(f"SELECT pg_typeof(({deeper})::json), pg_typeof(({deeper})::jsonb)")
        except psycopg.errors.StatementTooComplex:
            break
        levels *= 2
    return levels


async def ditto(world: World, *arguments: str) -> Result:
    """Run a command in this process, with the world's configuration."""
    return await asyncio.to_thread(
        CliRunner().invoke, main, arguments, env={**world.settings, "COLUMNS": "200"}, catch_exceptions=False
    )


@pytest.mark.parametrize("document", [LISTS, OBJECTS], ids=["lists", "objects"])
async def test_everything_reads_deep_documents(world: World, document: str) -> None:
    levels = deepest(world, document)
    assert levels >= 2000
    deep = document.format(levels)
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY, a json, b jsonb, c jsonb[], d json, n text)",
        "CREATE TABLE whole (id int, a jsonb)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
    )
    await world.streaming()
    world.sql(
        f"INSERT INTO t VALUES (1, ({deep})::json, ({deep})::jsonb, ARRAY[({deep})::jsonb], E' \\n [1] '::json, 'x')",
        f"INSERT INTO whole VALUES (1, ({deep})::jsonb), (2, '1')",
        "UPDATE t SET n = 'y'",
        "UPDATE whole SET id = id + 10",
        "DELETE FROM whole WHERE id = 12",
        f"UPDATE t SET a = ({deep})::json",
    )
    await world.fence()
    world.sql(f"INSERT INTO t VALUES (2, ({deep})::json, NULL, NULL, NULL, NULL)")
    await world.holds(8)

    result = await ditto(world, "tail", "--no-follow")
    assert result.exit_code == 0, result.output
    assert "INSERT    public.t  id=2" in result.stdout
    assert "is not an event" not in result.stderr
    result = await ditto(world, "tail", "--no-follow", "--json", "--table", "t")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    assert all(line.startswith('{"id":') and line.endswith("}") for line in lines)
    assert "[" * levels in lines[0] or '{"a": ' * levels in lines[0]

    result = await ditto(world, "status", "--json")
    assert result.exit_code == 0, result.output
    stream = json.loads(result.stdout)["survey"]["stream"]
    assert stream["tail"] is not None
    assert stream["tail_time"] is not None
    lsn = str(world.value("SELECT pg_current_wal_lsn()::text"))
    result = await ditto(world, "wait", lsn)
    assert result.exit_code == 0, result.output

    client = await nats.connect(world.nats_server.url)
    sample = await newest(client.jetstream(), world.stream, f"{world.name}_public_t")
    await client.close()
    assert sample is not None
    assert sample.action == "INSERT"

    result = await ditto(world, "verify")
    assert result.exit_code == 0, result.output
