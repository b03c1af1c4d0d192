"""The rules of tables: whether each fits its table, and what it will not find there, or cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

from ditto.check.finding import Finding, bad, failed, named, ok
from ditto.config import Config, template_syntax
from ditto.config.events import TableRules
from ditto.config.table_rules import header_template, subject_template
from ditto.errors import DittoError, SubjectCollision
from ditto.hints import full_identity
from ditto.routing.former_names import with_new_names
from ditto.routing.planner import Planner
from ditto.routing.router import Router
from ditto.routing.table_columns import former_names
from ditto.sinks.choose import capabilities
from ditto.source.array_types import not_arrays
from ditto.source.published_tables import Publication, Table
from ditto.source.replica_identity import primary_key
from ditto.source.sql import Control
from ditto.source.table_relations import FoundTable, read_relations
from ditto.source.type_facts import FIRST_OWN_OID
from ditto.units import counted

_SHOWN: Final = 20
_FIRST_WITH_FILTERS: Final = 150000
_MANY_SUBJECTS: Final = 100_000
_DISTINCT: Final = """
SELECT s.schemaname::text AS schema, s.tablename::text AS table, s.attname::text AS name, s.n_distinct::float8 AS count
  FROM pg_catalog.pg_stats AS s
  JOIN ROWS FROM (pg_catalog.unnest(%s::text[]), pg_catalog.unnest(%s::text[])) AS wanted (schema, name)
    ON s.schemaname = wanted.schema AND s.tablename = wanted.name ORDER BY s.inherited"""


async def check_rules(control: Control, config: Config, publication: Publication, database: str) -> list[Finding]:
    """What `ditto run` would say of the rules at its start, and what it cannot know."""
    planner = Planner(
        config.events,
        database=database,
        primary_key=partial(primary_key, control),
        not_arrays=partial(not_arrays, control),
        route_limit=capabilities(config).route_limit,
    )
    tables = planner.ruled(publication.tables)
    if not tables:
        return []
    found: list[Finding] = []
    relations = await read_relations(control, publication.name, tables)
    for each in relations:
        try:
            mistakes: list[DittoError] = [*await planner.find_mistakes(each.relation)]
        except SubjectCollision as error:
            mistakes = [error]
        found += [failed("rules.tables", mistake) for mistake in mistakes]
    if not found:
        why = "a rule that names a column which is not there would stop ditto run"
        found.append(ok("rules.tables", f"the rules of {counted(len(relations), 'table')} fit them", why))
    router = Router(config.events, database=database)
    ruled = [
        _Ruled(each, *rules)
        for each in relations
        if (rules := router.rules(each.relation.namespace, each.relation.name)) is not None
    ]
    found += _filters(ruled, publication, control.server_version)
    found += _without_value(ruled, publication)
    found += _unsent(ruled)
    found += _unchanged(ruled)
    if config.sink == "nats":
        found += _subjects(ruled, await _distinct(control, tables))
    return found


class _Ruled:
    """A table and its rules."""

    def __init__(self, found: FoundTable, key: str, rules: TableRules) -> None:
        self.found = found
        self.rules = rules
        named = with_new_names(found.relation, former_names(rules))
        self.toasted = {
            as_named.name
            for column, as_named in zip(found.relation.columns, named.columns, strict=True)
            if column.name in found.toasted
        }
        self.table: Table = (found.relation.namespace, found.relation.name)
        self.name = ".".join(self.table)
        self.is_full = found.relation.replica_identity == "f"
        self.has_updates = rules.actions is None or "update" in rules.actions
        self.subject = [] if rules.subject is None else template_syntax.columns_of(subject_template(key, rules.subject))
        headers = [
            column
            for text in rules.headers.values()
            for column in template_syntax.columns_of(header_template(key, text))
        ]
        self.used = dict.fromkeys([*self.subject, *headers, *(rules.key or ())])


def _filters(ruled: Sequence[_Ruled], publication: Publication, version: int) -> list[Finding]:
    """Conditions that PostgreSQL can judge itself."""
    conditions = [each for each in ruled if each.rules.when is not None and each.table not in publication.limits]
    if not conditions or version < _FIRST_WITH_FILTERS:
        return []
    from ditto.routing.conditions import ConditionError, as_row_filter, columns_of  # noqa: PLC0415  brings a parser

    found = []
    for each in conditions:
        actions = [action.upper() for action in (each.rules.actions or ("insert", "update", "delete"))]
        try:
            sql = as_row_filter(
                each.rules.when or "",
                columns_of(each.found.relation),
                actions=[action for action in actions if action != "TRUNCATE"],
                drops_errors=each.rules.on_error == "drop",
                usable=_usable(each.found, publication),
            )
        except ConditionError:  # said by `rules.tables`
            continue
        if sql is not None:
            what = f"PostgreSQL can judge the condition of {each.name} itself, by the row filter WHERE ({sql})"
            why = (
                f"publication {publication.name} then does not send the other rows; of an update that filter judges "
                "both rows, and makes an INSERT or a DELETE of one that moves the row in or out"
            )
            found.append(ok("rules.filter", what, why))
    return found[:_SHOWN]


def _usable(found: FoundTable, publication: Publication) -> list[str]:
    """The columns of which a row filter may be made. With another one PostgreSQL refuses the statement, or from then on
    the application's own UPDATE and DELETE.
    """
    has_old_rows = not publication.actions.isdisjoint({"update", "delete"})
    return [
        column.name
        for column in found.relation.columns
        if column.type_oid < FIRST_OWN_OID and (column.is_key or not has_old_rows)
    ]


def _without_value(ruled: Sequence[_Ruled], publication: Publication) -> list[Finding]:
    """Conditions that end Ditto at every DELETE or TRUNCATE."""
    conditions = [each for each in ruled if each.rules.when is not None and each.rules.on_error == "stop"]
    if not conditions:
        return []
    from ditto.routing.conditions import ConditionError, actions_without_value, columns_of  # noqa: PLC0415  as above

    found = []
    for each in conditions:
        relation = each.found.relation
        try:
            without = actions_without_value(
                each.rules.when or "", columns_of(relation), identity=relation.replica_identity
            )
        except ConditionError:  # said by `rules.tables`
            continue
        selected = publication.actions if each.rules.actions is None else publication.actions & {*each.rules.actions}
        if without := [action for action in without if action.lower() in selected]:
            what = f"the condition of {each.name} has no value for {' and '.join(f'a {each}' for each in without)}"
            why = (
                "ditto run stops at the first one, as events.tables.NAME.on_error says: data is empty there. Of a "
                f"DELETE row is the old row; or begin with action == '{without[0]}' ||, or leave it out of actions"
            )
            found.append(bad("warning", "rules.condition", what, why))
    return found[:_SHOWN]


def _unsent(ruled: Sequence[_Ruled]) -> list[Finding]:
    check = "rules.unsent"
    why = (
        "an UPDATE that leaves a large value alone, which PostgreSQL keeps apart (TOAST), does not carry it: then "
        "events.tables.NAME.on_error decides. Values of less than 2 kB in rows of less than 2 kB always come"
    )
    found = []
    for each in ruled:
        columns = [column for column in each.used if column in each.toasted]
        if columns and each.has_updates and not each.is_full and each.rules.on_error == "stop":
            what = f"{each.name} may not send {named(columns)}, which a subject, a header or a key needs"
            found.append(bad("warning", check, what, why, psql=f"{full_identity(*each.table)};"))
    return found[:_SHOWN]


def _unchanged(ruled: Sequence[_Ruled]) -> list[Finding]:
    check = "rules.skip_unchanged"
    why = "whether an UPDATE changes anything is seen by comparing it with the old row: without that it always passes"
    tables = [each.table for each in ruled if each.rules.skip_unchanged and not each.is_full]
    if not tables:
        return []
    what = f"skip_unchanged has no effect without the whole old row: {named(['.'.join(each) for each in tables])}"
    statements = [f"{full_identity(*table)};" for table in tables[:_SHOWN]]
    return [bad("warning", check, what, why, psql="\n".join(statements))]


async def _distinct(control: Control, tables: Sequence[Table]) -> dict[tuple[str, str, str], float]:
    """By schema, table and column, pg_stats' n_distinct; nothing where the table was never analyzed."""
    arguments = [[schema for schema, _ in tables], [name for _, name in tables]]
    rows = await control.fetch(_DISTINCT, arguments, doing="look up how many values columns have")
    return {(row["schema"], row["table"], row["name"]): row["count"] for row in rows}


def subject_count(estimated_rows: float, counts: Sequence[float | None]) -> float | None:
    """About how many subjects columns with these n_distinct give a table; None where nothing is known. Pure.

    https://www.postgresql.org/docs/current/view-pg-stats.html: below 0 it is a fraction of the rows.
    """
    if estimated_rows < 0:
        return None
    product = 1.0
    for count in counts:
        if count is None:
            return None
        product *= max(1.0, count if count >= 0 else -count * estimated_rows)
    return min(product, max(1.0, estimated_rows))


def _subjects(ruled: Sequence[_Ruled], distinct: dict[tuple[str, str, str], float]) -> list[Finding]:
    check = "rules.subjects"
    why = (
        "nats-server keeps every subject of a stream in memory, some 200 bytes each, and looks for the last message of "
        "one among all of them"
    )
    found, known = [], 0
    for each in ruled:
        if not each.subject:
            continue
        counts = [distinct.get((*each.table, column)) for column in each.subject]
        count = subject_count(each.found.estimated_rows, counts)
        if count is None:
            what = f"how many subjects the rows of {each.name} give is not known before it is analyzed"
            found.append(ok(check, what, why))
        elif count > _MANY_SUBJECTS:
            what = f"the rows of {each.name} give about {int(count):,} subjects, by {named(each.subject)}"
            advice = f"{why}; a header or a key costs nothing"
            found.append(bad("warning", check, what, advice))
        else:
            known += int(count)
    if not found and any(each.subject for each in ruled):
        return [ok(check, f"the rules give about {counted(known, 'subject')}", why)]
    return found[:_SHOWN]
