"""The publication: find it, or create it without breaking the application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct

from ditto.errors import AccessDenied, ConfigError, IdentityMissing, PublicationMissing, SourceError
from ditto.hints import full_identity, identifier
from ditto.source.published_tables import Publication, Table, Tables, find_publication, look_at_tables
from ditto.source.replica_identity import tables_without_identity
from ditto.source.sql import Control

log = structlog.get_logger()

_SHOWN: Final = 10
_STATEMENTS: Final = 3


class Plan(Struct, frozen=True, kw_only=True):
    """The publication that is to be used."""

    publication: Publication
    """As it will be once it is created; one that exists is without its tables here."""
    statement: str | None
    """The statement that creates it; None where it exists."""


async def plan_publication(
    control: Control,
    publication: str,
    *,
    tables: Sequence[tuple[str | None, str]] | None,
    may_create: bool,
    allow_missing_identity: bool,
    pattern: str | None = None,
) -> Plan:
    """Look for the publication; where it is missing, say how it is created: for the given tables (schema or None,
    name), or for all, because of `pattern` in `events.tables` where there is one.

    One that exists is used untouched. Raises PublicationMissing, IdentityMissing and ConfigError.
    """
    existing = await find_publication(control, publication)
    if existing.exists:
        return Plan(publication=existing, statement=None)
    if not may_create:
        raise PublicationMissing(
            f"publication {publication} does not exist",
            hint="set postgres.create: true, or create it before the slot: "
            f"CREATE PUBLICATION {identifier(publication)} FOR ALL TABLES",
        )
    there = await look_at_tables(control, names=None if tables is None else [name for _, name in tables])
    wanted = None if tables is None else _resolve(tables, there)
    broken = await tables_without_identity(control, wanted)
    if broken and not allow_missing_identity:
        raise _identity_missing(publication, broken, is_for_all=tables is None, pattern=pattern)
    return Plan(
        publication=planned_publication(publication, wanted, there),
        statement=create_statement(publication, wanted, there),
    )


def _identity_missing(
    publication: str, broken: Sequence[Table], *, is_for_all: bool, pattern: str | None
) -> IdentityMissing:
    names = ", ".join(f"{schema}.{name}" for schema, name in broken[:_SHOWN])
    more = f" and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    scope, other = "", "name only other tables in events.tables"
    if is_for_all and pattern is not None:
        scope = f" for all tables, which the key {pattern} of events.tables needs"
        other = "name the tables one by one in place of it"
    elif is_for_all:
        scope, other = " for all tables", "name the tables that are wanted in events.tables"
    statements = "; ".join(full_identity(*table) for table in broken[:_STATEMENTS])
    others = ", and so on: ditto check prints all statements" if len(broken) > _STATEMENTS else ""
    return IdentityMissing(
        f"publication {publication} is not created{scope}: PostgreSQL would then refuse the application's own UPDATE "
        f"and DELETE on tables without a usable replica identity: {names}{more}",
        hint=f"give each a primary key that is not deferrable, or {statements}{others} (from PostgreSQL 18 on neither "
        "may contain generated columns, unless you create the publication yourself and it has "
        f"publish_generated_columns); or {other}; or create the publication yourself; or, where these tables are never "
        "updated, set postgres.allow_missing_identity: true",
    )


def planned_publication(publication: str, wanted: Sequence[Table] | None, there: Tables) -> Publication:
    """The publication as it would be if it were created for these tables, or for all (None)."""
    roots = [] if wanted is None else [table for table in wanted if table in there.roots]
    plain = there.plain if wanted is None else [table for table in wanted if table in there.plain]
    below = [table for table in plain if not set(roots).isdisjoint(there.ancestors.get(table, ()))]
    return Publication(
        name=publication,
        exists=False,
        is_open=wanted is None,
        is_via_root=bool(roots),
        actions=frozenset({"insert", "update", "delete", "truncate"}),
        tables=sorted([*roots, *(table for table in plain if table not in below)]),
        members=frozenset(roots),
    )


def create_statement(publication: str, wanted: Sequence[Table] | None, there: Tables) -> str:
    """The statement that creates it for these tables, of which there is at least one, or for all (None)."""
    if wanted is None:
        scope = "FOR ALL TABLES"
    else:
        scope = f"FOR TABLE {', '.join(identifier(*table) for table in wanted)}"
        if not set(wanted).isdisjoint(there.roots):
            # Otherwise events come under the names of the partitions, and none is selected.
            scope += " WITH (publish_via_partition_root = true)"
    return f"CREATE PUBLICATION {identifier(publication)} {scope}"


async def create_publication(control: Control, plan: Plan) -> bool:
    """Create what was planned; false where another Ditto that started with this one was first. Raises AccessDenied."""
    name, statement = plan.publication.name, plan.statement
    if statement is None:
        return False
    try:
        await control.change(statement, doing=f"create publication {name}")
    except AccessDenied as error:
        raise AccessDenied(
            error.message,
            hint="FOR ALL TABLES needs a superuser, FOR TABLE a role that has CREATE on the database and owns the "
            f"tables: let one of them run {statement[:200]}",
        ) from error
    except SourceError:
        if not (await find_publication(control, name)).exists:
            raise
        return False
    tables = None if plan.publication.is_open else len(plan.publication.tables)
    log.info("publication.created", publication=name, tables=tables)
    return True


def _resolve(tables: Sequence[tuple[str | None, str]], there: Tables) -> list[Table]:
    """The tables of these names; a name without a schema means that table in every schema."""
    wanted: list[Table] = []
    for schema, name in tables:
        matches = [table for table in sorted(there.all) if table[1] == name and schema in {None, table[0]}]
        if not matches:
            full = name if schema is None else f"{schema}.{name}"
            raise ConfigError(
                f"events.tables names {full}, and there is no such table",
                hint="create it first, or correct the name; a table that will come later can be given as a glob",
            )
        wanted += [table for table in matches if table not in wanted]
    return wanted
