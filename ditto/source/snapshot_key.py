"""The key by which a snapshot reads a table in order: what `ORDER BY` and the comparison with a cursor look like.

Sessions of Ditto find names in pg_catalog alone, and a type may be anybody's: operators are those of the key index's
operator families, written with their schemas, and so the order is the index's own order.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from psycopg.sql import SQL, Identifier


class Operator(Struct, frozen=True):
    """An operator with its schema."""

    namespace: str
    name: str

    @property
    def sql(self) -> str:
        """As it is written between two operands. Its name consists of signs that need no quotes."""
        return f"OPERATOR({quoted(self.namespace)}.{self.name})"


class KeyColumn(Struct, frozen=True, kw_only=True):
    """A column of the key, in the order of its index."""

    name: str
    type: tuple[str, str]
    """Schema and name of its type; of a domain, those of the base type: its checks are not to run."""
    less: Operator
    less_or_equal: Operator
    equal: Operator
    greater_or_equal: Operator
    greater: Operator
    is_descending: bool
    are_nulls_first: bool
    """As its index has it. The key has no nulls, but with another place of theirs the index is of no use for a sort."""
    collation: tuple[str, str] | None
    """Schema and name of the index's collation, where that is not the column's own."""
    order: str = ""
    """OIDs of the type, the operator class and the collation, and the direction: with others the order is another."""

    @property
    def sql(self) -> str:
        """The column, with the collation that the index has."""
        column = f"t.{quoted(self.name)}"
        return column if self.collation is None else f"{column} COLLATE {quoted(*self.collation)}"

    def value(self, text: str) -> str:
        """A value, from the text that PostgreSQL has written it as."""
        return f"{text_literal(text)}::{quoted(*self.type)}"

    @property
    def before(self) -> Operator:
        """Comes earlier in the order of the key."""
        return self.greater if self.is_descending else self.less

    @property
    def after(self) -> Operator:
        """Comes later in the order of the key."""
        return self.less if self.is_descending else self.greater

    @property
    def not_before(self) -> Operator:
        """Comes at the same place or later in the order of the key."""
        return self.less_or_equal if self.is_descending else self.greater_or_equal

    @property
    def not_after(self) -> Operator:
        """Comes at the same place or earlier in the order of the key."""
        return self.greater_or_equal if self.is_descending else self.less_or_equal


Key = Sequence[KeyColumn]


def order_by(key: Key) -> str:
    """`ORDER BY` in the order of the key."""
    return "ORDER BY " + ", ".join(
        f"{column.sql} USING {column.before.sql} NULLS {'FIRST' if column.are_nulls_first else 'LAST'}"
        if column.are_nulls_first != column.is_descending
        else f"{column.sql} USING {column.before.sql}"
        for column in key
    )


def is_after(key: Key, cursor: Sequence[str]) -> str:
    """The condition for rows that come after the cursor: one that an index can answer."""
    values = [column.value(text) for column, text in zip(key, cursor, strict=True)]
    first = key[0]
    if len(key) == 1:
        return f"{first.sql} {first.after.sql} {values[0]}"
    if len({column.after for column in key}) == 1:
        # PostgreSQL's row comparison, which takes one operator for all columns: the index finds the place.
        columns = ", ".join(column.sql for column in key)
        return f"ROW({columns}) {first.after.sql} ROW({', '.join(values)})"
    return f"({first.sql} {first.not_before.sql} {values[0]} AND ({_one_after_the_other(key, values)}))"


def is_at_or_before(key: Key, cursor: Sequence[str]) -> str:
    """The condition for all other rows, so that an index knows where to stop."""
    values = [column.value(text) for column, text in zip(key, cursor, strict=True)]
    first = key[0]
    if len(key) == 1:
        return f"{first.sql} {first.not_after.sql} {values[0]}"
    if len({column.not_after for column in key}) == 1:
        columns = ", ".join(column.sql for column in key)
        return f"ROW({columns}) {first.not_after.sql} ROW({', '.join(values)})"
    return f"({first.sql} {first.not_after.sql} {values[0]} AND NOT ({_one_after_the_other(key, values)}))"


def is_one_of(key: Key, keys: Sequence[Sequence[str]]) -> str:
    """The condition for rows with one of these keys."""
    if len(key) == 1:
        column = key[0]
        values = ", ".join(column.value(text) for (text,) in keys)
        return f"{column.sql} {column.equal.sql} ANY (ARRAY[{values}])"
    return "(" + " OR ".join(f"({_equals(key, each)})" for each in keys) + ")"


def _one_after_the_other(key: Key, values: Sequence[str]) -> str:
    """`a > x OR a = x AND (b > y OR …)`."""
    column, value = key[0], values[0]
    condition = f"{column.sql} {column.after.sql} {value}"
    if len(key) == 1:
        return condition
    return f"{condition} OR {column.sql} {column.equal.sql} {value} AND ({_one_after_the_other(key[1:], values[1:])})"


def _equals(key: Key, texts: Sequence[str]) -> str:
    return " AND ".join(
        f"{column.sql} {column.equal.sql} {column.value(text)}" for column, text in zip(key, texts, strict=True)
    )


def quoted(*names: str) -> str:
    """A name with its schema, for a statement that Ditto itself sends."""
    return SQL("{}").format(Identifier(*names)).as_string()


def text_literal(text: str) -> str:
    """A literal: every session of Ditto has standard_conforming_strings, so that only the quote is special."""
    return "'" + text.replace("'", "''") + "'"
