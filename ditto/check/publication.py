"""The publication, and the tables that the configuration selects."""

from __future__ import annotations

import difflib
from typing import Literal

from msgspec import Struct

from ditto.check.finding import Finding, bad, named, ok
from ditto.check.role import check_may_create, create_publication, quoted
from ditto.config import Config
from ditto.events.route import ACTIONS, TablePattern
from ditto.source.control import Control
from ditto.source.publication import Table, published_tables, tables_without_identity

_SHOWN = 20


class Publication(Struct, frozen=True, kw_only=True):
    """The publication as it is, or would be if `ditto run` created it."""

    exists: bool
    is_via_root: bool
    actions: frozenset[str]
    tables: list[Table]
    """What it publishes, or would."""


class Tables(Struct, frozen=True, kw_only=True):
    """The tables of the database that could be published."""

    plain: list[Table]
    """Tables, and partitions."""
    roots: list[Table]
    """Partitioned tables: rows are in their partitions."""

    @property
    def all(self) -> list[Table]:
        return self.plain + self.roots


async def look_at_tables(control: Control) -> Tables:
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS is_root FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
        "AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2",
        doing="list the tables",
    )
    return Tables(
        plain=[(row["schema"], row["name"]) for row in rows if not row["is_root"]],
        roots=[(row["schema"], row["name"]) for row in rows if row["is_root"]],
    )


async def look_at_publication(control: Control, config: Config, tables: Tables) -> Publication:
    rows = await control.fetch(
        "SELECT pubinsert AS insert, pubupdate AS update, pubdelete AS delete, pubtruncate AS truncate, "
        "pubviaroot AS is_via_root FROM pg_catalog.pg_publication WHERE pubname = %s",
        [config.postgres.publication],
        doing=f"look up publication {config.postgres.publication}",
    )
    if not rows:
        wanted = selected(config, tables)
        would_have = tables.plain if wanted is None else [table for table in wanted if table in tables.plain]
        return Publication(exists=False, is_via_root=False, actions=frozenset(ACTIONS), tables=would_have)
    return Publication(
        exists=True,
        is_via_root=rows[0]["is_via_root"],
        actions=frozenset(action for action in ACTIONS if rows[0][action]),
        tables=await published_tables(control, config.postgres.publication),
    )


def selected(config: Config, tables: Tables) -> list[Table] | None:
    """The tables that `events.tables` names one by one; None where `ditto run` would publish all tables."""
    patterns = [TablePattern(key) for key in config.events.tables or ()]
    if not patterns or not all(pattern.is_plain for pattern in patterns):
        return None
    return [table for table in tables.all if any(pattern.matches(*table) for pattern in patterns)]


async def check_publication(
    control: Control, config: Config, publication: Publication, tables: Tables, *, role: str, has_slot: bool
) -> list[Finding]:
    """That it exists, or can be created; what it publishes; what the configuration selects."""
    found = [*await _existence(control, config, publication, tables, role=role, has_slot=has_slot)]
    found += _missing_tables(config, tables)
    if publication.exists:
        found += _coverage(config, publication, tables)
        found += _actions(config, publication)
    found += await _identities(control, config, publication)
    return found


async def _existence(
    control: Control, config: Config, publication: Publication, tables: Tables, *, role: str, has_slot: bool
) -> list[Finding]:
    name = config.postgres.publication
    check, why = "publication.exists", "it tells PostgreSQL which tables to send"
    if publication.exists:
        return [ok(check, f"publication {name} has {len(publication.tables)} tables", why)]
    wanted = selected(config, tables)
    statement = create_publication(name, wanted)
    if has_slot:
        return [
            bad(
                "error",
                check,
                f"publication {name} does not exist, and the slot {config.postgres.slot} does",
                "a slot reads the catalogue as it was where it stands in the WAL: changes from before the publication "
                "was created cannot be read, and where there are any the slot has to be made anew (ditto slot drop)",
                psql=statement,
            )
        ]
    if not config.postgres.create:
        what = f"publication {name} does not exist, and postgres.create is false"
        return [bad("error", check, what, why, psql=statement)]
    refusal = await check_may_create(control, name, role, wanted)
    if refusal is not None:
        return [refusal]
    return [ok(check, f"publication {name} will be created by ditto run", why)]


def _missing_tables(config: Config, tables: Tables) -> list[Finding]:
    if not config.events.tables:
        return []
    check, why = "tables.exist", "what the configuration names and nobody writes to is mostly a misspelt name"
    names = [f"{schema}.{name}" for schema, name in tables.all]
    found = []
    for key in config.events.tables:
        pattern = TablePattern(key)
        if any(pattern.matches(*table) for table in tables.all):
            continue
        known = names if pattern.schema is not None else [name for _, name in tables.all]
        near = difflib.get_close_matches(key, known, n=1)
        mend = f"events: {{tables: {{{near[0]}: …}}}}   # in place of {key}" if near else None
        if pattern.is_plain:
            what = f"events.tables names {key}, and there is no such table"
            found.append(bad("error", check, what, why, configuration=mend))
        else:
            found.append(bad("warning", check, f"events.tables has {key}, which no table matches", why))
    return found or [ok(check, "every table that events.tables names exists", why)]


def _coverage(config: Config, publication: Publication, tables: Tables) -> list[Finding]:
    check, why = "publication.tables", "the changes of a table that is not in the publication are never sent"
    name = quoted(config.postgres.publication)
    if config.events.tables is None:
        missing = [table for table in tables.plain if not publication.is_via_root and table not in publication.tables]
        what = f"{len(publication.tables)} tables are published, {len(missing)} are not; events.tables is not set"
        return [ok(check, what, why)]
    patterns = [TablePattern(key) for key, actions in config.events.tables.items() if actions]
    wanted = [table for table in tables.all if any(pattern.matches(*table) for pattern in patterns)]
    published = set(publication.tables)
    roots = [table for table in wanted if table in tables.roots and table not in published]
    # With publish_via_partition_root a partition's rows come under the root's name.
    plain = [
        table for table in wanted if table in tables.plain and table not in published and not publication.is_via_root
    ]
    found = []
    if plain:
        listed = ", ".join(quoted(*table) for table in plain)
        what = f"events.tables selects tables that are not published: {named(['.'.join(table) for table in plain])}"
        found.append(bad("error", check, what, why, psql=f"ALTER PUBLICATION {name} ADD TABLE {listed};"))
    if roots and not publication.is_via_root:
        found.append(
            bad(
                "error",
                check,
                f"events.tables selects partitioned tables: {named(['.'.join(table) for table in roots])}",
                "their changes come under the names of the partitions, unless the publication says otherwise; "
                "events.tables has to select those, or the publication to send the root's name",
                psql=f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true);",
            )
        )
    return found or [ok(check, f"the {len(wanted)} tables that events.tables selects are published", why)]


def _actions(config: Config, publication: Publication) -> list[Finding]:
    check, why = "publication.actions", "actions that the publication leaves out are never sent"
    tables = config.events.tables
    wanted_actions = ACTIONS if tables is None else [str(action) for actions in tables.values() for action in actions]
    missing = set(wanted_actions) - publication.actions
    if not missing:
        return [ok(check, f"it publishes {', '.join(sorted(publication.actions))}", why)]
    name = quoted(config.postgres.publication)
    wanted = ", ".join(action for action in ACTIONS if action in publication.actions | missing)
    what = f"it does not publish {', '.join(sorted(missing))}, which the configuration selects"
    return [bad("warning", check, what, why, psql=f"ALTER PUBLICATION {name} SET (publish = '{wanted}');")]


async def _identities(control: Control, config: Config, publication: Publication) -> list[Finding]:
    check = "tables.identity"
    why = "PostgreSQL refuses the application's own UPDATE and DELETE on such a table, once it is published"
    broken = await tables_without_identity(control, publication.tables)
    if not broken:
        return [ok(check, f"all {len(publication.tables)} tables have a usable replica identity", why)]
    if not publication.actions & {"update", "delete"}:
        return [ok(check, f"{len(broken)} tables have none, and only inserts are published", why)]
    what = f"tables without a usable replica identity: {named(['.'.join(each) for each in broken])}"
    statements = [f"ALTER TABLE {quoted(*table)} REPLICA IDENTITY FULL;" for table in broken[:_SHOWN]]
    level: Literal["warning", "error"] = "warning" if config.postgres.allow_missing_identity else "error"
    return [bad(level, check, what, why, psql="\n".join(statements))]
