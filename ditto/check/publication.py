"""The publication, and the tables that the configuration selects."""

from __future__ import annotations

import difflib
import glob
import json
from collections.abc import Sequence
from typing import Literal

from ditto.check.finding import Finding, bad, failed, named, ok
from ditto.check.role import check_may_create
from ditto.config import Config, Events
from ditto.errors import TableNotPublished
from ditto.hints import RELOAD, identifier
from ditto.routing.outbox_coverage import check_outbox_published
from ditto.routing.patterns import TablePattern, unmatched_keys
from ditto.routing.publication_coverage import Coverage
from ditto.source.publication import create_statement, planned_publication
from ditto.source.published_tables import Publication, Table, Tables, look_at_publication
from ditto.source.replica_identity import tables_limited_beyond_identity, tables_without_identity
from ditto.source.sql import Control
from ditto.units import counted

_SHOWN = 20


async def publication_to_be(control: Control, config: Config, tables: Tables) -> Publication:
    """The publication as it is, or would be if `ditto run` created it."""
    found = await look_at_publication(control, config.postgres.publication)
    return found if found.exists else planned_publication(found.name, selected(config, tables), tables)


def selected(config: Config, tables: Tables) -> list[Table] | None:
    """The tables that `events.tables` names one by one; None where `ditto run` would publish all tables."""
    patterns = [TablePattern(key, may_be_regex=True) for key in config.events.tables or ()]
    if not patterns or not all(pattern.is_plain for pattern in patterns):
        return None
    outbox = None if config.events.outbox is None else config.events.outbox.name
    return [table for table in tables.all if table == outbox or any(each.matches(*table) for each in patterns)]


async def check_publication(
    control: Control, config: Config, publication: Publication, tables: Tables, *, role: str, has_slot: bool
) -> list[Finding]:
    """Whether the publication exists or can be created, what it publishes, and what the configuration selects."""
    found = [*await _existence(control, config, publication, tables, role=role, has_slot=has_slot)]
    found += _missing_tables(config, tables)
    if publication.exists:
        coverage = Coverage(config.events)
        found += _coverage(config, coverage, publication, tables)
        found += _actions(config, coverage, publication)
        found += _outbox(config, publication, tables)
        found += _limits(publication)
    found += await _identities(control, config, publication)
    return found


async def _existence(
    control: Control, config: Config, publication: Publication, tables: Tables, *, role: str, has_slot: bool
) -> list[Finding]:
    name = config.postgres.publication
    check, why = "publication.exists", "it tells PostgreSQL which tables to send"
    if publication.exists:
        return [ok(check, f"publication {name} has {counted(len(publication.tables), 'table')}", why)]
    wanted = selected(config, tables)
    if wanted is not None and not wanted:
        what = f"publication {name} does not exist, and none of the tables does that it would be created for"
        return [bad("error", check, what, why)]
    statement = f"{create_statement(name, wanted, tables)};"
    if has_slot:
        return [
            bad(
                "error",
                check,
                f"publication {name} does not exist, and the slot {config.postgres.slot} does",
                "a slot reads the catalogue as it was where it stands in the WAL: changes from before the publication "
                "was created cannot be read. Where there are any, ditto run stops: stop every Ditto, drop the slot "
                f"(ditto slot drop), {RELOAD}",
                psql=statement,
            )
        ]
    if not config.postgres.create:
        what = f"publication {name} does not exist, and postgres.create is false"
        return [bad("error", check, what, why, psql=statement)]
    refusal = await check_may_create(control, name, role, wanted, statement=statement)
    if refusal is not None:
        return [refusal]
    return [ok(check, f"publication {name} will be created by ditto run", why)]


def _missing_tables(config: Config, tables: Tables) -> list[Finding]:
    if not config.events.selection and not config.events.topics:
        return []
    check, why = "tables.exist", "what the configuration names and nobody writes to is mostly a misspelt name"
    names = [f"{schema}.{name}" for schema, name in tables.all]
    found = []
    for key, actions in (config.events.selection or {}).items():
        pattern = TablePattern(key, may_be_regex=True)
        if any(pattern.matches(*table) for table in tables.all):
            continue
        known = names if pattern.schema is not None else [name for _, name in tables.all]
        near = difflib.get_close_matches(key, known, n=1)
        fix = _renamed(key, near[0], actions) if near else None
        unfit = next((table for table in tables.unfit if pattern.is_plain and pattern.matches(*table)), None)
        if unfit is not None:
            what = f"events.tables names {'.'.join(unfit)}, which is {tables.unfit[unfit]}"
            found.append(bad("error", check, what, "PostgreSQL sends no changes of it"))
        elif pattern.is_plain:
            what = f"events.tables names {key}, and there is no such table"
            found.append(bad("error", check, what, why, configuration=fix))
        else:
            found.append(bad("warning", check, f"events.tables has {key}, which no table matches", why))
    topics = unmatched_keys(Events(topics=config.events.topics), tables.all)
    found += [bad("warning", check, f"{place}: no table matches the key", why) for place in topics]
    return found or [ok(check, "every table that events.tables names exists", why)]


def _renamed(key: str, name: str, actions: Sequence[str]) -> str:
    """The entry under another name; JSON is YAML, and keeps what is in a name from being read as something else."""
    entry = json.dumps({"tables": {glob.escape(name): list(actions)}}, ensure_ascii=False)
    return f"events: {entry}   # in place of {json.dumps(key, ensure_ascii=False)}"


def _coverage(config: Config, coverage: Coverage, publication: Publication, tables: Tables) -> list[Finding]:
    check, why = "publication.tables", "the changes of a table that is not in the publication are never sent"
    if not publication.tables and not publication.is_open:
        wanted = selected(config, tables) or [table for table in tables.all if table not in tables.ancestors]
        statement = (
            f"ALTER PUBLICATION {identifier(publication.name)} ADD TABLE {', '.join(identifier(*t) for t in wanted)};"
        )
        what = f"publication {publication.name} has no tables: nothing is ever sent"
        return [bad("error", check, what, why, psql=statement if 0 < len(wanted) <= _SHOWN else None)]
    if config.events.tables is None:
        names = {*publication.tables, *publication.members}
        count = sum(names.isdisjoint({table, *tables.ancestors.get(table, ())}) for table in tables.plain)
        many = counted(len(publication.tables), "table")
        what = f"published: {many}, not published: {count:,}; events.tables is not set"
        return [ok(check, what, why)]
    found = [
        bad(
            "error",
            check,
            f"events.tables {shortfall.what}",
            f"{why}; {shortfall.advice}",
            psql="\n".join(shortfall.statements),
        )
        for shortfall in coverage.shortfalls(publication, tables)
    ]
    count = sum(coverage.selects(table) for table in tables.all)
    return found or [ok(check, f"published: the {counted(count, 'table')} that events.tables selects", why)]


def _actions(config: Config, coverage: Coverage, publication: Publication) -> list[Finding]:
    check, why = "publication.actions", "actions that the publication leaves out are never sent"
    missing = coverage.missing_actions(publication)
    if not missing:
        return [ok(check, f"it publishes {', '.join(sorted(publication.actions))}", why)]
    # ditto run stops with this error where tables are named one by one.
    is_fatal = any(TablePattern(key, may_be_regex=True).is_plain for key in config.events.tables or ())
    return [
        bad(
            "error" if is_fatal else "warning",
            check,
            f"events.tables {each.what}",
            why,
            psql="\n".join(each.statements),
        )
        for each in missing
    ]


def _outbox(config: Config, publication: Publication, tables: Tables) -> list[Finding]:
    if config.events.outbox is None:
        return []
    check = "publication.outbox"
    try:
        check_outbox_published(config.events, publication, tables)
    except TableNotPublished as error:
        return [failed(check, error)]
    return [ok(check, f"it sends the inserts of {config.events.outbox.table}", "its rows become messages")]


def _limits(publication: Publication) -> list[Finding]:
    check, why = "publication.filters", "rows and columns that the publication filters out are in no stream"
    if not publication.limits:
        return [ok(check, "it has no row filters and no lists of columns", why)]
    tables = named(sorted(".".join(table) for table in publication.limits))
    return [bad("warning", check, f"row filters or lists of columns apply to {tables}", f"{why}; is that meant?")]


async def _identities(control: Control, config: Config, publication: Publication) -> list[Finding]:
    check = "tables.identity"
    why = "PostgreSQL refuses the application's own UPDATE and DELETE on such a table, once it is published"
    broken = await tables_without_identity(control, publication.tables)
    limited = await tables_limited_beyond_identity(control, publication.name) if publication.exists else {}
    if not broken and limited:
        return [_limited(check, why, limited)]
    if not broken:
        return [
            ok(
                check,
                f"with a usable replica identity: {counted(len(publication.tables), 'table')}, all that are published",
                why,
            )
        ]
    if not publication.actions & {"update", "delete"}:
        return [
            ok(check, f"without a usable one: {counted(len(broken), 'table')}, and only inserts are published", why)
        ]
    what = f"tables without a usable replica identity: {named(['.'.join(each) for each in broken])}"
    statements = [f"ALTER TABLE {identifier(*table)} REPLICA IDENTITY FULL;" for table in broken[:_SHOWN]]
    level: Literal["warning", "error"] = "warning" if config.postgres.allow_missing_identity else "error"
    return [bad(level, check, what, why, psql="\n".join(statements))]


def _limited(check: str, why: str, limited: dict[Table, bool]) -> Finding:
    """A filter needs the columns that it asks for in the identity; a list needs all columns of the identity."""
    lists = [".".join(table) for table, is_list in limited.items() if is_list]
    if lists:
        what = f"lists of columns leave out columns of the replica identity: {named(lists)}"
        return bad("error", check, what, f"{why}; ALTER PUBLICATION … SET TABLE with lists that contain them")
    what = f"row filters ask for columns that are not in the replica identity: {named(['.'.join(t) for t in limited])}"
    statements = [f"ALTER TABLE {identifier(*table)} REPLICA IDENTITY FULL;" for table in list(limited)[:_SHOWN]]
    return bad("error", check, what, why, psql="\n".join(statements))
