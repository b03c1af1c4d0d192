"""Tables for the tests of conditions, and one call from a condition to its result."""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET, UnsetType

from ditto.decoding.messages import RuleFailed
from ditto.routing.conditions import Condition, TypedColumn, compile_condition

COLUMNS: Final = (
    TypedColumn("id", "int8", is_key=True),
    TypedColumn("status", "text"),
    TypedColumn("amount", "int4"),
    TypedColumn("price", "numeric"),
    TypedColumn("ratio", "float8"),
    TypedColumn("is_open", "bool"),
    TypedColumn("created_at", "timestamptz"),
    TypedColumn("day", "date"),
    TypedColumn("took", "interval"),
    TypedColumn("body", "bytea"),
    TypedColumn("doc", "jsonb"),
    TypedColumn("tags", "text[]"),
    TypedColumn("prices", "numeric[]"),
    TypedColumn("pairs", "public.hstore"),
    TypedColumn("mood", "public.mood"),
    TypedColumn("a name", "text"),
    TypedColumn("plain", "json"),
)
INDEX: Final = {column.name: index for index, column in enumerate(COLUMNS)}
Row = dict[str, str | None]
Text = str | UnsetType | None


def condition(text: str, *, identity: str = "f") -> Condition:
    return compile_condition(text, COLUMNS, schema="public", table="orders", identity=identity, rule="the.rule")


def texts(found: Condition, row: Row | None) -> list[str | UnsetType | None] | None:
    """The columns that the condition wants; those that the row does not have were not sent."""
    return None if row is None else [row.get(COLUMNS[index].name, UNSET) for index in found.columns]


def all_texts(row: Row | None) -> list[str | UnsetType | None] | None:
    """Those of the whole table."""
    return None if row is None else [row.get(column.name, UNSET) for column in COLUMNS]


def passes(text: str, new: Row | None = None, old: Row | None = None, *, action: str = "", identity: str = "f") -> bool:
    """The result for a change: an INSERT, an UPDATE or a DELETE by which rows are given."""
    found = condition(text, identity=identity)
    named = action or ("DELETE" if new is None else "INSERT" if old is None else "UPDATE")
    known = None if found.row_test is None else found.row_test.judge(named, all_texts(new), all_texts(old))
    try:
        result = found.test(named, texts(found, new), texts(found, old))
    except RuleFailed:
        assert known is None
        raise
    assert known in {None, result}
    return result


def agree(text: str, column: str, *values: Text) -> list[bool | None]:
    """What the compiled test knows of each of these values: the same as the function, or nothing."""
    found = condition(text)
    assert found.row_test is not None
    known = []
    for value in values:
        row: dict[str, Any] = {column: value}
        known.append(found.row_test.judge("INSERT", all_texts(row), None))
        assert known[-1] in {None, result(found, row)}, (text, value)
    return known


def result(found: Condition, row: dict[str, Any]) -> bool | str:
    """Of the function."""
    try:
        return found.test("INSERT", texts(found, row), None)
    except (RuleFailed, ValueError, ArithmeticError):  # the latter of what PostgreSQL never sends
        return "error"
