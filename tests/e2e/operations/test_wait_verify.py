"""`ditto wait` and `ditto verify`, as a user calls them, beside a running Ditto."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from click.testing import CliRunner, Result

from ditto.cli import main
from ditto.lsn import format_lsn, parse_lsn
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from e2e.world import World

TABLE = "CREATE TABLE t (id int PRIMARY KEY, price numeric)"
HOUR = 3600 << 24


async def ditto(world: World, *arguments: str, **variables: str) -> Result:
    """Run a command in this process, with the world's configuration."""
    return await asyncio.to_thread(
        CliRunner().invoke, main, arguments, env={**world.settings, **variables}, catch_exceptions=False
    )


def now_lsn(world: World) -> str:
    return str(world.value("SELECT pg_current_wal_lsn()::text"))


async def test_a_program_reads_what_it_has_written(world: World) -> None:
    world.sql(TABLE)
    await world.streaming()
    for row in range(1, 6):
        world.sql(f"INSERT INTO t VALUES ({row})")
        wanted = now_lsn(world)
        result = await ditto(world, "wait", wanted)
        assert result.exit_code == 0, result.output
        assert parse_lsn(result.stdout.strip()) >= parse_lsn(wanted)
        assert [event.change[2] for event in await world.events()] == list(range(1, row + 1))


async def test_it_does_not_return_before_the_events_are_stored(world: World) -> None:
    world.sql(TABLE)
    async with Proxy(world.nats_server.port) as proxy:
        await world.streaming(nats_url=f"nats://127.0.0.1:{proxy.port}", nats_ack_timeout="1m")
        await world.fence()
        proxy.is_silent = True
        world.sql("INSERT INTO t VALUES (1)")
        began_at = time.monotonic()
        result = await ditto(world, "wait", now_lsn(world), "--timeout", "500ms")
        assert result.exit_code == 1
        assert time.monotonic() - began_at >= 0.5
        assert "has not reached" in result.stderr
        assert "ditto run" in result.stderr


async def test_an_lsn_that_this_server_has_not_written(world: World) -> None:
    await world.streaming()
    future = format_lsn(parse_lsn(now_lsn(world)) + HOUR)
    result = await ditto(world, "wait", future)
    assert result.exit_code == 1
    assert f"{future} lies in the future" in result.stderr


async def test_a_stream_that_equals_its_tables(world: World) -> None:
    world.sql(TABLE)
    await world.streaming()
    world.sql("INSERT INTO t SELECT n, n / 3.0 FROM generate_series(1, 500) n", "UPDATE t SET price = 7 WHERE id < 9")
    result = await ditto(world, "verify", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["events"], report["rows"], report["differences"]) == (508, 500, [])
    assert "stream equals tables" in (await ditto(world, "verify")).stdout


async def test_differences_are_named_and_the_exit_code_says_so(world: World) -> None:
    world.sql(TABLE, "INSERT INTO t VALUES (1, 1)")  # before the slot
    await world.streaming()
    world.sql("INSERT INTO t VALUES (2, 2)", "INSERT INTO t VALUES (3, 3)")
    await world.fence()
    # What replication never sees.
    world.sql("BEGIN; SET LOCAL session_replication_role = replica; UPDATE t SET price = 9 WHERE id = 3; COMMIT")
    async with world.jetstream() as jetstream:
        state = (await jetstream.stream_info(world.stream)).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await jetstream.get_msg(world.stream, sequence)
            if json.loads(message.data or b"{}").get("data", {}).get("price") == "9":
                await jetstream.delete_msg(world.stream, sequence)
    await ditto(world, "wait", now_lsn(world))
    result = await ditto(world, "verify")
    assert result.exit_code == 1
    assert "public.t (id) = (1): missing row" in result.stdout
    assert "before the slot was created" in result.stdout


async def test_tables_of_which_only_some_actions_are_stored_are_not_compared(world: World) -> None:
    world.sql(TABLE, "CREATE TABLE whole (id int PRIMARY KEY)")
    tables = {"t": ["insert"], "whole": ["insert", "update", "delete", "truncate"]}
    await world.streaming(events_tables=tables)
    world.sql("INSERT INTO t VALUES (1)", "DELETE FROM t", "INSERT INTO whole VALUES (1)")
    result = await ditto(world, "verify", "--json", DITTO_EVENTS_TABLES=json.dumps(tables))
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    unjudged = [{"table": "public.t", "reason": "some actions are filtered out", "is_obstacle": False}]
    assert (report["unjudged"], report["tables"], report["differences"]) == (unjudged, 1, [])


async def test_a_publication_that_does_not_exist_compares_nothing(world: World) -> None:
    await world.streaming()
    result = await ditto(world, "verify", DITTO_POSTGRES_PUBLICATION="other")
    assert result.exit_code == 3
    assert "publication other does not exist" in result.stderr


async def test_without_a_running_ditto_the_report_says_how_far_the_stream_is(world: World) -> None:
    world.sql(TABLE)
    process = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    assert await process.stop() == 0
    world.sql("INSERT INTO t VALUES (2)")
    result = await ditto(world, "verify", "--timeout", "100ms")
    assert result.exit_code == 1
    assert "public.t (id) = (2): missing row" in result.stdout
    assert "has not reached" in result.stdout
