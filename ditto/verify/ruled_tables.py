"""Tables whose events are not as their rows: columns are left out or masked, and some changes have no events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from ditto.config.events import TableRules
from ditto.decoding.messages import Relation, RuleFailed
from ditto.routing.former_names import with_new_names
from ditto.routing.masks import is_one_to_one
from ditto.routing.table_columns import TableColumns, choose_columns, former_names
from ditto.source.table_relations import read_relations
from ditto.verify.canonical_values import Column, Value
from ditto.verify.inverse import input_text

if TYPE_CHECKING:
    import msgspec

    from ditto.config import Config, Types
    from ditto.routing.masks import MaskFunction
    from ditto.routing.router import Router
    from ditto.routing.table_plans import Texts
    from ditto.source.sql import Control
    from ditto.verify.catalogue import Publication, Table, TableName

_DROPS: Final = "on_error: drop may have dropped changes of it"
_WHEN: Final = "its condition (when) decides which of its changes are events: the others cannot be told from lost ones"
PARTLY: Final = (
    "its condition (when) decides which of its changes are events: only rows that fulfil it are compared, and whether "
    "others should be in the stream cannot be told"
)
_KEY: Final = "its key is left out or masked, and its old rows do not come whole: its rows cannot be told apart"


@dataclass(frozen=True, kw_only=True)
class MaskedColumn(Column):
    """A column of which events have what the mask makes of PostgreSQL's text."""

    mask: MaskFunction

    def event_reader(self, types: Types) -> Callable[[msgspec.Raw, bool], Value]:
        """Reads a masked value."""
        del types
        return lambda value, _is_json_null: input_text(value)

    @cached_property
    def text_reader(self) -> Callable[[str], Value]:
        """Masks a value."""
        return self.mask

    @property
    def of_null(self) -> Value:
        """What events have for NULL."""
        return self.mask(None)


@dataclass(frozen=True, kw_only=True)
class RowCondition:
    """A condition (`when`) that a row as it is fulfils or not, whichever change has made it so.

    A row that fulfils it was stored as it is: its last change is an event.
    """

    columns: tuple[str, ...]
    """Those that it reads."""
    test: Callable[[str, Texts | None, Texts | None], bool]
    """See `Condition.test`."""

    def is_fulfilled(self, texts: Texts) -> bool:
        """`texts` are those of `columns`, in their order."""
        try:
            return all(self.test(action, texts, None) for action in ("INSERT", "UPDATE", "READ"))
        except RuleFailed:
            return False


@dataclass(kw_only=True)
class RuledTables:
    """The published tables whose entry of `events.tables` has rules."""

    columns: dict[TableName, TableColumns] = field(default_factory=dict)
    left_out: dict[TableName, str] = field(default_factory=dict)
    """Those that cannot be compared, and why."""
    keyless: set[TableName] = field(default_factory=set)
    """Those whose rows are told apart by all their columns, although they have a key."""
    conditions: dict[TableName, RowCondition] = field(default_factory=dict)
    """Those of which only rows that fulfil the condition are compared."""
    unsteady: set[TableName] = field(default_factory=set)
    """Those of which a row may have been written after its last event."""

    def of(self, table: Table) -> Table:
        """The table as its events show it."""
        chosen = self.columns.get(table.full_name)
        if chosen is None:
            return table
        return replace(
            table,
            columns={
                name: _masked(column, mask) if (mask := chosen.masks.get(name)) is not None else column
                for name, column in table.columns.items()
                if name not in chosen.excluded
            },
        )


async def ruled_tables(
    config: Config,
    control: Control,
    router: Router,
    publication: Publication,
    keys: Mapping[TableName, Sequence[str]],
) -> RuledTables:
    """`keys` are the columns that tell rows apart. Raises RuleUnfit where a rule does not fit its table."""
    result = RuledTables()
    names = [name for name in publication.tables if (entry := router.rules(*name)) is not None and entry[1].shapes]
    for found in await read_relations(control, config.postgres.publication, names):
        name = (found.relation.namespace, found.relation.name)
        key, rules = router.rules(*name) or ("", TableRules())
        result.columns[name] = choose_columns(rules, f"events.tables.{key}", found.relation)
        if rules.skip_unchanged:
            result.unsteady.add(name)
        condition = None if rules.when is None else _row_condition(rules, found.relation)
        if rules.when is not None and condition is None:
            result.left_out[name] = _WHEN
        elif _may_drop(rules):
            result.left_out[name] = _DROPS
        elif _hides(rules, result.columns[name], keys.get(name, ())):
            if found.relation.replica_identity == "f":
                result.keyless.add(name)
            else:
                result.left_out[name] = _KEY
        if condition is not None and name not in result.left_out:
            result.conditions[name] = condition
    return result


def _row_condition(rules: TableRules, relation: Relation) -> RowCondition | None:
    """None where more decides than the row, so that one that fulfils it need not be stored as it is."""
    from ditto.routing.conditions import ConditionError, columns_of, compile_condition  # noqa: PLC0415  brings a parser

    if rules.skip_unchanged or rules.on_error == "drop":
        return None
    named = with_new_names(relation, former_names(rules))
    try:
        condition = compile_condition(
            rules.when or "",
            columns_of(named),
            schema=relation.namespace,
            table=relation.name,
            identity=relation.replica_identity,
        )
    except ConditionError:
        return None
    if not condition.is_of_rows:
        return None
    return RowCondition(columns=tuple(relation.columns[at].name for at in condition.columns), test=condition.test)


def _may_drop(rules: TableRules) -> bool:
    has_templates = rules.subject is not None or bool(rules.headers) or rules.key is not None
    return rules.on_error == "drop" and has_templates


def _hides(rules: TableRules, columns: TableColumns, key: Sequence[str]) -> bool:
    """Whether two rows may have the same key in events."""
    masks = {} if rules.columns is None else rules.columns.mask
    told = {name for name, mask in masks.items() if is_one_to_one(mask)}
    return not (columns.hidden - told).isdisjoint(key)


def _masked(column: Column, mask: MaskFunction) -> MaskedColumn:
    return MaskedColumn(
        name=column.name,
        schema=column.schema,
        type=column.type,
        is_array=column.is_array,
        delimiter=column.delimiter,
        mask=mask,
    )
