"""Which columns of a table events have, which of them are masked, and what that means for the table's kinds."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from msgspec import Struct

from ditto.config.events import Columns, TableRules
from ditto.decoding.column_kinds import CALL, SKIP
from ditto.decoding.messages import Relation
from ditto.errors import RuleUnfit
from ditto.routing.masks import MaskFunction, mask_function


class TableColumns(Struct, frozen=True, kw_only=True):
    """Names of columns of one table."""

    excluded: frozenset[str] = frozenset()
    masks: dict[str, MaskFunction] = {}

    @property
    def hidden(self) -> frozenset[str]:
        """Those whose values are nowhere as they are."""
        return self.excluded | self.masks.keys()

    def kinds(self, relation: Relation, kinds: bytes) -> bytes:
        """`kinds` with what these columns change."""
        return bytes(
            SKIP if column.name in self.excluded else CALL if column.name in self.masks else kind
            for column, kind in zip(relation.columns, kinds, strict=True)
        )

    def functions(self, relation: Relation) -> tuple[MaskFunction | None, ...]:
        """For `TablePlan.functions`."""
        return tuple(self.masks.get(column.name) for column in relation.columns) if self.masks else ()


EVERYTHING = TableColumns()
"""All columns, as they are."""


def choose_columns(rules: TableRules, place: str, relation: Relation) -> TableColumns:
    """What the entry at `place` says of this relation. Raises RuleUnfit for a column that it does not have."""
    given = rules.columns
    if given is None:
        return EVERYTHING
    names = [column.name for column in relation.columns]
    for part in ("include", "exclude", "mask"):
        check_columns(getattr(given, part) or (), f"{place}.columns.{part}", relation)
    return TableColumns(
        excluded=_excluded(given, names),
        masks={name: mask_function(mask) for name, mask in given.mask.items()},
    )


def _excluded(given: Columns, names: Collection[str]) -> frozenset[str]:
    if given.include is not None:
        return frozenset(names) - frozenset(given.include)
    return frozenset(given.exclude or ())


def check_columns(wanted: Collection[str], key: str, relation: Relation) -> None:
    """Raise RuleUnfit where one of them is no column of the relation."""
    names = [column.name for column in relation.columns]
    missing = next((name for name in wanted if name not in names), None)
    if missing is None:
        return
    near = get_close_matches(missing, names, n=1)
    raise RuleUnfit(
        f"{key} names the column {missing}, which table {relation.namespace}.{relation.name} does not have"
        + (f": did you mean {near[0]}?" if near else ""),
        hint=None if near else f"its published columns are {', '.join(names[:20])}{', …' if len(names) > 20 else ''}",
        key=key,
        relation=f"{relation.namespace}.{relation.name}",
    )


def check_key_is_there(columns: TableColumns, primary_key: Collection[str], place: str, relation: Relation) -> None:
    """Raise RuleUnfit where a column by which rows are told apart is left out."""
    if lost := [name for name in primary_key if name in columns.excluded]:
        raise RuleUnfit(
            f"{place}.columns leaves out {lost[0]}, a column of the key of table {relation.namespace}.{relation.name}: "
            "nobody could tell its rows apart",
            hint=f"say by {place}.key which columns tell them apart; or leave it in, and mask it",
            key=f"{place}.columns",
            relation=f"{relation.namespace}.{relation.name}",
        )
