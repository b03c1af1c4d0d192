"""Plans a relation when its Relation message comes: routes, kinds of columns, key and description.

All the questions that a table raises are asked here, once, while nothing of it has been decoded yet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Set

from ditto.config import Events, Types
from ditto.config.events import TableRules
from ditto.decoding.column_kinds import Kinds
from ditto.decoding.messages import Relation
from ditto.errors import RuleUnfit
from ditto.routing.message_rule import check_covering, message_subjects
from ditto.routing.outbox import find_outbox_mistakes, plan_outbox
from ditto.routing.patterns import is_plain
from ditto.routing.route_limit import RouteLimit
from ditto.routing.router import Router, description_subjects
from ditto.routing.rules import RuleMaker
from ditto.routing.table_columns import (
    EVERYTHING,
    TableColumns,
    choose_columns,
    columns_elsewhere,
    find_lost_key,
    find_mistakes,
    hidden_columns,
    may_hide,
)
from ditto.routing.table_descriptions import describe, schema_version
from ditto.routing.table_formats import TablesFormats, merged
from ditto.routing.table_plans import Routes, Rule, TablePlan
from ditto.routing.templates import encode_token
from ditto.routing.type_settings import kinds
from ditto.routing.unfit_plans import unfit_plan

Table = tuple[str, str]
"""Schema and name."""


class Planner:
    """Plans the relations of one session, by the configuration and by what it asks for.

    `primary_key` has to look up the columns of a table's key by the table's OID, and `not_arrays` the types that only
    look like arrays (see `Kinds`). Without `formats` every table is planned as if it had Ditto's own. `has_keys`: where
    the rules of a table name no key for its messages, its primary key is it (`Capabilities.has_keys`). `route_limit` is
    the sink's, too.
    """

    def __init__(
        self,
        config: Events,
        *,
        database: str,
        primary_key: Callable[[int], Awaitable[Collection[str]]],
        not_arrays: Callable[[], Awaitable[Set[tuple[str, str]]]],
        relatives: Callable[[int], Awaitable[Collection[Table]]] | None = None,
        formats: TablesFormats | None = None,
        has_keys: bool = False,
        route_limit: RouteLimit | None = None,
    ) -> None:
        self._config = config
        self._route_limit = route_limit
        self._has_keys = has_keys and config.group is None  # the events of a group have different keys
        self._database = database
        self._router = Router(config, database=database)
        self._find_primary_key = primary_key
        self._find_not_arrays = not_arrays
        is_choosing = any(rules.columns is not None for rules in config.rules.values())
        self._find_relatives = relatives if is_choosing else None
        self._formats = formats
        self._kinds = {config.types: kinds(config.types)}
        self._looked_up: set[tuple[str, str]] = set()
        self._not_arrays: set[tuple[str, str]] = set()
        self._descriptions = description_subjects(config.prefix)
        self._is_keyed = config.schemas or "primary_key" in config.metadata or config.oversize != "stop"
        self._columns: dict[Table, frozenset[str]] = {}
        """Of the tables that were planned, where their rules choose columns."""
        self.primary_keys: dict[Table, tuple[str, ...]] = {}
        """Of the tables that were planned, where anything asks for it."""
        self._messages = message_subjects(config, database=database)
        if (covering := self._router.outbox_covering) is not None:
            check_covering(covering, "events.outbox.subject", config, database=database)
        self._is_versioned = config.schemas or "schema_version" in config.metadata

    @property
    def group_route(self) -> bytes | None:
        """Where all events go in groups; None where each is a message."""
        return self._router.group_route

    @property
    def description_wildcard(self) -> str | None:
        """The one that covers the descriptions' routes; None where none are published."""
        return f"{self._descriptions}>" if self._config.schemas else None

    def routes_of(self, tables: Iterable[Table], *, known: Set[str] = frozenset()) -> set[str]:
        """The routes that the sink has to take if these tables are published, with those that are `known` already.

        Where there are many, one may stand for all that the template makes. Raises SubjectCollision and RuleUnfit.
        """
        found = set(known).union(self._messages, *(self._router.routes(*table).names for table in tables))
        if self.description_wildcard is not None:
            found.add(self.description_wildcard)
        return self._router.folded(found)

    def routes_ahead(self, tables: Iterable[Table]) -> set[str]:
        """The routes of tables of which no change has come yet, and none may ever come: no collision is kept of them.

        Raises SubjectCollision where they collide with one another.
        """
        router = Router(self._config, database=self._database)
        return set[str]().union(*(router.routes(*table).names for table in tables))

    def selected(self, tables: Iterable[Table]) -> list[Table]:
        """Those of which a snapshot stores rows. Raises SubjectCollision where they collide with one another."""
        router = Router(self._config, database=self._database)
        return [table for table in tables if router.routes(*table).read is not None]

    def ruled(self, tables: Iterable[Table]) -> list[Table]:
        """Those of which the configuration says more than which actions pass."""
        outbox = None if self._config.outbox is None else self._config.outbox.name
        return [table for table in tables if table == outbox or self._has_rules(table)]

    def _has_rules(self, table: Table) -> bool:
        found = self._router.rules(*table)
        return found is not None and found[1].shapes

    def hides(self, table: Table, names: Collection[str]) -> bool:
        """Whether events leave out or mask one of these columns, by the name that it has or had."""
        found = self._router.rules(*table)
        if found is None or found[1].columns is None:
            return False
        # One that is gone may have got the name of one that is hidden.
        return may_hide(found[1].columns, names) or not self._columns.get(table, frozenset(names)).issuperset(names)

    def hidden(self, relation: Relation) -> frozenset[str]:
        """The columns that events leave out or mask."""
        return hidden_columns(self._rules(relation), relation)

    async def plan(self, relation: Relation) -> TablePlan:
        """The plan of a relation; the sink may not take its routes yet. Raises SubjectCollision and RuleUnfit.

        A Relation message that comes again is planned anew: the table's primary key may have changed.
        """
        routes = self._router.routes(relation.namespace, relation.name)
        if all(route is None for route in routes):  # no value is ever converted
            return TablePlan(relation=relation, routes=routes, kinds=bytes(len(relation.columns)))
        found = await self._find_kinds(relation, self._config.types)
        kinds = _kinds_of(relation, found)
        outbox = self._config.outbox
        if outbox is not None and outbox.name == (relation.namespace, relation.name):
            return plan_outbox(
                self._config,
                outbox,
                relation,
                database=self._database,
                kinds=kinds,
                routes=routes,
                limit=self._route_limit,
            )
        await self._check_relatives(relation)
        columns, rule = await self._apply_rules(relation, found, kinds, routes)
        functions, layout = columns.functions(relation), None
        if self._formats is not None:
            rules = self._rules(relation)
            kinds = _kinds_of(relation, await self._find_kinds(relation, self._formats.types(rules)))
            layout = await self._formats.layout(relation, kinds, columns, rules)
        if layout is not None:
            kinds, functions = layout.kinds, merged(functions, layout.functions)
        primary_key = await self._primary_key(relation) if self._is_keyed else None
        if primary_key is not None:
            primary_key = tuple(name for name in primary_key if name not in columns.excluded)
            self.primary_keys[relation.namespace, relation.name] = primary_key
        version = schema_version(relation, found, columns) if self._is_versioned else None
        description = None
        if self._config.schemas and version is not None and primary_key is not None:
            route = f"{self._descriptions}{encode_token(relation.namespace)}.{encode_token(relation.name)}".encode()
            description = describe(relation, found, columns, route=route, version=version, primary_key=primary_key)
        return TablePlan(
            relation=relation,
            routes=routes,
            kinds=columns.kinds(relation, kinds),
            functions=functions,
            primary_key=primary_key,
            schema_version=version,
            description=description,
            rule=rule,
            layout=layout,
        )

    def unfit(self, relation: Relation, error: RuleUnfit) -> TablePlan:
        """The plan of a relation for which `plan` has raised this: its changes that are stored can be skipped."""
        return unfit_plan(relation, self._router.routes(relation.namespace, relation.name), error)

    def _rules(self, relation: Relation) -> TableRules | None:
        found = self._router.rules(relation.namespace, relation.name)
        return None if found is None else found[1]

    async def _apply_rules(
        self, relation: Relation, types: Kinds, kinds: bytes, routes: Routes
    ) -> tuple[TableColumns, Rule | None]:
        """What the table's entry of `events.tables` says of its columns and its changes. Raises RuleUnfit."""
        found = self._router.rules(relation.namespace, relation.name)
        if found is None and not self._has_keys:
            return EVERYTHING, None
        key, rules = found or (relation.name, TableRules())
        columns = EVERYTHING if found is None else choose_columns(rules, f"events.tables.{key}", relation)
        if rules.columns is not None:
            self._columns[relation.namespace, relation.name] = frozenset(each.name for each in relation.columns)
        for mistake in await self._find_lost_key(key, rules, columns, relation):
            raise mistake
        default_key = await self._primary_key(relation) if self._has_keys and rules.key is None else ()
        maker = self._maker(key, rules, columns, relation, types, kinds, routes, default_key)
        return columns, maker.make() if maker.is_needed else None

    async def _check_relatives(self, relation: Relation) -> None:
        """Raises RuleUnfit where events of the same rows would hide other columns, had they come under another name.

        The name is that of the time at which a change was written: the publication may have sent others since. An entry
        that names this table is meant so, beside globs that select others as well.
        """
        if self._find_relatives is None:
            return
        own = self._router.rules(relation.namespace, relation.name)
        columns, is_named = (None, False) if own is None else (own[1].columns, is_plain(own[0]))
        for table in await self._find_relatives(relation.oid):
            found = self._router.rules(*table)
            if found is None or (is_named and not is_plain(found[0])):
                continue
            if found[1].columns not in (None, columns):
                raise columns_elsewhere(found[0], table, relation)

    async def _find_lost_key(
        self, key: str, rules: TableRules, columns: TableColumns, relation: Relation
    ) -> list[RuleUnfit]:
        if not columns.excluded or rules.key is not None:
            return []
        return list(find_lost_key(columns, await self._primary_key(relation), f"events.tables.{key}", relation))

    def _maker(
        self,
        key: str,
        rules: TableRules,
        columns: TableColumns,
        relation: Relation,
        types: Kinds,
        kinds: bytes,
        routes: Routes,
        default_key: tuple[str, ...] = (),
    ) -> RuleMaker:
        return RuleMaker(
            rules,
            key=key,
            relation=relation,
            columns=columns,
            kinds=kinds,
            routes=routes,
            names=self._router.names(relation.namespace, relation.name),
            type_names=types,
            default_key=default_key,
            route_limit=self._route_limit,
        )

    async def find_mistakes(self, relation: Relation) -> list[RuleUnfit]:
        """All that `plan` could raise of this relation; it raises the first. Raises SubjectCollision."""
        try:
            routes = self._router.routes(relation.namespace, relation.name)
        except RuleUnfit as error:
            return [error]
        if all(route is None for route in routes):
            return []
        outbox = self._config.outbox
        if outbox is not None and outbox.name == (relation.namespace, relation.name):
            return list(find_outbox_mistakes(self._config, outbox, relation))
        found = self._router.rules(relation.namespace, relation.name)
        if found is None:
            return []
        key, rules = found
        mistakes = list(find_mistakes(rules, f"events.tables.{key}", relation))
        columns = EVERYTHING
        if not mistakes:
            columns = choose_columns(rules, f"events.tables.{key}", relation)
            mistakes += await self._find_lost_key(key, rules, columns, relation)
        types = await self._find_kinds(relation, self._config.types)
        maker = self._maker(key, rules, columns, relation, types, _kinds_of(relation, types), routes)
        return [*mistakes, *maker.find_mistakes()]

    def forget(self, tables: Collection[Table]) -> None:
        """These have been dropped: another table may have their routes."""
        self._router.forget(tables)

    async def _find_kinds(self, relation: Relation, types: Types) -> Kinds:
        """The kinds of types by these options. Those that only look like arrays are looked up when one comes.

        A type that has come before is not looked up again: one that has been dropped since stays what it was.
        """
        look_alike = {
            (column.type_namespace, column.type_name) for column in relation.columns if column.type_name.startswith("_")
        }
        if not look_alike <= self._looked_up:
            self._not_arrays |= await self._find_not_arrays()
            self._looked_up |= look_alike
            self._kinds = {}
        if types not in self._kinds:
            self._kinds[types] = kinds(types, not_arrays=self._not_arrays)
        return self._kinds[types]

    async def _primary_key(self, relation: Relation) -> tuple[str, ...]:
        """The columns of the replica identity where these are a key; the catalogue knows it otherwise.

        The catalogue's is the key as it is now, which is of no use where the relation did not have its columns yet.
        """
        if relation.replica_identity in "di":
            return tuple(column.name for column in relation.columns if column.is_key)
        found = await self._find_primary_key(relation.oid)
        return tuple(found) if {column.name for column in relation.columns}.issuperset(found) else ()


def _kinds_of(relation: Relation, kinds: Kinds) -> bytes:
    return bytes(kinds.find(column.type_oid, column.type_namespace, column.type_name) for column in relation.columns)
