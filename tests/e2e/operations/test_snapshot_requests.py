"""Requests for snapshots, by command and over HTTP: what is in the WAL then, and what is refused before."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ditto
from ditto.testing.process import free_port
from e2e.availability.test_failover import standby_of

if TYPE_CHECKING:
    from e2e.world import World

RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")


async def command(world: World, *arguments: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `ditto snapshot …`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", "snapshot", *arguments),
        env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **world.settings, **settings},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def post(port: int, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """Status code and document."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        data=json.dumps({} if body is None else body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with closing(error):
            return error.code, json.load(error)


def set_up(world: World, *, tables: str = "FOR ALL TABLES") -> None:
    """Tables, publication and slot, and nobody who reads it."""
    world.sql(
        "CREATE TABLE trades (id int PRIMARY KEY, n int)",
        "CREATE TABLE accounts (id int PRIMARY KEY)",
        "CREATE VIEW totals AS SELECT sum(n) FROM trades",
        f"CREATE PUBLICATION {world.name} {tables}",
    )
    make_slot(world)


def make_slot(world: World) -> None:
    world.sql(f"SELECT pg_create_logical_replication_slot('{world.name}', 'pgoutput')")


def requests(world: World, slot: str | None = None) -> list[dict[str, Any]]:
    """The requests that Ditto would get from the slot, in their order: pgoutput's messages of that prefix."""
    # 'M', xid not sent, flags, LSN, prefix, length, content: the protocol's Message.
    options = f"'proto_version', '1', 'publication_names', '{world.name}', 'messages', 'true'"
    changes = f"pg_logical_slot_peek_binary_changes('{slot or world.name}', NULL, NULL, {options})"
    rows = world.sql(f"SELECT data FROM {changes} WHERE get_byte(data, 0) = ascii('M')")
    found = []
    for (data,) in rows:
        is_transactional, rest = data[1] & 1, bytes(data[10:])
        prefix, _, content = rest.partition(b"\0")
        if prefix == b"ditto.marker":
            continue
        assert (is_transactional, prefix) == (1, b"ditto.snapshot")
        assert int.from_bytes(content[:4]) == len(content) - 4
        found.append(json.loads(content[4:]))
    return found


async def test_commands_send_messages_that_have_a_position(world: World) -> None:
    set_up(world)
    runs = []
    for arguments in (
        (),
        ("--table", "public.trades", "-t", "acc*"),
        ("--table", "trades", "--where", "n > 5 AND id < 7", "--max-rows-per-second", "100"),
    ):
        code, out, err = await command(world, "start", *arguments)
        assert code == 0, err
        runs.append(out.strip())
        assert RUN_ID.fullmatch(runs[-1])
        assert "--watch" not in err, "without http.listen there is nobody to ask"
        assert f"Nobody reads slot {world.name} at the moment" in err
        assert "a Ditto with http.listen tells" in err
    for verb, name in (("pause", runs[0]), ("resume", runs[0]), ("cancel", "")):
        code, out, err = await command(world, verb, *filter(None, [name]))
        assert (code, out) == (0, ""), err
        assert f"Ditto {verb}s {f'run {name}' if name else 'all runs'}" in err
    assert len(set(runs)) == 3
    assert requests(world) == [
        {**each, "slot": world.name}
        for each in (
            {"start": [], "run": runs[0]},
            {"start": ["public.trades", "acc*"], "run": runs[1]},
            {"start": ["trades"], "run": runs[2], "where": "n > 5 AND id < 7", "max_rows_per_s": 100},
            {"pause": runs[0]},
            {"resume": runs[0]},
            {"cancel": ""},
        )
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--table", "trade"), 2, "there is no table trade: did you mean trades?"),
        (("--table", "totals"), 2, "public.totals is a view"),
        (("--table", "accounts"), 3, "accounts is not in publication"),
        (("--table", "trades", "--where", "id > 1", "-t", "fence"), 2, "a condition goes with exactly one table"),
        (("-t", "trades", "--where", "nn > 5"), 3, "there is no column nn that is published"),
        (("-t", "trades", "--where", "pg_sleep(9) IS NULL"), 3, "which does not pass"),
        (("-t", "trades", "--where", "n = 'many'"), 3, "invalid input syntax for type integer"),
        (("-t", "trades", "--where", "lower(n) = 'x'"), 3, "function lower(integer) does not exist"),
        (("-t", "trades", "--where", "id >"), 3, "it is not a condition that can be read"),
        (("--where", "id > 1"), 2, "a condition goes with exactly one table"),
        (("--max-rows-per-second", "-1"), 2, "-1 is not in the range"),
    ],
)
async def test_what_cannot_be_done_is_not_sent(world: World, arguments: tuple[str, ...], code: int, says: str) -> None:
    set_up(world, tables="FOR TABLE trades, fence")
    found, out, err = await command(world, "start", *arguments)
    assert (found, out) == (code, ""), err
    assert says in err
    assert "Traceback" not in err
    assert requests(world) == []


async def test_before_the_first_start_of_ditto(world: World) -> None:
    code, _, err = await command(world, "start")
    assert code == 3
    assert f"publication {world.name} does not exist" in err
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    code, _, err = await command(world, "start")
    assert code == 3
    assert f"there is no replication slot {world.name}" in err
    make_slot(world)
    code, _, err = await command(world, "start", DITTO_EVENTS_TABLES='{"fence": ["delete"]}')
    assert code == 2
    assert "no table can be read" in err


async def test_a_role_that_may_not_emit_messages(world: World) -> None:
    set_up(world)
    role = f"{world.name}_reader"
    functions = world.sql("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'pg_logical_emit_message'")
    world.sql(f"CREATE ROLE {role} LOGIN", *(f"REVOKE EXECUTE ON FUNCTION {each} FROM PUBLIC" for (each,) in functions))
    code, _, err = await command(world, "start", DITTO_POSTGRES_DSN=world.dsn_by(world.postgres.port, user=role))
    assert code == 3, err
    assert "permission denied for function pg_logical_emit_message" in err
    (hint,) = re.findall(r"GRANT EXECUTE ON FUNCTION .*\)", err)
    world.sql(f"{hint} TO {role}")
    code, out, err = await command(world, "start", DITTO_POSTGRES_DSN=world.dsn_by(world.postgres.port, user=role))
    assert code == 0, err
    assert [each["run"] for each in requests(world)] == [out.strip()]
    assert f"warning: {role} may not read public." in err
    assert re.search(rf'^    GRANT SELECT ON "public"\."\w+" TO "{role}";$', err, re.MULTILINE)


async def test_over_http(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)")
    port = free_port()
    await world.streaming(http_listen=f"127.0.0.1:{port}", events_tables={"trades": ["insert"], "fence": ["insert"]})
    other = f"{world.name}_other"
    world.sql(f"SELECT pg_create_logical_replication_slot('{other}', 'pgoutput')")
    try:
        code, answer = post(port, "/v1/snapshots", {"tables": ["trades"], "where": "id > 1", "max_rows_per_s": 5})
        assert code == 202, answer
        assert requests(world, other) == [
            {"start": ["trades"], "run": answer["run"], "slot": world.name, "where": "id > 1", "max_rows_per_s": 5}
        ]
        code, answer = post(port, "/v1/snapshots", {"tables": ["trade"]})
        assert (code, answer["detail"]) == (400, "there is no table trade: did you mean trades?")
        code, answer = post(port, "/v1/snapshots", {"where": "id > 1"})
        assert code == 400
        code, answer = post(port, "/v1/snapshots", {"tables": ["trades"], "where": "id IN (SELECT 1)"})
        assert (code, "does not pass" in answer["detail"]) == (400, True), answer
        assert post(port, "/v1/snapshots/never/pause")[0] == 404
        assert len(requests(world, other)) == 1
        code, _, err = await command(world, "cancel", "never", DITTO_HTTP_LISTEN=f"127.0.0.1:{port}")
        assert (code, "there is no run 'never'" in err) == (2, True), err
    finally:
        world.sql(f"SELECT pg_drop_replication_slot('{other}')")


async def test_a_physical_standby_takes_no_requests(postgres_world: World) -> None:
    """The request is written into the WAL, which only the primary can do."""
    world = postgres_world
    set_up(world)
    with standby_of(world) as standby:
        at_standby = world.dsn_by(standby.port)
        for arguments in (("start",), ("pause",)):
            code, _, err = await command(world, *arguments, DITTO_POSTGRES_DSN=at_standby)
            assert (code, "a snapshot needs a primary" in err) == (3, True), err
        code, _, err = await command(world, "start")
        assert code == 0, err


async def test_a_standby_is_not_asked(world: World) -> None:
    """A Ditto that stands by takes requests all the same: it sends them to PostgreSQL. It does not know the runs."""
    ports = free_port(), free_port()
    await world.streaming(http_listen=f"127.0.0.1:{ports[0]}")
    standby = world.ditto(http_listen=f"127.0.0.1:{ports[1]}")
    await standby.logged("slot.standby")
    code, answer = post(ports[1], "/v1/snapshots/never/pause")
    assert code == 409
    assert "does not stream (standby)" in answer["detail"]
    assert post(ports[1], "/v1/snapshots", {"tables": ["none"]})[0] == 400


async def test_status_without_an_address_and_without_a_ditto(world: World) -> None:
    code, _, err = await command(world, "status")
    assert (code, "http.listen is not set" in err) == (2, True), err
    code, _, err = await command(world, "status", "--watch", "--url", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "Only a running one knows its snapshots" in err
