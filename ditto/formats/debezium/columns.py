"""How a column is in Debezium's events: the kind and function that make its value, and its Kafka Connect schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from ditto.decoding.choose import convert
from ditto.decoding.column_kinds import (
    ARRAY,
    BOOL,
    BYTEA,
    CALL,
    CHAR,
    FLOAT,
    HSTORE,
    INT,
    NAME_OF_OID,
    TEXT,
)
from ditto.decoding.messages import Column
from ditto.formats.debezium import numbers, times
from ditto.formats.debezium.conversions import Function, Read, array, document, value
from ditto.formats.debezium.points import point

Schema = dict[str, Any]

UNAVAILABLE: Final = "__debezium_unavailable_value"
"""What stands for a large value that did not change and was not sent."""


class ColumnForm(NamedTuple):
    """One column."""

    kind: int
    function: Function | None
    schema: Schema
    """Without `optional` and `field`."""
    unavailable: Any = None
    """What stands for its value where that was not sent."""


class _Type(NamedTuple):
    """A type that is no array: values are made by `read`, or where there is none by the kind."""

    kind: int
    read: Read | None
    schema: Schema
    unavailable: Any = None


def column_form(column: Column, usual: int, *, is_masked: bool, labels: Mapping[int, Sequence[str]]) -> ColumnForm:
    """`usual` is the column's kind in Ditto's own format, which says whether it is an array.

    A type that Debezium leaves out is text.
    """
    if is_masked:
        return ColumnForm(TEXT, None, {"type": "string"}, UNAVAILABLE)
    name = _type_name(column)
    is_array = bool(usual & ARRAY)
    element = name.removesuffix("[]").removeprefix("_") if is_array else name
    found = _type_of(element, column.typmod, labels.get(column.type_oid))
    if is_array:
        return _array(element, found)
    if found.schema is _JSON and found.read is None:
        return ColumnForm(CALL, document(), found.schema, found.unavailable)
    if found.read is None:
        return ColumnForm(found.kind, None, found.schema, found.unavailable)
    return ColumnForm(CALL, value(found.read), found.schema, found.unavailable)


def _type_name(column: Column) -> str:
    """The name of a built-in type, or of one of the extensions' that Debezium knows; empty for all others."""
    if column.type_oid in NAME_OF_OID:
        return NAME_OF_OID[column.type_oid]
    is_known = column.type_namespace in {"", "pg_catalog"} or column.type_name.removeprefix("_") in {"hstore", "ltree"}
    return column.type_name if is_known else ""


def _type_of(name: str, typmod: int, labels: Sequence[str] | None) -> _Type:
    if labels is not None:
        parameters = {"allowed": ",".join(labels)}
        return _text(_named("string", "io.debezium.data.Enum", parameters))
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _BY_MODIFIER:
        return _BY_MODIFIER[name](typmod)
    return _text({"type": "string"})


def _text(schema: Schema) -> _Type:
    return _Type(TEXT, None, schema, UNAVAILABLE)


def _named(kind: str, name: str, parameters: Mapping[str, str] | None = None) -> Schema:
    """A schema with the name of a logical type."""
    schema: Schema = {"type": kind, "name": name, "version": 1}
    return schema if parameters is None else {**schema, "parameters": dict(parameters)}


# ------------------------------------------------------------------------------------- types with a modifier


def _numeric(typmod: int) -> _Type:
    if typmod < 4:
        return _Type(TEXT, Read(numbers.variable_decimal, "variable_decimal"), _VARIABLE)
    precision, scale = (typmod - 4) >> 16 & 0xFFFF, ((typmod - 4 & 0x7FF) ^ 0x400) - 0x400
    parameters = {"scale": str(scale), "connect.decimal.precision": str(precision)}
    read = Read(numbers.decimal_of(scale), "decimal", scale)
    return _Type(TEXT, read, _named("bytes", _DECIMAL, parameters))


def _timestamp(typmod: int) -> _Type:
    if 0 <= typmod <= 3:
        return _Type(TEXT, _TIMESTAMP_MS, _named("int64", "io.debezium.time.Timestamp"))
    return _Type(TEXT, _TIMESTAMP_US, _named("int64", "io.debezium.time.MicroTimestamp"))


def _timestamptz(typmod: int) -> _Type:
    schema = _named("string", "io.debezium.time.ZonedTimestamp")
    digits = typmod if 0 <= typmod <= 6 else 6
    return _Type(TEXT, Read(times.zoned_timestamp(digits), "zoned_timestamp", digits), schema)


def _time(typmod: int) -> _Type:
    if 0 <= typmod <= 3:
        return _Type(TEXT, Read(times.time_ms, "time_ms"), _named("int32", "io.debezium.time.Time"))
    return _Type(TEXT, Read(times.clock_us, "time_us"), _named("int64", "io.debezium.time.MicroTime"))


def _bits(typmod: int) -> _Type:
    if typmod == 1:
        return _Type(TEXT, Read(numbers.is_set), {"type": "boolean"})
    length = typmod if typmod > 0 else 2**31 - 1
    return _Type(TEXT, Read(numbers.bits, "bits"), _named("bytes", "io.debezium.data.Bits", {"length": str(length)}))


# ------------------------------------------------------------------------------------- arrays


def _array(element: str, found: _Type) -> ColumnForm:
    items = {"type": found.schema["type"], "optional": True, **found.schema}
    unavailable = _UNAVAILABLE_ELEMENTS.get(element, [UNAVAILABLE] if found.unavailable == UNAVAILABLE else None)
    return ColumnForm(CALL, array(found.kind, found.read), {"type": "array", "items": items}, unavailable)


def _hstore(text: str) -> str:
    """An object as text."""
    found = convert(text.encode(), HSTORE)
    return bytes(found).decode() if isinstance(found, msgspec.Raw) else text


_TIMESTAMP_MS: Final = Read(times.timestamp_ms, "timestamp_ms")
_INTERVAL: Final = Read(times.interval_us, "interval_us")
_TIMESTAMP_US: Final = Read(times.timestamp_us, "timestamp_us")
_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_JSON: Final = _named("string", "io.debezium.data.Json")
_VARIABLE: Final[Schema] = {
    "type": "struct",
    "fields": [
        {"type": "int32", "optional": False, "field": "scale"},
        {"type": "bytes", "optional": False, "field": "value"},
    ],
    "name": "io.debezium.data.VariableScaleDecimal",
    "version": 1,
    "doc": "Variable scaled decimal",
}
_POINT: Final[Schema] = {
    "type": "struct",
    "fields": [
        {"type": "double", "optional": False, "field": "x"},
        {"type": "double", "optional": False, "field": "y"},
        {"type": "bytes", "optional": True, "field": "wkb"},
        {"type": "int32", "optional": True, "field": "srid"},
    ],
    "name": "io.debezium.data.geometry.Point",
    "version": 1,
    "doc": "Geometry (POINT)",
}
_UNAVAILABLE_NUMBERS: Final = list(UNAVAILABLE.encode())
_UNAVAILABLE_ELEMENTS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "int2": _UNAVAILABLE_NUMBERS,
        "int4": _UNAVAILABLE_NUMBERS,
        "int8": _UNAVAILABLE_NUMBERS,
        "uuid": [str(UUID("b68a35a7-17ad-35b3-af2a-ae46edb4545a"))],
    }
)
_PLAIN: Final[Mapping[str, _Type]] = MappingProxyType(
    {
        "bool": _Type(BOOL, None, {"type": "boolean"}),
        "int2": _Type(INT, None, {"type": "int16"}),
        "int4": _Type(INT, None, {"type": "int32"}),
        "int8": _Type(INT, None, {"type": "int64"}),
        "oid": _Type(INT, None, {"type": "int64"}),
        "float4": _Type(FLOAT, None, {"type": "float"}),
        "float8": _Type(FLOAT, None, {"type": "double"}),
        "char": _Type(CHAR, None, {"type": "string"}, UNAVAILABLE),
        "money": _Type(TEXT, Read(numbers.money, "money"), _named("bytes", _DECIMAL, {"scale": "2"})),
        "bytea": _Type(BYTEA, None, {"type": "bytes"}, numbers.base64(UNAVAILABLE.encode())),
        "date": _Type(TEXT, Read(times.days, "days"), _named("int32", "io.debezium.time.Date")),
        "timetz": _Type(TEXT, Read(times.zoned_time, "zoned_time"), _named("string", "io.debezium.time.ZonedTime")),
        "interval": _Type(TEXT, _INTERVAL, _named("int64", "io.debezium.time.MicroDuration")),
        "json": _text(_JSON),
        "jsonb": _text(_JSON),
        "hstore": _Type(TEXT, Read(_hstore), _JSON, f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}'),
        "uuid": _text(_named("string", "io.debezium.data.Uuid")),
        "xml": _text(_named("string", "io.debezium.data.Xml")),
        "ltree": _text(_named("string", "io.debezium.data.Ltree")),
        "tsvector": _text(_named("string", "io.debezium.data.Tsvector")),
        "point": _Type(TEXT, Read(point), _POINT),
    }
)
_BY_MODIFIER: Final[Mapping[str, Callable[[int], _Type]]] = MappingProxyType(
    {
        "numeric": _numeric,
        "timestamp": _timestamp,
        "timestamptz": _timestamptz,
        "time": _time,
        "bit": _bits,
        "varbit": _bits,
    }
)
