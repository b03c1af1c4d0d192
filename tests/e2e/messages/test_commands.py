"""`ditto tail`, `verify`, `status` and `check` where some messages have bodies of the application's."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from e2e.messages.reading import everything

if TYPE_CHECKING:
    from e2e.world import World

SETTINGS: dict[str, object] = {
    "events_messages": {"orders.*": "{prefix}.{message.prefix}"},
    "events_outbox_table": "public.outbox",
    "events_outbox_subject": "{prefix}.{data.topic}",
    "events_outbox_id": "id",
}
ENVELOPE = '{"ditto": {"headers": {"tenant": "\\u001b[2Jacme"}, "key": "k"}, "payload": {"order": 1}}'


async def filled(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE outbox (id int PRIMARY KEY, topic text, payload bytea)"
    )
    await world.streaming(**SETTINGS)
    world.sql(
        "INSERT INTO t VALUES (1)",
        f"SELECT pg_logical_emit_message(true, 'orders.a', '{ENVELOPE}')",
        r"INSERT INTO outbox VALUES (7, 'paid', '\x00ff')",
        "SELECT pg_logical_emit_message(false, 'orders.b', 'plain')",
    )


async def run(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    given = {
        f"DITTO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in SETTINGS.items()
    }
    env = {"PATH": os.environ["PATH"], **world.settings, **given}
    command = [sys.executable, "-m", "ditto", *arguments]
    return await asyncio.to_thread(subprocess.run, command, env=env, capture_output=True, text=True, timeout=60)


async def test_tail(world: World) -> None:
    await filled(world)
    await everything(world)
    printed = await run(world, "tail", "--no-follow", "--action", "message")
    assert printed.stderr == ""
    lines = [line.partition("  MESSAGE   ")[2] or line for line in printed.stdout.splitlines()]
    assert lines == [
        f"orders.a → {world.name}.orders.a  key=k",
        "    Content-Type: application/json",
        "    tenant: %1B[2Jacme",
        '  + {"order": 1}',
        f"public.outbox → {world.name}.paid  id=7",
        "    Content-Type: application/octet-stream",
        "  + 2 bytes",
        f"orders.b → {world.name}.orders.b",
        "    Content-Type: text/plain; charset=utf-8",
        "  + plain",
    ]
    as_json = (
        await run(world, "tail", "--no-follow", "--json", "--table", "outbox", "--table", "t")
    ).stdout.splitlines()
    event, message = map(json.loads, as_json)
    assert event["table"] == "t"
    assert (message["subject"], message["payloadBase64"]) == (f"{world.name}.paid", "AP8=")


async def test_verify_says_what_it_does_not_compare(world: World) -> None:
    await filled(world)
    await everything(world)
    done = await run(world, "verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOT JUDGED public.outbox: its rows are messages (events.outbox)" in done.stdout
    assert "3, of which no table is made" in done.stdout
    assert json.loads((await run(world, "verify", "--json")).stdout)["messages"] == 3


async def test_status_and_check(world: World) -> None:
    await filled(world)
    await everything(world)
    world.sql("SELECT pg_logical_emit_message(true, 'orders.a', '{\"id\":\"mine\"}')")
    await world.confirms_tail()
    status = await run(world, "status", "--json")
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)
    check = await run(world, "check", "--all")
    assert check.returncode == 0, check.stdout
    assert "it sends the inserts of public.outbox" in check.stdout


async def test_check_finds_what_would_stop_a_run(world: World) -> None:
    world.sql("CREATE TABLE outbox (id int PRIMARY KEY, topic text, payload int)")
    done = await run(world, "check")
    assert done.returncode == 1
    assert "events.outbox.payload names the column payload of table public.outbox, whose type is int4" in done.stdout
    world.sql("DROP TABLE outbox", f"CREATE PUBLICATION {world.name} FOR TABLE fence")
    assert "there is no such table" in (await run(world, "check")).stdout
    world.sql("CREATE TABLE outbox (id int PRIMARY KEY, topic text, payload text)")
    assert f'ALTER PUBLICATION "{world.name}" ADD TABLE "public"."outbox"' in (await run(world, "check")).stdout
