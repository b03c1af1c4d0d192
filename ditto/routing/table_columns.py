"""Which columns of a table events have, which of them are masked, and what that means for the table's kinds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final

from msgspec import Struct

from ditto.config.events import Columns, TableRules
from ditto.decoding.column_kinds import CALL, SKIP
from ditto.decoding.messages import Relation
from ditto.errors import RuleUnfit
from ditto.routing.former_names import Former, all_names, with_new_names
from ditto.routing.masks import MaskFunction, mask_function

_SHOWN: Final = 20


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
    for mistake in find_mistakes(rules, place, relation):
        raise mistake
    given = rules.columns
    if given is None:
        return EVERYTHING
    masks = {name: mask_function(mask) for name, mask in given.mask.items()}
    masked = all_names(masks, given.former, relation)
    return TableColumns(
        excluded=_excluded(given, relation),
        masks={column: masks[name] for column, name in masked.items()},
    )


def columns_elsewhere(key: str, table: tuple[str, str], relation: Relation) -> RuleUnfit:
    """The error for a relation whose rows may come under the name of this other table, too, for which the entry is."""
    name = f"{relation.namespace}.{relation.name}"
    return RuleUnfit(
        f"events.tables.{key} chooses the columns of {'.'.join(table)}, and changes of its rows come under the name "
        f"{name}, which the publication sent when they were written",
        hint=f"give {name} an entry with the same columns; it can go when these changes are stored",
        key=f"events.tables.{key}.columns",
        relation=name,
    )


def find_mistakes(rules: TableRules, place: str, relation: Relation) -> Iterator[RuleUnfit]:
    """Every column that `columns` of the entry names, and that is not there."""
    if (given := rules.columns) is None:
        return
    named = with_new_names(relation, given.former)
    for part in ("include", "exclude", "mask"):
        key = f"{place}.columns.{part}"
        dropped = (
            f". Where it was dropped, what was written before still has its values: give {place}.columns.include with "
            f"the columns that stay, in place of {part}, until Ditto has read that"
        )
        yield from find_unknown(
            getattr(given, part) or (),
            key,
            named,
            former=former_key(place),
            dropped="" if part == "include" else dropped,
        )


def former_names(rules: TableRules) -> Former:
    """The former names that an entry has of columns."""
    return {} if rules.columns is None else rules.columns.former


def former_key(place: str) -> str:
    """The key of former names in the entry at `place`."""
    return f"{place}.columns.former"


def _excluded(given: Columns, relation: Relation) -> frozenset[str]:
    if given.include is None:
        return frozenset(all_names(given.exclude or (), given.former, relation))
    names = zip(relation.columns, with_new_names(relation, given.former).columns, strict=True)
    return frozenset(column.name for column, as_named in names if as_named.name not in given.include)


def hidden_columns(rules: TableRules | None, relation: Relation) -> frozenset[str]:
    """Those of a relation that its rules leave out or mask."""
    if rules is None or rules.columns is None:
        return frozenset()
    return frozenset(column.name for column in relation.columns if may_hide(rules.columns, [column.name]))


def may_hide(given: Columns, names: Collection[str]) -> bool:
    """Whether one of these columns is left out or masked, as far as that can be said without the relation."""
    new = {before: name for name, each in given.former.items() for before in each}
    hidden = {*(given.exclude or ()), *given.mask}
    return any(
        name in hidden
        or new.get(name) in hidden
        or (given.include is not None and name not in given.include and new.get(name) not in given.include)
        for name in names
    )


def find_unknown(
    wanted: Collection[str], key: str, relation: Relation, *, former: str, dropped: str = ""
) -> Iterator[RuleUnfit]:
    """An error for each of them that is no column of the relation, which has the names of rules.

    `former` is the key of former names, `dropped` the end of the hint: what to do where the column is gone.
    """
    names = [column.name for column in relation.columns]
    listed = f"its published columns are {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}; "
    for missing in wanted:
        if missing in names:
            continue
        near = [each for each in names if each.lower() == missing.lower()] or get_close_matches(missing, names, n=1)
        yield RuleUnfit(
            f"{key} names the column {missing}, which table {relation.namespace}.{relation.name} does not have"
            + (f": did you mean {near[0]}?" if near else ""),
            hint=f"{'' if near else listed}where it was renamed, put the new name there, and the former one into "
            f"{former}: {{NEW: [FORMER]}}{dropped}",
            key=key,
            relation=f"{relation.namespace}.{relation.name}",
        )


def find_lost_key(
    columns: TableColumns, primary_key: Collection[str], place: str, relation: Relation
) -> Iterator[RuleUnfit]:
    """An error where a column by which rows are told apart is left out."""
    if lost := [name for name in primary_key if name in columns.excluded]:
        yield RuleUnfit(
            f"{place}.columns leaves out {lost[0]}, a column of the key of table {relation.namespace}.{relation.name}: "
            "nobody could tell its rows apart",
            hint=f"say by {place}.key which columns tell them apart; or leave it in, and mask it",
            key=f"{place}.columns",
            relation=f"{relation.namespace}.{relation.name}",
        )
