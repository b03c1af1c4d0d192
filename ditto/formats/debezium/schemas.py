"""The Kafka Connect schema of an event, as JsonConverter writes it with `schemas.enable`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]


def _field(kind: str, name: str, *, optional: bool = False) -> Schema:
    return {"type": kind, "optional": optional, "field": name}


_SNAPSHOT: Final[Schema] = {
    "type": "string",
    "optional": True,
    "name": "io.debezium.data.Enum",
    "version": 1,
    "parameters": {"allowed": "true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},
    "default": "false",
    "field": "snapshot",
}
_SOURCE: Final[Schema] = {
    "type": "struct",
    "fields": [
        _field("string", "version"),
        _field("string", "connector"),
        _field("string", "name"),
        _field("int64", "ts_ms"),
        _SNAPSHOT,
        _field("string", "db"),
        _field("string", "sequence", optional=True),
        _field("int64", "ts_us", optional=True),
        _field("int64", "ts_ns", optional=True),
        _field("string", "schema"),
        _field("string", "table"),
        _field("int64", "txId", optional=True),
        _field("int64", "lsn", optional=True),
        _field("int64", "xmin", optional=True),
    ],
    "optional": False,
    "name": "io.debezium.connector.postgresql.Source",
    "version": 1,
    "field": "source",
}
_TRANSACTION: Final[Schema] = {
    "type": "struct",
    "fields": [
        _field("string", "id"),
        _field("int64", "total_order"),
        _field("int64", "data_collection_order"),
    ],
    "optional": True,
    "name": "event.block",
    "version": 1,
    "field": "transaction",
}


def envelope_schema(table: str, columns: Mapping[str, Schema]) -> Schema:
    """`table` is prefix, schema and table; `columns` has the schemas of the columns, `optional` among them."""
    fields = [{"type": each["type"], **each, "field": name} for name, each in columns.items()]

    def row(name: str) -> Schema:
        return {"type": "struct", "fields": fields, "optional": True, "name": f"{table}.Value", "field": name}

    return {
        "type": "struct",
        "fields": [
            row("before"),
            row("after"),
            _SOURCE,
            _TRANSACTION,
            _field("string", "op"),
            _field("int64", "ts_ms", optional=True),
            _field("int64", "ts_us", optional=True),
            _field("int64", "ts_ns", optional=True),
        ],
        "optional": False,
        "name": f"{table}.Envelope",
        "version": 2,
    }
