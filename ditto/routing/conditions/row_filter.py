"""The row filter of a publication that does the same as a condition, where there is one.

CEL's errors and SQL's NULL follow the same rules in `&&`, `||` and `!` (AND, OR, NOT): one side that decides outweighs
the other. So a comparison that fails for null in CEL may be one that is NULL in SQL, as long as the whole is neither.
`==`, which is true or false also for null, is IS NOT DISTINCT FROM, or plain `=` where false and NULL have the same
effect. https://www.postgresql.org/docs/current/logical-replication-row-filter.html says what a filter may contain.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from typing import Final

from psycopg.sql import Identifier, Literal

from ditto.routing.conditions import checked
from ditto.routing.conditions.checked import Part, parts_of
from ditto.routing.conditions.checker import Checker
from ditto.routing.conditions.columns import TypedColumn
from ditto.routing.conditions.instants import MAX_TIMESTAMP, MIN_TIMESTAMP, timestamp_text
from ditto.routing.conditions.parser import parse

_MAX_COLUMNS: Final = 8
"""All combinations of NULL and not NULL are tried: 2 to the power of this."""
_EQUAL: Final = frozenset({"bool", "int2", "int4", "int8", "oid", "text", "varchar", "numeric", "uuid", "timestamptz"})
"""Types of which two values are equal in PostgreSQL exactly if they are in a condition."""
_ORDERED: Final = frozenset({"int2", "int4", "int8", "oid", "numeric", "timestamptz"})
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NEGATED: Final = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class _NoFilter(Exception):
    """There is none that does exactly the same."""


def as_row_filter(
    text: str,
    columns: Sequence[TypedColumn],
    *,
    actions: Collection[str] = ("INSERT", "UPDATE"),
    drops_errors: bool = False,
    usable: Collection[str] | None = None,
) -> str | None:
    """The expression for `ALTER PUBLICATION … WHERE (…)` that passes the same rows; None where there is none.

    `actions` are those that are published: of a DELETE, `data` is empty, so that only `row` has a filter then.
    `drops_errors`: `on_error` is drop. An UPDATE is judged by its new row in a condition, and by both rows in a filter,
    which makes an INSERT of it where the old row did not pass, and a DELETE where the new one does not: whoever shows
    the filter has to say so. `usable` are the columns that a filter may have; None for all. Raises ConditionError.
    """
    part = Checker(text, columns, schema="", table="", identity="f").check_condition(parse(text))
    try:
        _check_reads(part, actions)
        read = {each.name for each in parts_of(part) if isinstance(each, checked.Column)}
        if usable is not None and not read <= {*usable}:
            return None
        sql = _sql(part, columns, is_negated=False, is_inside=False)
        if not drops_errors and _may_fail(part):
            return None
    except _NoFilter:
        return None
    return sql


def _check_reads(part: Part, actions: Collection[str]) -> None:
    rows = {below.row for below in parts_of(part) if isinstance(below, checked.Column)}
    if not rows or "dataOld" in rows or ("data" in rows and "DELETE" in actions) or "TRUNCATE" in actions:
        raise _NoFilter


def _sql(part: Part, columns: Sequence[TypedColumn], *, is_negated: bool, is_inside: bool) -> str:
    """The expression, or its negation; in parentheses inside another one, where it needs them."""
    match part:
        case checked.Logic(is_and=is_and, operands=operands):
            word = " AND " if is_and != is_negated else " OR "
            inner = word.join([_sql(below, columns, is_negated=is_negated, is_inside=True) for below in operands])
            return f"({inner})" if is_inside else inner
        case checked.Apply(function="!_", arguments=(below,)):
            return _sql(below, columns, is_negated=not is_negated, is_inside=is_inside)
        case checked.Column(type=type_, name=name) if type_.name == "bool":
            return f"NOT {_quoted(name)}" if is_negated else _quoted(name)
        case checked.Equal():
            return _equality(part, columns, is_negated=part.is_negated != is_negated)
        case checked.In(value=checked.Column() as column, items=checked.ListOf(items=items)) if items:
            return _membership(column, items, columns, is_negated=is_negated, is_inside=is_inside)
        case checked.Apply(function="_<_" | "_<=_" | "_>_" | "_>=_" as function, arguments=(left, right)):
            return _order(function.strip("_"), left, right, columns, is_negated=is_negated, is_inside=is_inside)
    raise _NoFilter


def _sides(left: Part, right: Part) -> tuple[checked.Column, Part]:
    if isinstance(left, checked.Column):
        return left, right
    if isinstance(right, checked.Column):
        return right, left
    raise _NoFilter


def _equality(part: checked.Equal, columns: Sequence[TypedColumn], *, is_negated: bool) -> str:
    column, other = _sides(part.left, part.right)
    name = _quoted(column.name)
    if isinstance(other, checked.Constant) and other.value is None:
        return f"{name} IS {'NOT ' if is_negated else ''}NULL"
    type_name = columns[column.index].type_name
    if isinstance(other, checked.Column):
        # Numerics apart: NaN is equal to itself in PostgreSQL, and to nothing in CEL.
        types = {type_name, columns[other.index].type_name}
        is_one = len(types) == 1 and types <= _EQUAL - {"numeric"}
        if not is_one and not types <= {"int2", "int4", "int8"} and not types <= {"text", "varchar"}:
            raise _NoFilter
        return f"{name} IS {'' if is_negated else 'NOT '}DISTINCT FROM {_quoted(other.name)}"
    literal = _literal(other, type_name)
    return f"{name} IS DISTINCT FROM {literal}" if is_negated else f"{name} = {literal}"


def _membership(
    column: checked.Column, items: Sequence[Part], columns: Sequence[TypedColumn], *, is_negated: bool, is_inside: bool
) -> str:
    name = _quoted(column.name)
    type_name = columns[column.index].type_name
    is_null_in = any(isinstance(item, checked.Constant) and item.value is None for item in items)
    literals = [
        _literal(item, type_name) for item in items if not (isinstance(item, checked.Constant) and item.value is None)
    ]
    found = f"{name} {'NOT ' if is_negated else ''}IN ({', '.join(literals)})" if literals else ""
    null = f"{name} IS {'NOT ' if is_negated else ''}NULL"
    if is_negated and not is_null_in:  # NULL is in no list
        found, is_null_in, word = f"{found}", True, "OR"
        null = f"{name} IS NULL"
    else:
        word = "AND" if is_negated else "OR"
    if not is_null_in or not found:
        return found or null
    both = f"{found} {word} {null}"
    return f"({both})" if is_inside else both


def _order(
    sign: str, left: Part, right: Part, columns: Sequence[TypedColumn], *, is_negated: bool, is_inside: bool
) -> str:
    column, other = _sides(left, right)
    if column is right:
        sign = _MIRRORED[sign]
    type_name = columns[column.index].type_name
    if type_name not in _ORDERED or not isinstance(other, checked.Constant):
        raise _NoFilter
    name, literal = _quoted(column.name), _literal(other, type_name)
    if type_name != "numeric":
        return f"{name} {_NEGATED[sign] if is_negated else sign} {literal}"
    # PostgreSQL orders NaN after everything, CEL not at all.
    ordered = f"{name} {_NEGATED[sign] if is_negated else sign} {literal}"
    if sign[0] == "<":
        return ordered
    nan = f"{name} = 'NaN'" if is_negated else f"{name} <> 'NaN'"
    both = f"{ordered} {'OR' if is_negated else 'AND'} {nan}"
    return f"({both})" if is_inside else both


def _literal(part: Part, type_name: str) -> str:
    if not isinstance(part, checked.Constant) or type_name not in _EQUAL or part.value is None:
        raise _NoFilter
    value = part.value
    match type_name:
        case "bool":
            return "true" if value else "false"
        case "text" | "varchar" | "uuid":
            if "\0" in value or (type_name == "uuid" and _UUID.fullmatch(value) is None):
                raise _NoFilter
            return _quoted_text(value)
        case "timestamptz":
            if not MIN_TIMESTAMP <= value <= MAX_TIMESTAMP or value % 1000:
                raise _NoFilter
            return f"'{timestamp_text(value)}'"
        case "numeric":
            return format(value, "f")
        case "oid" if not 0 <= value < 1 << 32:
            raise _NoFilter
        case _:
            return str(value)


def _quoted(name: str) -> str:
    return Identifier(name).as_string()


def _quoted_text(text: str) -> str:
    return Literal(text).as_string().strip()


def _may_fail(part: Part) -> bool:
    """Whether the condition has an error for some row, by which columns are NULL."""
    names = sorted({below.name for below in parts_of(part) if isinstance(below, checked.Column)})
    if len(names) > _MAX_COLUMNS:
        raise _NoFilter
    every = itertools.product((False, True), repeat=len(names))
    return any(None in _outcomes(part, dict(zip(names, nulls, strict=True))) for nulls in every)


def _outcomes(part: Part, is_null: dict[str, bool]) -> set[bool | None]:
    """True, False and, for an error, None: what may come out where these columns are NULL."""
    match part:
        case checked.Logic(is_and=is_and, operands=operands):
            found = _outcomes(operands[0], is_null)
            for below in operands[1:]:
                found = {_and_or(one, other, is_and) for one in found for other in _outcomes(below, is_null)}
            return found
        case checked.Apply(function="!_", arguments=(below,)):
            return {None if one is None else not one for one in _outcomes(below, is_null)}
        case checked.Column(name=name):
            return {None} if is_null[name] else {True, False}
        case checked.Equal(left=left, right=right, is_negated=is_negated):
            nulls = [_is_null(side, is_null) for side in (left, right)]
            if any(nulls):
                return {(nulls[0] == nulls[1]) != is_negated}
            return {True, False}
        case checked.In(value=checked.Column(name=name), items=checked.ListOf(items=items)):
            if is_null[name]:
                return {any(_is_null(item, is_null) for item in items)}
            return {True, False}
        case checked.Apply(arguments=arguments):
            return {None} if any(_is_null(side, is_null) for side in arguments) else {True, False}
    raise _NoFilter


def _is_null(part: Part, is_null: dict[str, bool]) -> bool:
    if isinstance(part, checked.Column):
        return is_null[part.name]
    return isinstance(part, checked.Constant) and part.value is None


def _and_or(one: bool | None, other: bool | None, is_and: bool) -> bool | None:
    if one is (not is_and) or other is (not is_and):
        return not is_and
    return None if one is None or other is None else is_and
