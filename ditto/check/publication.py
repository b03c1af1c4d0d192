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
    members: frozenset[Table]
    """Partitioned tables that it is known to contain, under whatever names their rows come."""


class Tables(Struct, frozen=True, kw_only=True):
    """The tables of the database that could be published."""

    plain: list[Table]
    """Tables, and partitions."""
    roots: list[Table]
    """Partitioned tables: rows are in their partitions."""
    ancestors: dict[Table, list[Table]]
    """By partition, the partitioned tables that it belongs to."""

    @property
    def all(self) -> list[Table]:
        return self.plain + self.roots


async def look_at_tables(control: Control) -> Tables:
    rows = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name, c.relkind = 'p' AS is_root, "
        "ARRAY(SELECT pg_catalog.jsonb_build_array(rn.nspname, r.relname) "
        "  FROM pg_catalog.pg_partition_ancestors(c.oid) AS a "
        "  JOIN pg_catalog.pg_class AS r ON r.oid = a.relid JOIN pg_catalog.pg_namespace AS rn "
        "  ON rn.oid = r.relnamespace WHERE a.relid <> c.oid) AS ancestors "
        "FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') "
        "AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' ORDER BY 1, 2",
        doing="list the tables",
    )
    return Tables(
        plain=[(row["schema"], row["name"]) for row in rows if not row["is_root"]],
        roots=[(row["schema"], row["name"]) for row in rows if row["is_root"]],
        ancestors={
            (row["schema"], row["name"]): [(schema, name) for schema, name in row["ancestors"]]
            for row in rows
            if row["ancestors"]
        },
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
        return Publication(
            exists=False, is_via_root=False, actions=frozenset(ACTIONS), tables=would_have, members=frozenset()
        )
    # One that is in it with its whole schema is not seen here, for the sake of PostgreSQL 14.
    members = await control.fetch(
        "SELECT n.nspname AS schema, c.relname AS name FROM pg_catalog.pg_class AS c "
        "JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
        "JOIN pg_catalog.pg_publication AS p ON p.pubname = %s WHERE c.relkind = 'p' AND (p.puballtables "
        "OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS m WHERE m.prpubid = p.oid AND m.prrelid = c.oid))",
        [config.postgres.publication],
        doing=f"look up the partitioned tables of publication {config.postgres.publication}",
    )
    return Publication(
        exists=True,
        is_via_root=rows[0]["is_via_root"],
        actions=frozenset(action for action in ACTIONS if rows[0][action]),
        tables=await published_tables(control, config.postgres.publication),
        members=frozenset((row["schema"], row["name"]) for row in members),
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
    if statement is None:
        what = f"publication {name} does not exist, and none of the tables does that it would be created for"
        return [bad("error", check, what, why)]
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
    published = set(publication.tables)

    def is_published(table: Table) -> bool:
        # With publish_via_partition_root a partition's rows come under the root's name.
        return table in published or not published.isdisjoint(tables.ancestors.get(table, ()))

    if config.events.tables is None:
        count = sum(not is_published(table) for table in tables.plain)
        what = f"{len(publication.tables)} tables are published, {count} are not; events.tables is not set"
        return [ok(check, what, why)]
    patterns = [TablePattern(key) for key, actions in config.events.tables.items() if actions]
    wanted = [table for table in tables.all if any(pattern.matches(*table) for pattern in patterns)]
    plain = [table for table in wanted if table in tables.plain and not is_published(table)]
    roots = [
        table
        for table in wanted
        if table in tables.roots
        and not is_published(table)
        and not _has_all_partitions(table, wanted, patterns, tables)
    ]
    found = []
    if plain:
        what = f"events.tables selects tables that are not published: {named(['.'.join(table) for table in plain])}"
        found.append(bad("error", check, what, why, psql=_add(config, plain)))
    if roots:
        found.append(_roots(config, publication, roots))
    return found or [ok(check, f"the {len(wanted)} tables that events.tables selects are published", why)]


def _has_all_partitions(root: Table, wanted: list[Table], patterns: list[TablePattern], tables: Tables) -> bool:
    """Whether all rows come under the names of partitions that the configuration selects, too."""
    partitions = [table for table in tables.plain if root in tables.ancestors.get(table, ())]
    if not partitions:
        return not any(pattern.is_plain and pattern.matches(*root) for pattern in patterns)
    return all(table in wanted for table in partitions)


def _roots(config: Config, publication: Publication, roots: list[Table]) -> Finding:
    name = quoted(config.postgres.publication)
    missing = [table for table in roots if table not in publication.members]
    statements = [_add(config, missing)] if missing else []
    if not publication.is_via_root:
        statements.append(f"ALTER PUBLICATION {name} SET (publish_via_partition_root = true);")
    return bad(
        "error",
        "publication.tables",
        f"events.tables selects partitioned tables: {named(['.'.join(table) for table in roots])}",
        "their changes come under the names of the partitions, unless the publication has them and says otherwise; "
        "events.tables has to select those, or the publication to send the root's name",
        psql="\n".join(statements),
    )


def _add(config: Config, tables: list[Table]) -> str:
    listed = ", ".join(quoted(*table) for table in tables)
    return f"ALTER PUBLICATION {quoted(config.postgres.publication)} ADD TABLE {listed};"


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
