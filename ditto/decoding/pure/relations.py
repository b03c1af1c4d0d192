"""Relation messages, in plain Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ditto.decoding.messages import Column, Relation
from ditto.decoding.pure.cursor import Cursor
from ditto.errors import DecodeError

_NO_TYPE: Final = ("", "")  # a built-in one: no Type message comes for it


def read_relation(cursor: Cursor, types: Mapping[int, tuple[str, str]]) -> Relation:
    """A Relation message behind its tag; `types` are the namespaces and names of the Type messages, by OID."""
    oid = cursor.u32()
    namespace, name = cursor.string(), cursor.string()
    identity = cursor.u8()
    if identity not in b"dnfi":
        raise DecodeError(f"unknown replica identity 0x{identity:02X}", relation=f"{namespace}.{name}")
    columns = []
    for _ in range(cursor.u16()):
        flags = cursor.u8()
        if flags > 1:
            raise DecodeError(f"unknown column flags {flags}", relation=f"{namespace}.{name}")
        column_name, type_oid, typmod = cursor.string(), cursor.u32(), cursor.i32()
        type_namespace, type_name = types.get(type_oid, _NO_TYPE)
        columns.append(Column(column_name, type_oid, typmod, flags == 1, type_namespace, type_name))
    cursor.finish()
    if len({column.name for column in columns}) != len(columns):
        raise DecodeError("two columns of one name", relation=f"{namespace}.{name}")
    return Relation(oid, namespace or "pg_catalog", name, chr(identity), tuple(columns))
