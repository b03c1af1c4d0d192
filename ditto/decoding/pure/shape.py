"""What a plan does with rows besides converting them, in plain Python: the same as `_shape.pyx`.

A rule decides about a change before any of its values is converted; some columns are left out, and functions make the
values of others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET

from ditto.decoding.column_kinds import CALL, CHAR, CHAR_OIDS, JSON, SKIP, TEXT
from ditto.decoding.pure.cells import UNCHANGED, Cell, ChangedRow
from ditto.decoding.pure.column_values import convert, is_json_null
from ditto.decoding.pure.rows import Rows
from ditto.errors import DecodeError

if TYPE_CHECKING:
    from ditto.routing.table_plans import TablePlan, Texts

Routing = tuple[bytes, bytes, bytes | None]
"""Route, header lines and key of a change."""

_DELETE: Final = "D"


class Shape:
    """What makes the rows of one relation, where its plan has a rule, a function or columns that are left out."""

    __slots__ = ("_columns", "_functions", "_keys", "_kinds", "_names", "_rule", "_text_kinds")

    def __init__(self, plan: TablePlan) -> None:
        columns = plan.relation.columns
        self._rule = plan.rule
        self._columns = () if plan.rule is None else plan.rule.columns
        self._names = [column.name for column in columns]
        self._keys = [column.is_key for column in columns]
        self._kinds = plan.kinds
        self._text_kinds = [CHAR if column.type_oid in CHAR_OIDS else TEXT for column in columns]
        self._functions = plan.functions or (None,) * len(columns)
        check_shape(plan)

    def route(self, action: str, route: bytes, change: ChangedRow | None) -> Routing | None:
        """Where a change goes; None where the rule drops it. A Truncate has no rows."""
        new = old = None
        if change is not None:
            is_old_whole = change.is_old_whole
            if change.tag != _DELETE:
                new = self._new_cells(change)
            if change.old is not None:
                old = [
                    cell if is_old_whole or is_key else UNCHANGED
                    for cell, is_key in zip(change.old, self._keys, strict=True)
                ]
                if self._skips_unchanged and new is not None and is_old_whole and self._is_same(change):
                    return None
        return self.apply(action, route, new, old)

    def apply(
        self, action: str, route: bytes, new: Sequence[Cell] | None, old: Sequence[Cell] | None
    ) -> Routing | None:
        """What the rule says of these rows."""
        if self._rule is None:
            return route, b"", None
        return self._rule.apply(action, self._texts(new), self._texts(old))

    @property
    def _skips_unchanged(self) -> bool:
        return self._rule is not None and self._rule.skips_unchanged

    def _is_same(self, change: ChangedRow) -> bool:
        """Whether no column of the event differs from the old row, which is whole."""
        rows = zip(self._kinds, change.new, change.old or (), strict=True)
        return all(kind == SKIP or new in {UNCHANGED, old} for kind, new, old in rows)

    def _new_cells(self, change: ChangedRow) -> list[Cell]:
        """With the values that only the old row has."""
        cells = list(change.new)
        if change.old is not None:
            for index, cell in enumerate(cells):
                if cell is UNCHANGED and (change.is_old_whole or self._keys[index]):
                    cells[index] = change.old[index]
        return cells

    def _texts(self, cells: Sequence[Cell] | None) -> Texts | None:
        """Of the columns that the rule reads."""
        if cells is None:
            return None
        return [
            UNSET if (cell := cells[column]) is UNCHANGED else None if cell is None else self._text(cell, column)
            for column in self._columns
        ]

    def _text(self, cell: bytes, column: int) -> str:
        return str(convert(cell, self._text_kinds[column]))

    def rows(self, change: ChangedRow) -> Rows:
        """What the event says of a change's rows."""
        data: dict[str, Any] = {}
        old: dict[str, Any] = {}
        unchanged: list[str] = []
        json_null: list[str] = []
        json_null_old: list[str] = []
        if change.old is not None:
            for index, cell in enumerate(change.old):
                if (change.is_old_whole or self._keys[index]) and cell is not UNCHANGED:
                    self._put(old, json_null_old, index, cell)
        if change.tag != _DELETE:
            for index, cell in enumerate(self._new_cells(change)):
                if cell is not UNCHANGED:
                    self._put(data, json_null, index, cell)
                elif self._kinds[index] != SKIP:
                    unchanged.append(self._names[index])
        return Rows(data, old, unchanged, json_null, json_null_old)

    def read_row(self, cells: Sequence[Cell]) -> tuple[dict[str, Any], list[str]]:
        """What the event says of a row that a snapshot read, and its columns that are JSON's null."""
        data: dict[str, Any] = {}
        json_null: list[str] = []
        for index, cell in enumerate(cells):
            if cell is UNCHANGED:
                raise DecodeError("a row that lacks a value")
            self._put(data, json_null, index, cell)
        return data, json_null

    def _put(self, row: dict[str, Any], json_null: list[str], index: int, cell: bytes | None) -> None:
        kind, name = self._kinds[index], self._names[index]
        function = self._functions[index]
        if kind == SKIP:
            return
        if kind == CALL and function is not None:
            row[name] = function(None if cell is None else self._text(cell, index))
            return
        row[name] = None if cell is None else convert(cell, kind)
        if kind == JSON and cell is not None and is_json_null(cell):
            json_null.append(name)

    def hides(self, columns: Sequence[int]) -> bool:
        """Whether one of these columns is no part of events, or not as it is."""
        return any(self._kinds[column] in {SKIP, CALL} for column in columns)


def has_shape(plan: TablePlan) -> bool:
    """Whether a plan does more than filtering by action and converting every column."""
    return plan.rule is not None or SKIP in plan.kinds or CALL in plan.kinds


def check_shape(plan: TablePlan) -> None:
    """Raise ValueError where a plan does not fit its relation."""
    count = len(plan.relation.columns)
    if plan.functions and len(plan.functions) != count:
        raise ValueError(f"a plan of {len(plan.functions)} functions where the relation has {count} columns")
    for index, kind in enumerate(plan.kinds):
        if kind == CALL and (not plan.functions or plan.functions[index] is None):
            raise ValueError(f"a column of kind CALL without a function: {plan.relation.columns[index].name}")
    if plan.rule is not None and not all(0 <= column < count for column in plan.rule.columns):
        raise ValueError(f"a rule that reads other columns than the {count} of the relation")
