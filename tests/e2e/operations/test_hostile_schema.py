"""Functions, operators, casts, policies and views of another role, put in the way of every command: none may run."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from ditto.cli import main
from e2e import hostile

if TYPE_CHECKING:
    from e2e.world import World

WRITE = (
    "INSERT INTO public.guarded VALUES ('sad', ROW(1, 'x'), 'c', 'n', '{1}')",
    "UPDATE public.guarded SET note = 'm'",
    "INSERT INTO public.guarded VALUES ('glad', NULL, NULL, NULL, NULL)",
)


async def ditto(world: World, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, arguments, env=world.settings, catch_exceptions=False)


@pytest.fixture(params=["superuser", "role"])
def hostile_world(world: World, request: pytest.FixtureRequest) -> World:
    """Ditto connects as a superuser, or as a role that may read and replicate, and so is subject to policies."""
    hostile.install(world)
    safe = world.dsn_by(world.postgres.port, options="-c search_path=pg_catalog")
    world.sql("ALTER TABLE public.fence OWNER TO mallory", dsn=safe)
    if request.param == "role":
        world.sql(
            "DO $$ BEGIN CREATE ROLE reader LOGIN REPLICATION; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
            f"GRANT CREATE ON DATABASE {world.name} TO reader",
            "GRANT mallory TO reader",
            dsn=safe,
        )
        world.settings["DITTO_POSTGRES_DSN"] = world.dsn_by(world.postgres.port, user="reader")
        world.settings["DITTO_EVENTS_TABLES"] = json.dumps({"guarded": [], "fence": []}).replace(
            "[]", '["insert", "update", "delete", "truncate"]'
        )
    hostile.add_event_triggers(world)
    return world


def write(world: World, *statements: str) -> None:
    safe = world.dsn_by(
        world.postgres.port, user=hostile.OWNER, options="-c search_path=pg_catalog -c idle_session_timeout=0"
    )
    world.sql(*statements, dsn=safe)


async def test_no_command_runs_what_others_have_made(hostile_world: World) -> None:
    world = hostile_world
    running = await world.streaming()
    write(world, *WRITE)
    elsewhere = world.postgres.dsn  # this test's own questions must not run anything either
    lsn = str(world.sql("SELECT pg_current_wal_lsn()::text", dsn=elsewhere)[0][0])
    for arguments in (
        ("wait", lsn),
        ("check", "--json"),
        ("status", "--json"),
        ("slot", "status", "--json"),
        ("tail", "--last", "3", "--no-follow"),
    ):
        result = await ditto(world, *arguments)
        assert result.exit_code in {0, 1} if arguments[0] == "check" else result.exit_code == 0, result.output
        assert hostile.ran(world) == [], arguments
    assert await running.stop() == 0
    result = await ditto(world, "slot", "drop", "--yes")
    assert result.exit_code == 0, result.output
    assert world.sql(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{world.name}'", dsn=elsewhere) == []
    assert hostile.ran(world) == []
    seen = {each for each in hostile.audited(world) if each[0] != "CREATE_EVENT_TRIGGER"}
    assert {tag for tag, _ in seen} <= {"CREATE_PUBLICATION", "LOGIN"}
    assert ("CREATE_PUBLICATION", "pg_catalog") in seen, "the administrator's own trigger goes on working"
    assert {path for _, path in seen} == {"pg_catalog"}


async def test_verify_runs_nothing_that_others_have_made(hostile_world: World) -> None:
    world = hostile_world
    running = await world.streaming()
    write(world, *WRITE)
    result = await ditto(world, "verify", "--json")
    report = json.loads(result.stdout)
    unjudged = {each["table"]: each["reason"] for each in report["unjudged"] if each["is_obstacle"]}
    assert report["differences"] == []
    if "user=reader" in world.settings["DITTO_POSTGRES_DSN"]:
        assert "row-level security" in unjudged["public.guarded"]
    else:
        assert (unjudged, report["rows"]) == ({}, 2)
    assert result.exit_code == bool(unjudged)
    assert hostile.ran(world) == []
    assert await running.stop() == 0
