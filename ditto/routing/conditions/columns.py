"""The columns of a table as a condition sees them: the type of each, and how PostgreSQL's text becomes its value."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ditto.decoding.column_kinds import KINDS, Kinds
from ditto.decoding.messages import Relation
from ditto.routing.conditions.array_literals import read_hstore
from ditto.routing.conditions.errors import Failure
from ditto.routing.conditions.readers import read_array, read_interval, read_json, read_timestamp
from ditto.routing.conditions.value_types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NUMERIC,
    STRING,
    TIMESTAMP,
    Type,
    list_of,
    map_of,
)


class TypedColumn(NamedTuple):
    """A column of a table."""

    name: str
    type_name: str
    """As `Kinds.type_name` has it: `int4`, `numeric[]`, `public.mood`; of a domain its base type."""
    is_key: bool = False
    """Part of the replica identity."""


class Kind(NamedTuple):
    """How a condition sees the columns of a type."""

    type: Type
    read: Callable[[str], Any]
    """PostgreSQL's text, never of NULL, to the value; raises Failure."""


def columns_of(relation: Relation, kinds: Kinds = KINDS) -> tuple[TypedColumn, ...]:
    """The columns of a Relation message."""
    return tuple(
        TypedColumn(
            column.name, kinds.type_name(column.type_oid, column.type_namespace, column.type_name), column.is_key
        )
        for column in relation.columns
    )


def _read_bool(text: str) -> bool:
    return text == "t"


def _read_bytes(text: str) -> bytes:
    if text.startswith("\\x"):
        return bytes.fromhex(text[2:])
    raise Failure("a bytea is not in hexadecimal digits")


_AS_TEXT: Final = Kind(STRING, str)
_KINDS: Final = {
    "bool": Kind(BOOL, _read_bool),
    **dict.fromkeys(("int2", "int4", "int8", "oid"), Kind(INT, int)),
    **dict.fromkeys(("float4", "float8"), Kind(DOUBLE, float)),
    "numeric": Kind(NUMERIC, Decimal),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), Kind(TIMESTAMP, read_timestamp)),
    "interval": Kind(DURATION, read_interval),
    "bytea": Kind(BYTES, _read_bytes),
    **dict.fromkeys(("json", "jsonb"), Kind(DYN, read_json)),
}
_COLON: Final = ("geometry[]", "geography[]")
"""Arrays that separate their elements with a colon: PostGIS."""


def kind_of(type_name: str) -> Kind:
    """How a condition sees a column of this type: its text, where the type is none of those above."""
    if type_name.endswith(".hstore"):
        return Kind(map_of(STRING, STRING.nullable()), read_hstore)
    if not type_name.endswith("[]") or type_name.endswith(_COLON):
        return _KINDS.get(type_name, _AS_TEXT)
    element = kind_of(type_name[:-2])
    delimiter = delimiter_of(type_name)

    def read(text: str) -> list[Any]:
        return read_array(text, element.read, delimiter)

    return Kind(list_of(element.type.nullable()), read)


def delimiter_of(type_name: str) -> str:
    """What separates the elements of an array of this type."""
    return ";" if type_name == "box[]" else ","
