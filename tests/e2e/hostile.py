"""A schema full of objects that say so when they run: in PostgreSQL's log, which no transaction takes back."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import ditto

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

OWNER = "mallory"
ARGUMENTS = (
    "",
    "text",
    "text, text",
    "text, anyelement",
    "integer",
    "integer, integer",
    "bigint",
    "oid",
    "oid, text",
    "pg_lsn, pg_lsn",
    "inet",
    "timestamptz, text",
    "int2vector",
    "anyelement",
    "anyelement, anyelement",
    "anyarray",
    "anyarray, anyarray",
    "VARIADIC text[]",
)
"""Each function is there with all of these: whichever fits a call better than PostgreSQL's own is chosen."""
AGGREGATES = ("array_agg", "count", "sum", "max", "bool_or", "jsonb_agg", "string_agg")
OPERATORS = ("=", "<>", "<", ">", "<=", ">=", "||", "~", "!~", "~~", "+", "-", "*", "/", "&&", "->", "->>", "@>")
OPERANDS = (
    "text",
    "name",
    "oid",
    "integer",
    "bigint",
    "smallint",
    "numeric",
    "boolean",
    "pg_lsn",
    "timestamptz",
    "jsonb",
    "text[]",
    "name[]",
    '"char"',
    "double precision",
)
MIXED = (("name", "text"), ("text", "name"), ("text", "integer"), ("jsonb", "text"), ("smallint", "integer"))


def install(world: World) -> None:
    """Let a role that may create in `public`, and owns the database, put everything in Ditto's way."""
    world.sql(
        f"DO $$ BEGIN CREATE ROLE {OWNER} LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"ALTER DATABASE {world.name} OWNER TO {OWNER}",
        f"GRANT CREATE ON SCHEMA public TO {OWNER}",
    )
    dsn = world.dsn_by(world.postgres.port, user=OWNER)
    world.sql(
        f"ALTER DATABASE {world.name} SET search_path = public, pg_catalog",
        f"ALTER DATABASE {world.name} SET client_min_messages = error",
        f"ALTER DATABASE {world.name} SET row_security = on",
        f"ALTER DATABASE {world.name} SET idle_session_timeout = '300ms'",
        f"ALTER DATABASE {world.name} SET lock_timeout = '1ms'",
        f"ALTER DATABASE {world.name} SET default_transaction_isolation = serializable",
        f"ALTER DATABASE {world.name} SET quote_all_identifiers = on",
        dsn=dsn,
    )
    # The statements themselves must not meet what they create.
    safe = world.dsn_by(world.postgres.port, user=OWNER, options="-c search_path=pg_catalog -c idle_session_timeout=0")
    world.sql(*_functions(), *_operators(), *_relations(), *_types(), *_tables(), dsn=safe)


def add_event_triggers(world: World) -> None:
    """As an administrator would, for auditing: it logs the search path, and uses names without a schema."""
    login = world.major >= 17
    world.sql(
        "CREATE FUNCTION public.audit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE LOG 'audit % % %', current_database(), replace(tg_tag, ' ', '_'), current_setting('search_path'); "
        "PERFORM lower('X'::text), array_agg('x'::text); END $$",
        "CREATE EVENT TRIGGER audit_start ON ddl_command_start EXECUTE FUNCTION public.audit()",
        "CREATE EVENT TRIGGER audit_end ON ddl_command_end EXECUTE FUNCTION public.audit()",
        *(["CREATE EVENT TRIGGER audit_login ON login EXECUTE FUNCTION public.audit()"] if login else []),
        *(["ALTER EVENT TRIGGER audit_login ENABLE ALWAYS"] if login else []),
        dsn=world.dsn_by(world.postgres.port, options="-c search_path=pg_catalog"),
    )


def ran(world: World) -> list[str]:
    """What has run of it, and as whom; without the owner's own runs."""
    text = world.postgres.log_path.read_text(errors="replace")
    found = re.findall(rf"hostile {world.name} (\S+) as (\S+)", text)
    return sorted({f"{name} as {role}" for name, role in found if role != OWNER})


def audited(world: World) -> set[tuple[str, str]]:
    """Command and search path of each event that the administrator's triggers have seen."""
    text = world.postgres.log_path.read_text(errors="replace")
    return set(re.findall(rf"audit {world.name} (\S+) (.*)", text))


def _names() -> list[str]:
    """Every function that occurs in Ditto's queries, with and without a schema."""
    names = set(AGGREGATES)
    for path in Path(ditto.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names.update(re.findall(r"pg_catalog\.([a-z_0-9]+)\(", node.value))
    return sorted(names | {"to_jsonb", "format_type", "unnest", "to_regclass", "json_to_recordset", "lower"})


def _say(name: str) -> str:
    return f"RAISE LOG 'hostile % {name} as %', pg_catalog.current_database(), current_user"


def _functions() -> Iterator[str]:
    for name in _names():
        for arguments in ARGUMENTS:
            result = "anyelement" if arguments.startswith("any") else "text"
            if arguments.startswith("anyarray"):
                result = "anyarray"
            value = "$1" if result != "text" else "NULL"
            yield (
                f"CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE plpgsql AS "
                f"$f$ BEGIN {_say(name)}; RETURN {value}; END $f$"
            )


def _operators() -> Iterator[str]:
    pairs = [(each, each) for each in OPERANDS] + list(MIXED)
    for number, (left, right) in enumerate(pairs):
        yield (
            f"CREATE FUNCTION public.compare{number}({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS "
            f"$f$ BEGIN {_say('operator')}; RETURN true; END $f$"
        )
        for operator in OPERATORS:
            yield (
                f"CREATE OPERATOR public.{operator} "
                f"(LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.compare{number})"
            )


def _relations() -> Iterator[str]:
    """Views with the names of the catalogue's."""
    yield (
        "CREATE FUNCTION public.touch(anyelement) RETURNS anyelement LANGUAGE plpgsql AS "
        f"$f$ BEGIN {_say('view')}; RETURN $1; END $f$"
    )
    for name, column in (
        ("pg_replication_slots", "slot_name"),
        ("pg_publication_tables", "pubname"),
        ("pg_publication", "pubname"),
        ("pg_class", "relname"),
        ("pg_namespace", "nspname"),
        ("pg_type", "typname"),
        ("pg_settings", "name"),
        ("pg_stat_activity", "pid"),
        ("pg_index", "indexrelid"),
    ):
        yield (
            f"CREATE VIEW public.{name} AS SELECT public.touch(s.{column}) AS touched, s.* FROM pg_catalog.{name} AS s"
        )


def _types() -> Iterator[str]:
    yield "CREATE TYPE public.mood AS ENUM ('sad', 'glad')"
    yield "CREATE TYPE public.pair AS (a int, b text)"
    yield (
        "CREATE FUNCTION public.fits(text) RETURNS boolean LANGUAGE plpgsql AS "
        f"$f$ BEGIN {_say('domain')}; RETURN true; END $f$"
    )
    yield "CREATE DOMAIN public.checked AS text CHECK (public.fits(VALUE))"
    for source in ("mood", "pair"):
        for target in ("text", "json", "jsonb", "bytea"):
            value = {"text": "'x'", "json": "'1'", "jsonb": "'1'", "bytea": "''"}[target]
            yield (
                f"CREATE FUNCTION public.{source}_to_{target}(public.{source}) RETURNS {target} LANGUAGE plpgsql AS "
                f"$f$ BEGIN {_say('cast')}; RETURN {value}; END $f$"
            )
            yield (
                f"CREATE CAST (public.{source} AS {target}) WITH FUNCTION "
                f"public.{source}_to_{target}(public.{source}) AS IMPLICIT"
            )
        yield (
            f"CREATE FUNCTION public.text_to_{source}(text) RETURNS public.{source} LANGUAGE plpgsql AS "
            f"$f$ BEGIN {_say('cast')}; RETURN NULL; END $f$"
        )
        yield f"CREATE CAST (text AS public.{source}) WITH FUNCTION public.text_to_{source}(text)"
    yield (
        "CREATE FUNCTION public.same(public.mood, public.mood) RETURNS boolean LANGUAGE plpgsql AS "
        f"$f$ BEGIN {_say('operator')}; RETURN true; END $f$"
    )
    yield "CREATE OPERATOR public.= (LEFTARG = public.mood, RIGHTARG = public.mood, FUNCTION = public.same)"


def _tables() -> Iterator[str]:
    yield (
        "CREATE TABLE public.guarded (id public.mood PRIMARY KEY, p public.pair, c public.checked, note text, "
        "parts int[])"
    )
    yield "ALTER TABLE public.guarded REPLICA IDENTITY FULL"
    yield (
        "CREATE FUNCTION public.may_see(anyelement) RETURNS boolean LANGUAGE plpgsql AS "
        f"$f$ BEGIN {_say('policy')}; RETURN true; END $f$"
    )
    yield "CREATE POLICY see ON public.guarded USING (public.may_see(note))"
    yield "ALTER TABLE public.guarded ENABLE ROW LEVEL SECURITY"
    yield "ALTER TABLE public.guarded FORCE ROW LEVEL SECURITY"
