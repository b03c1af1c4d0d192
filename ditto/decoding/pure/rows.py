"""The rows of an Insert, Update or Delete, in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ditto.decoding.column_kinds import JSON
from ditto.decoding.pure.column_values import convert, is_json_null
from ditto.decoding.pure.cursor import Cursor
from ditto.errors import DecodeError


class Rows(NamedTuple):
    """What a change says of a row."""

    data: dict[str, Any]
    old: dict[str, Any]
    unchanged: list[str]
    """The columns of the new row that were not sent."""
    json_null: list[str]
    """The columns of the new row whose value is JSON's null."""
    json_null_old: list[str]


NO_ROWS: Final = Rows({}, {}, [], [], [])
"""Of a Truncate; nobody changes them."""

_PARTS: Final = MappingProxyType({"I": b"N", "U": b"NKO", "D": b"KO"})


def read_rows(cursor: Cursor, tag: str, names: Sequence[str], kinds: Sequence[int], keys: Sequence[bool]) -> Rows:
    """What follows the relation's OID in an Insert (I), Update (U) or Delete (D)."""
    part = cursor.u8()
    if part not in _PARTS[tag]:
        raise _unknown_part(part)
    data: dict[str, Any] = {}
    old: dict[str, Any] = {}
    unchanged: list[str] = []
    json_null: list[str] = []
    json_null_old: list[str] = []
    if part != 0x4E:
        old, json_null_old = _old_row(cursor, names, kinds, keys, is_whole=part == 0x4F)
        if tag == "U" and (part := cursor.u8()) != 0x4E:
            raise _unknown_part(part)
    if part == 0x4E:
        data, unchanged, json_null = _new_row(cursor, names, kinds, old, json_null_old)
    cursor.finish()
    return Rows(data, old, unchanged, json_null, json_null_old)


def _unknown_part(part: int) -> DecodeError:
    return DecodeError(f"unknown part of a change 0x{part:02X}")


def _new_row(
    cursor: Cursor, names: Sequence[str], kinds: Sequence[int], old: dict[str, Any], json_null_old: list[str]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """The row, the columns that were not sent, and those that are JSON's null; `old` is the old row or its key."""
    _check_count(cursor, names)
    row: dict[str, Any] = {}
    unchanged: list[str] = []
    json_null: list[str] = []
    for name, kind in zip(names, kinds, strict=True):
        mark = cursor.u8()
        if mark == 0x74:  # t
            data = cursor.take(cursor.i32())
            row[name] = convert(data, kind)
            if kind == JSON and is_json_null(data):
                json_null.append(name)
        elif mark == 0x6E:  # n
            row[name] = None
        elif mark == 0x75:  # u
            if name in old:
                row[name] = old[name]
                if name in json_null_old:
                    json_null.append(name)
            else:
                unchanged.append(name)
        else:
            raise DecodeError(f"unknown column kind 0x{mark:02X}")
    return row, unchanged, json_null


def _old_row(
    cursor: Cursor, names: Sequence[str], kinds: Sequence[int], keys: Sequence[bool], *, is_whole: bool
) -> tuple[dict[str, Any], list[str]]:
    """The old row, or with `is_whole` False its key columns only (the others are sent as nulls); and its JSON nulls."""
    _check_count(cursor, names)
    row: dict[str, Any] = {}
    json_null: list[str] = []
    for name, kind, is_key in zip(names, kinds, keys, strict=True):
        mark = cursor.u8()
        if mark == 0x74:
            data = cursor.take(cursor.i32())
            if is_whole or is_key:
                row[name] = convert(data, kind)
                if kind == JSON and is_json_null(data):
                    json_null.append(name)
        elif mark == 0x6E:
            if is_whole or is_key:
                row[name] = None
        elif mark != 0x75:
            raise DecodeError(f"unknown column kind 0x{mark:02X}")
    return row, json_null


def _check_count(cursor: Cursor, names: Sequence[str]) -> None:
    count = cursor.u16()
    if count != len(names):
        raise DecodeError(f"a row of {count} columns where the relation has {len(names)}")
