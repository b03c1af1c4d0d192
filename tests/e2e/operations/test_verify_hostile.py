"""`ditto verify` where somebody else makes functions, operators, casts, domains and policies: none of them runs."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import conninfo

from ditto.cli import main
from ditto.verify import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

TRAP = "LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'a trap, run as %', current_user; END $$"

TRAPS = [
    f"CREATE FUNCTION public.array_agg(name) RETURNS name[] {TRAP}",
    f"CREATE FUNCTION public.array_agg(text) RETURNS text[] {TRAP}",
    f"CREATE FUNCTION public.min(name) RETURNS name {TRAP}",
    f"CREATE FUNCTION public.unnest(int2vector) RETURNS SETOF int2 {TRAP}",
    f"CREATE FUNCTION public.to_jsonb(pg_publication_tables) RETURNS jsonb {TRAP}",
    f"CREATE FUNCTION public.to_regclass(text) RETURNS regclass {TRAP}",
    f"CREATE FUNCTION public.format_type(oid, int) RETURNS text {TRAP}",
    f"CREATE FUNCTION public.generate_series(int, smallint) RETURNS SETOF int {TRAP}",
    f"CREATE FUNCTION public.current_setting(unknown) RETURNS text {TRAP}".replace("unknown", "name"),
    f"CREATE FUNCTION public.same(oid, oid) RETURNS bool {TRAP}",
    "CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.same)",
    f"CREATE FUNCTION public.same(name, name) RETURNS bool {TRAP}",
    "CREATE OPERATOR public.= (LEFTARG = name, RIGHTARG = name, FUNCTION = public.same)",
    f'CREATE FUNCTION public.same("char", "char") RETURNS bool {TRAP}',
    'CREATE OPERATOR public.= (LEFTARG = "char", RIGHTARG = "char", FUNCTION = public.same)',
]

# What mallory makes once the rows are there, so that the application's own statements do not fall into the traps.
TYPES = [
    f"CREATE FUNCTION public.shown(public.mood) RETURNS text {TRAP}",
    "CREATE CAST (public.mood AS text) WITH FUNCTION public.shown(public.mood) AS ASSIGNMENT",
    f"CREATE FUNCTION public.read(text) RETURNS public.mood {TRAP}",
    "CREATE CAST (text AS public.mood) WITH FUNCTION public.read(text) AS IMPLICIT",
    f"CREATE FUNCTION public.shown(public.mood) RETURNS json {TRAP}".replace("shown", "as_json"),
    "CREATE CAST (public.mood AS json) WITH FUNCTION public.as_json(public.mood)",
    f"CREATE FUNCTION public.same(public.mood, public.mood) RETURNS bool {TRAP}",
    "CREATE OPERATOR public.= (LEFTARG = public.mood, RIGHTARG = public.mood, FUNCTION = public.same, MERGES, HASHES)",
    f"CREATE FUNCTION public.same(public.pair, public.pair) RETURNS bool {TRAP}",
    "CREATE OPERATOR public.= (LEFTARG = public.pair, RIGHTARG = public.pair, FUNCTION = public.same)",
    f"CREATE FUNCTION public.is_small(int) RETURNS bool {TRAP}",
    "ALTER DOMAIN public.small ADD CHECK (public.is_small(VALUE)) NOT VALID",
    f"CREATE FUNCTION public.is_seen() RETURNS bool {TRAP}".replace("IMMUTABLE", "STABLE"),
    "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE hidden FORCE ROW LEVEL SECURITY",
    "CREATE POLICY trap ON hidden USING (public.is_seen())",
]


class Roles:
    """An owner of tables and types, and a role for verify that may read them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.mallory = f"{world.name}_mallory"
        self.reader = f"{world.name}_reader"

    def create(self) -> None:
        for role in (self.mallory, self.reader):
            self.world.sql(f"CREATE ROLE {role} LOGIN")
        self.world.sql(
            f"GRANT CREATE ON SCHEMA public TO {self.mallory}",
            f"GRANT CREATE ON DATABASE {self.world.name} TO {self.mallory}",
            f"GRANT SELECT ON fence TO {self.reader}",
            f"ALTER ROLE {self.reader} SET search_path = public",
            f"ALTER ROLE {self.reader} SET row_security = on",
        )

    def drop(self) -> None:
        for role in (self.mallory, self.reader):
            self.world.sql(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")

    def as_mallory(self, *statements: str) -> None:
        self.world.sql(*statements, dsn=conninfo.make_conninfo(self.world.dsn, user=self.mallory))


@pytest.fixture
def roles(world: World) -> Iterator[Roles]:
    roles = Roles(world)
    roles.create()
    yield roles
    world.close()
    roles.drop()


async def verify(world: World, **parameters: Any) -> tuple[Result, dict[str, Any]]:
    env = {**world.settings, "DITTO_POSTGRES_DSN": conninfo.make_conninfo(world.dsn, **parameters)}
    result = await asyncio.to_thread(CliRunner().invoke, main, ["verify", "--json"], env=env, catch_exceptions=False)
    assert result.stdout.startswith("{"), result.output
    return result, json.loads(result.stdout)


async def test_nothing_of_others_runs(world: World, roles: Roles) -> None:
    roles.as_mallory(
        "CREATE TYPE public.mood AS ENUM ('sad', 'fine')",
        "CREATE TYPE public.pair AS (a int, m public.mood)",
        "CREATE DOMAIN public.small AS int",
        "CREATE TABLE t (m public.mood, p public.pair, s public.small, ms public.mood[], PRIMARY KEY (m))",
        "CREATE TABLE keyless (m public.mood, p public.pair, s public.small)",
        "ALTER TABLE keyless REPLICA IDENTITY FULL",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        f"GRANT SELECT ON t, keyless, hidden TO {roles.reader}",
        *TRAPS,
    )
    await world.streaming()
    roles.as_mallory(
        "INSERT INTO t VALUES ('sad', '(1,fine)', 3, '{fine}')",
        "INSERT INTO keyless VALUES ('sad', '(1,fine)', 3), ('fine', NULL, 4)",
        "INSERT INTO hidden VALUES (1), (2)",
        *TYPES,
    )
    with pytest.raises(psycopg.errors.RaiseException, match="a trap"):  # they do work
        roles.as_mallory("SELECT m::text FROM t")
    result, report = await verify(world)  # as a superuser, whom no policy holds
    assert (result.exit_code, report["differences"], report["unjudged"]) == (0, [], []), result.output
    assert report["rows"] >= 5
    result, report = await verify(world, user=roles.reader)
    assert result.exit_code == 1
    assert report["differences"] == []
    assert [(each["table"], each["is_obstacle"]) for each in report["unjudged"]] == [("public.hidden", True)]
    assert "row-level security" in report["unjudged"][0]["reason"]


async def test_a_table_that_may_not_be_read_is_named_with_what_to_do(world: World, roles: Roles) -> None:
    world.sql('CREATE TABLE "Orders" (id int PRIMARY KEY)')
    await world.streaming()
    world.sql('INSERT INTO "Orders" VALUES (1)')
    result, report = await verify(world, user=roles.reader)
    assert result.exit_code == 1
    assert report["differences"] == []
    reasons = {each["table"]: each["reason"] for each in report["unjudged"]}
    grant = f'GRANT SELECT ON "public"."Orders" TO "{roles.reader}";'
    assert reasons["public.Orders"] == f"this role may not read it: {grant}"
    world.sql(grant)
    assert (await verify(world, user=roles.reader))[1]["unjudged"] == []


async def test_a_table_that_is_locked_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LOCK_TIMEOUT", "300ms")
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    await world.streaming()
    world.sql("INSERT INTO t VALUES (1)", "INSERT INTO u VALUES (1)")
    await world.fence()
    with world.connect() as locker:
        locker.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        if world.major >= 16:  # PostgreSQL opens each table to list those of a publication
            env = world.settings
            result = await asyncio.to_thread(CliRunner().invoke, main, ["verify"], env=env, catch_exceptions=False)
            assert result.exit_code == 3
            assert "somebody holds a lock on a table" in result.stderr
            return
        result, report = await verify(world)
    assert result.exit_code == 1
    assert [(each["table"], each["is_obstacle"]) for each in report["unjudged"]] == [("public.t", True)]
    assert report["differences"] == []
