"""The publication: find it, or create it without breaking the application."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import structlog
from psycopg.sql import SQL, Composable, Identifier

from ditto.errors import (
    AccessDenied,
    ConfigError,
    IdentityMissing,
    PublicationMissing,
    SourceError,
    TableLocked,
    TableNotPublished,
)
from ditto.source.control import Control

log = structlog.get_logger()

_LOOK_PERIOD_S: Final = 5.0
_LOCK_TIMEOUT: Final = "1s"
_SET_LOCK_TIMEOUT: Final = "SELECT pg_catalog.set_config('lock_timeout', %s, false)"

Table = tuple[str, str]
"""Schema and name."""


async def published_tables(control: Control, publication: str) -> list[Table]:
    """The tables of the publication, at this moment.

    Raises TableLocked after a while: from 16 on PostgreSQL opens each table for that, and an ALTER TABLE that runs, or
    waits, keeps it out. Nothing else may wait for that behind it.
    """
    doing = f"list the tables of publication {publication}"
    await control.fetch(_SET_LOCK_TIMEOUT, [_LOCK_TIMEOUT], doing=doing)
    try:
        rows = await control.fetch(
            "SELECT schemaname, tablename FROM pg_catalog.pg_publication_tables WHERE pubname = %s ORDER BY 1, 2",
            [publication],
            doing=doing,
        )
    except TableLocked:
        await control.fetch(_SET_LOCK_TIMEOUT, ["0"], doing=doing)
        raise
    await control.fetch(_SET_LOCK_TIMEOUT, ["0"], doing=doing)
    return [(row["schemaname"], row["tablename"]) for row in rows]


async def primary_key(control: Control, relation_oid: int) -> list[str]:
    """The columns of a table's primary key as it is now; empty where it has none, or does not exist any more."""
    rows = await control.fetch(
        "SELECT a.attname AS name FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_attribute AS a "
        "ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
        "WHERE i.indrelid = %s AND i.indisprimary ORDER BY a.attnum",
        [relation_oid],
        doing="look up a primary key",
    )
    return [row["name"] for row in rows]


async def watch_publication(
    control: Control, publication: str, *, named: Sequence[tuple[str | None, str]], known: set[Table]
) -> None:
    """Until cancelled: see whether the publication is still there, and say which of the `known` tables it has lost.

    PostgreSQL says so before the next row, or not at all. Raises PublicationMissing when it was dropped, and
    TableNotPublished when it lacks one of the `named` tables.
    """
    is_suspected = False
    while True:
        await asyncio.sleep(_LOOK_PERIOD_S)
        try:
            known = await _look(control, publication, named, known)
            is_suspected = False
        except TableLocked as error:
            log.debug("publication.not_seen", reason=error.message)
        except TableNotPublished:
            if is_suspected:
                raise
            is_suspected = True  # a table that was just created may be added to the publication in a moment


async def _look(
    control: Control, publication: str, named: Sequence[tuple[str | None, str]], known: set[Table]
) -> set[Table]:
    if not await _exists(control, publication):
        raise PublicationMissing(
            f"publication {publication} was dropped: changes are not sent any more",
            hint="create it again, then drop the slot (ditto slot drop), reload consumers from the tables, and start "
            "once with nats.on_gap: continue",
        )
    tables = await published_tables(control, publication)
    await check_named(control, publication, named=named, published=tables)
    if removed := await _existing(control, known.difference(tables)):
        log.warning(
            "publication.tables_removed",
            publication=publication,
            tables=[f"{schema}.{name}" for schema, name in removed],
            reason="they are not published any more: what changes there from now on is in no stream",
            hint=f"unless that is meant: ALTER PUBLICATION {_quoted(publication)} ADD TABLE …, and reload the "
            "consumers of these tables",
        )
    if added := sorted(set(tables) - known):
        names = [f"{schema}.{name}" for schema, name in added]
        log.info("publication.tables_added", publication=publication, tables=names)
    return set(tables)


async def check_named(
    control: Control, publication: str, *, named: Sequence[tuple[str | None, str]], published: Sequence[Table]
) -> None:
    """Raise TableNotPublished when the publication lacks a table that exists and is one of the `named` ones.

    A name without a schema stands for that table in any schema; a partition may be published as its root, and a root
    as its partitions.
    """
    missing = [
        (schema, name)
        for schema, name in named
        if not any(name == table[1] and schema in {None, table[0]} for table in published)
    ]
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND NOT c.relispartition "
        "AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relname = ANY(%s) ORDER BY 1, 2",
        [[name for _, name in missing]],
        doing="look up the tables of events.tables",
    )
    found = [
        (row["schema"], row["name"])
        for row in rows
        if any(row["name"] == name and schema in {None, row["schema"]} for schema, name in missing)
    ]
    if found:
        names = ", ".join(f"{schema}.{name}" for schema, name in found)
        raise TableNotPublished(
            f"events.tables names {names}, and publication {publication} does not have it",
            hint=f"ALTER PUBLICATION {_quoted(publication)} ADD TABLE …, and reload the consumers of what changed "
            "there meanwhile; or take it out of events.tables",
        )


async def _exists(control: Control, publication: str) -> bool:
    rows = await control.fetch(
        "SELECT 1 AS found FROM pg_catalog.pg_publication WHERE pubname = %s",
        [publication],
        doing=f"look up publication {publication}",
    )
    return bool(rows)


async def _existing(control: Control, tables: Collection[Table]) -> list[Table]:
    """Those that have not been dropped or renamed."""
    if not tables:
        return []
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relname = ANY(%s) ORDER BY 1, 2",
        [[name for _, name in tables]],
        doing="look up tables",
    )
    return [table for row in rows if (table := (row["schema"], row["name"])) in tables]


def _quoted(name: str) -> str:
    return Identifier(name).as_string()


async def ensure_publication(
    control: Control,
    publication: str,
    *,
    tables: Sequence[tuple[str | None, str]] | None,
    may_create: bool,
    allow_missing_identity: bool,
) -> None:
    """Create the publication where it is missing: for the given tables (schema or None, name), or for all.

    One that exists is used untouched. Raises PublicationMissing, IdentityMissing, ConfigError and AccessDenied.
    """
    if await _exists(control, publication):
        return
    if not may_create:
        raise PublicationMissing(
            f"publication {publication} does not exist",
            hint="set postgres.create: true, or create it before the slot: "
            f"{SQL('CREATE PUBLICATION {} FOR ALL TABLES').format(Identifier(publication)).as_string()}",
        )
    wanted = None if tables is None else await _resolve(control, tables)
    broken = await tables_without_identity(control, wanted)
    if broken and not allow_missing_identity:
        names = ", ".join(f"{schema}.{name}" for schema, name in broken[:10])
        more = f" and {len(broken) - 10} more" if len(broken) > 10 else ""
        raise IdentityMissing(
            f"publication {publication} is not created: PostgreSQL would then refuse the application's own UPDATE and "
            f"DELETE on tables without a usable replica identity: {names}{more}",
            hint="give each a primary key, or ALTER TABLE … REPLICA IDENTITY FULL (from PostgreSQL 18 on neither may "
            "contain generated columns, unless you create the publication yourself and it has "
            "publish_generated_columns); or name only other tables in "
            "events.tables; or, where these tables are never updated, set postgres.allow_missing_identity: true",
        )
    if wanted is None:
        scope: Composable = SQL("FOR ALL TABLES")
    else:
        scope = SQL("FOR TABLE {}").format(SQL(", ").join(Identifier(*table) for table in wanted))
        if await _has_roots(control, wanted):
            # Otherwise events come under the names of the partitions, and none is selected.
            scope += SQL(" WITH (publish_via_partition_root = true)")
    statement = SQL("CREATE PUBLICATION {} {}").format(Identifier(publication), scope).as_string()
    try:
        await control.change(statement, doing=f"create publication {publication}")
    except AccessDenied as error:
        raise AccessDenied(
            error.message,
            hint="FOR ALL TABLES needs a superuser, FOR TABLE the owner of the tables: let one of them run "
            f"{statement[:200]}",
        ) from error
    except SourceError:
        if not await _exists(control, publication):
            raise
        return  # another Ditto that started with this one was first
    log.info("publication.created", publication=publication, tables=None if wanted is None else len(wanted))


async def _resolve(control: Control, tables: Sequence[tuple[str | None, str]]) -> list[Table]:
    """The tables that these names stand for; a name without a schema means that table in every schema."""
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' "
        "AND n.nspname !~ '^pg_' AND c.relname = ANY(%s) ORDER BY 1, 2",
        [[name for _, name in tables]],
        doing="look up the tables of events.tables",
    )
    existing: list[Table] = [(row["schema"], row["name"]) for row in rows]
    wanted: list[Table] = []
    for schema, name in tables:
        matches = [table for table in existing if table[1] == name and schema in {None, table[0]}]
        if not matches:
            full = name if schema is None else f"{schema}.{name}"
            raise ConfigError(
                f"events.tables names {full}, and there is no such table",
                hint="create it first, or correct the name; a table that will come later can be given as a glob",
            )
        wanted += [table for table in matches if table not in wanted]
    return wanted


async def _has_roots(control: Control, tables: Sequence[Table]) -> bool:
    """Whether one of them is partitioned."""
    rows = await control.fetch(
        "SELECT 1 AS found FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "WHERE c.relkind = 'p' "
        "AND (n.nspname, c.relname) IN ("
        "  SELECT * FROM ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[]))) LIMIT 1",
        [[schema for schema, _ in tables], [name for _, name in tables]],
        doing="look up partitioned tables",
    )
    return bool(rows)


async def tables_without_identity(control: Control, tables: Sequence[Table] | None) -> list[Table]:
    """Tables (of these, or of all) on which a publication would make UPDATE and DELETE fail.

    https://www.postgresql.org/docs/current/logical-replication-publication.html#LOGICAL-REPLICATION-PUBLICATION-REPLICA-IDENTITY
    """
    # From 18 on an identity must not hold generated columns that the publication leaves out, as it does by default.
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name, p.roots FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "CROSS JOIN LATERAL (SELECT pg_catalog.array_agg(rn.nspname || '.' || r.relname) AS roots "
        "  FROM pg_catalog.pg_partition_ancestors(c.oid) AS a JOIN pg_catalog.pg_class AS r ON r.oid = a.relid "
        "  JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace) AS p "
        "CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.array_agg(a.attnum), '{}') AS generated "
        "  FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND a.attgenerated <> '' AND NOT a.attisdropped "
        "  AND pg_catalog.current_setting('server_version_num')::int >= 180000) AS g "
        "WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' "
        "AND n.nspname !~ '^pg_' AND CASE c.relreplident WHEN 'f' THEN g.generated <> '{}' ELSE NOT EXISTS ("
        "  SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisunique "
        "  AND CASE c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END "
        "  AND NOT g.generated && (i.indkey::int2[])[:i.indnkeyatts - 1]) END "
        "ORDER BY 1, 2",
        doing="look up replica identities",
    )
    wanted = None if tables is None else {f"{schema}.{name}" for schema, name in tables}
    return [
        (row["schema"], row["name"])
        for row in rows
        if wanted is None
        or f"{row['schema']}.{row['name']}" in wanted
        or not wanted.isdisjoint(row["roots"] or ())  # a partition of a table that is to be published
    ]
