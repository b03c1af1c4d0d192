"""The condition of a partial snapshot: parsed, checked, and written anew from its tree.

Anyone who may write a logical message can ask for a snapshot, and its condition runs as Ditto's role. So only what
computes with a row's own values passes: what runs is not the text that was given, but what the tree says, and functions
and operators are found in pg_catalog alone. No cast of anybody's own runs either: columns are of built-in types, or of
an enum, which is compared as text.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

import sqlglot
from psycopg import AsyncConnection, DataError
from psycopg.rows import TupleRow
from sqlglot import exp

from ditto.errors import SnapshotRefused, SourceError
from ditto.source.command_errors import Answer
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.sql import QUERY_TIMEOUT_S, Control

_DIALECT: Final = "postgres"
_LONGEST: Final = 10_000
_MOST_STEPS: Final = 20_000
"""Of the parser, about a second; the longest condition takes half. Each level of brackets may double them."""
_PASSING: Final = frozenset(
    {exp.Column, exp.Identifier, exp.Literal, exp.Boolean, exp.Null, exp.Paren}
    | {exp.And, exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.NullSafeEQ, exp.NullSafeNEQ}
    | {exp.In, exp.Between, exp.Like, exp.ILike, exp.Escape, exp.Is}
    | {exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Mod, exp.Neg}
    | {exp.Cast, exp.DataType, exp.DataTypeParam, exp.Interval, exp.Var}
    | {exp.Lower, exp.Upper, exp.Length, exp.Coalesce, exp.Abs, exp.CurrentTimestamp, exp.TimestampTrunc}
)
_KIND: Final = exp.DataType.Type
_TYPES: Final = frozenset(
    {_KIND.SMALLINT, _KIND.INT, _KIND.BIGINT, _KIND.DECIMAL, _KIND.FLOAT, _KIND.DOUBLE, _KIND.BOOLEAN}
    | {_KIND.TEXT, _KIND.VARCHAR, _KIND.CHAR, _KIND.BPCHAR, _KIND.UUID, _KIND.DATE, _KIND.TIME, _KIND.TIMETZ}
    | {_KIND.TIMESTAMP, _KIND.TIMESTAMPTZ, _KIND.INTERVAL}
)
_UNITS: Final = frozenset(
    {"MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR", "DECADE"}
    | {"CENTURY", "MILLENNIUM"}
)
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+([eE][+-]?[0-9]+)?")
_WHAT_PASSES: Final = (
    "a condition consists of columns, literals, comparisons, AND, OR, NOT, IN (list), BETWEEN, LIKE, ILIKE, IS NULL, "
    "IS TRUE, arithmetic, casts to built-in types, and lower, upper, length, coalesce, abs, now and date_trunc"
)


class _TooMuch(Exception):
    """The parser would not come to an end."""


class _Parser(sqlglot.Dialect.get_or_raise(_DIALECT).parser_class):  # type: ignore[misc]
    """Gives up. The stream waits meanwhile, and nothing could end it from outside."""

    _steps = 0

    def _advance(self, times: int = 1) -> None:
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise _TooMuch
        super()._advance(times)


def check_where(text: str, table: SnapshotTable, *, hidden: Collection[str] = ()) -> str:
    """The SQL to run for a condition on rows of this table. Raises SnapshotRefused.

    `hidden` columns pass in no condition: which rows come would tell their values.
    """
    try:
        tree = _parsed(text, table)
        _check(tree, text, table, hidden)
        sql = tree.transform(_as_written, table).sql(dialect=_DIALECT, identify=True, comments=False)
    except (RecursionError, _TooMuch):
        raise _refused(table, "it is nested too deeply") from None
    except sqlglot.errors.SqlglotError:  # its text quotes the condition
        raise _refused(table, "it is not a condition that can be read") from None
    return sql


async def explain_where(control: Control, table: SnapshotTable, condition: str) -> None:
    """Let PostgreSQL plan to read the rows for which the condition holds, which `check_where` gave; nothing is read.

    Raises SnapshotRefused where it cannot: operands that do not fit each other, a literal that is no value of its type.
    """
    query = f"EXPLAIN SELECT FROM {table.source} {table.filtered(condition)}"

    async def plan(connection: AsyncConnection[TupleRow]) -> None:
        try:
            await connection.execute(query.encode())
        except DataError as error:  # quotes a literal of the condition, and no row: none is read
            raise _refused(table, Answer.of(error).message) from None

    try:
        await control.within(plan(control.connection), doing="plan to read rows", timeout_s=QUERY_TIMEOUT_S)
    except SourceError as error:
        if error.is_retryable:
            raise
        # The others are about operators and types.
        raise _refused(table, error.message.partition(": ")[2]) from None


def _parsed(text: str, table: SnapshotTable) -> exp.Expr:
    if len(text) > _LONGEST or "\0" in text:
        raise _refused(table, f"it has more than {_LONGEST:,} characters" if len(text) > _LONGEST else "it has a null")
    trees = _trees(text)
    if len(trees) != 1 or trees[0] is None:
        raise _refused(table, "it is not one condition")
    return trees[0]


def _trees(text: str) -> list[exp.Expr | None]:
    dialect = sqlglot.Dialect.get_or_raise(_DIALECT)
    found: list[exp.Expr | None] = _Parser(dialect=dialect).parse(dialect.tokenize(text), text)
    return found


def _check(tree: exp.Expr, text: str, table: SnapshotTable, hidden: Collection[str]) -> None:
    for node in tree.walk():
        if type(node) not in _PASSING:
            raise _refused(table, f"it contains {_named(node)}, which does not pass")
        if isinstance(node, exp.Column):
            _check_column(node, table, hidden)
        if isinstance(node, exp.DataType) and (node.this not in _TYPES or node.args.get("nested")):
            raise _refused(table, "it casts to a type that does not pass")
        if not _is_harmless(node):
            raise _refused(table, "it has a number, an interval or a unit of time that does not pass")
    written = tree.sql(dialect=_DIALECT, comments=False)
    if _trees(written) != [tree]:
        raise _refused(table, "it can be read in two ways: put parentheses into it")


def _named(node: exp.Expr) -> str:
    """As whoever wrote the condition calls it."""
    if isinstance(node, exp.Anonymous):
        return f"the function {node.this}"
    return f"the function {node.sql_name().lower()}" if isinstance(node, exp.Func) else type(node).__name__


def _is_harmless(node: exp.Expr) -> bool:
    """Whether what sqlglot writes without escaping it is made of nothing but a number, or a unit of time."""
    if isinstance(node, exp.Var):
        return str(node.this).upper().removesuffix("S") in _UNITS
    if isinstance(node, exp.Literal) and not node.is_string:
        return _NUMBER.fullmatch(str(node.this)) is not None
    if isinstance(node, exp.Interval):
        count = node.this
        return isinstance(count, exp.Literal) and _NUMBER.fullmatch(str(count.this).removeprefix("-")) is not None
    return True


def _check_column(column: exp.Column, table: SnapshotTable, hidden: Collection[str]) -> None:
    if not isinstance(column.this, exp.Identifier) or len(column.parts) != 1:
        raise _refused(table, "it names a column with its table")
    name = _name(column)
    if name not in {each.name for each in table.relation.columns}:
        raise _refused(table, f"there is no column {name} that is published")
    if name in hidden:
        raise SnapshotRefused(
            f"cannot read table {table.name} with that where: its events leave out or mask column {name}, and which "
            "rows come would tell its values",
            hint="let the condition name columns that events have as they are",
        )
    if name not in table.comparable:
        raise _refused(table, f"column {name} is not of a built-in type")


def _as_written(node: exp.Expr, table: SnapshotTable) -> exp.Expr:
    """A column by its real name; one of an enum as the enum's text."""
    if not isinstance(node, exp.Column):
        return node
    column = exp.column(exp.to_identifier(_name(node), quoted=True))
    if table.comparable[_name(node)] == "enum":
        return exp.cast(exp.Anonymous(this="enum_out", expressions=[column]), _KIND.TEXT)
    return column


def _name(column: exp.Column) -> str:
    """As PostgreSQL reads it: in small letters, unless it is quoted."""
    identifier = column.this
    return str(identifier.this) if identifier.args.get("quoted") else str(identifier.this).lower()


def _refused(table: SnapshotTable, reason: str) -> SnapshotRefused:
    return SnapshotRefused(f"cannot read table {table.name} with that where: {reason}", hint=_WHAT_PASSES)
