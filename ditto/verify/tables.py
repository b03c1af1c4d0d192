"""Copies of tables, built from nothing but events. Rows and keys are JSON text: no value is ever converted.

A row is an event's `data`. Where a null in it is JSON's, one more member, whose name no column can have, holds the
names of these columns.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime  # msgspec reads it at run time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ditto import shallow
from ditto.verify.inverse import members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Key = tuple[bytes, ...]

NOTHING = b"{}"
JSON_NULLS = ""
"""The name of the member that names the columns whose null is JSON's: PostgreSQL has no empty names."""


class StoredEvent(msgspec.Struct, gc=False, rename="camel"):
    """An event as it stands in the stream, with its rows unread."""

    schema: str
    table: str
    action: str
    data: msgspec.Raw
    data_old: msgspec.Raw
    commit_time: datetime
    unchanged: tuple[str, ...] = ()
    json_null: tuple[str, ...] = ()
    json_null_old: tuple[str, ...] = ()

    @property
    def row(self) -> bytes:
        """The new row."""
        data = bytes(self.data)
        if not self.json_null:
            return data
        return b'%b,"%b":%b}' % (data[:-1], JSON_NULLS.encode(), msgspec.json.encode(self.json_null))


class TableCopy(Protocol):
    """The rows that a table should have now."""

    def apply(self, event: StoredEvent) -> str | None:
        """Change the rows as the event says. The answer is what is wrong with that, or None."""

    def rows(self) -> Iterator[bytes]:
        """Each row; a column that is left out is NULL."""

    def __len__(self) -> int: ...


def copy_for(key: Sequence[str]) -> TableCopy:
    """An empty copy of a table whose rows are told apart by the columns of `key`, or only by their values."""
    return KeyedCopy(key) if key else KeylessCopy()


class KeyedCopy:
    def __init__(self, key: Sequence[str]) -> None:
        self._rows: dict[Key, bytes] = {}
        self._read_key = _key_reader(key)

    def apply(self, event: StoredEvent) -> str | None:
        match event.action:
            case "INSERT":
                key = self._read_key(event.data)
                fault = "inserted twice" if key in self._rows else None
                self._rows[key] = event.row
                return fault
            case "UPDATE":
                return self._update(event)
            case "DELETE":
                is_known = self._rows.pop(self._read_key(event.data_old), None) is not None
                return None if is_known else "deleted but never inserted"
            case "TRUNCATE":
                self._rows.clear()
                return None
        return f"unknown action {event.action}"

    def _update(self, event: StoredEvent) -> str | None:
        new_key = self._read_key(event.data)
        # An identity of key columns is sent only when the key changes.
        old_key = new_key if bytes(event.data_old) == NOTHING else self._read_key(event.data_old)
        old = self._rows.pop(old_key, None)
        fault = "updated but never inserted" if old is None else None
        if new_key in self._rows:
            fault = "updated to the key of another row"
        self._rows[new_key] = event.row
        if event.unchanged and old is not None:
            before, after = members(old), members(event.row)
            if any(column in after or column not in before for column in event.unchanged):
                fault = "unchanged columns that are sent, or were never sent before"
            after.update((column, before[column]) for column in event.unchanged if column in before)
            self._rows[new_key] = msgspec.json.encode(after)
        return fault

    def rows(self) -> Iterator[bytes]:
        return iter(self._rows.values())

    def __len__(self) -> int:
        return len(self._rows)


class KeylessCopy:
    """For tables without a key: their old rows come whole (REPLICA IDENTITY FULL), or they are only inserted into."""

    def __init__(self) -> None:
        self._rows: Counter[bytes] = Counter()

    def apply(self, event: StoredEvent) -> str | None:
        fault = None
        if event.action == "TRUNCATE":
            self._rows.clear()
        if event.action in {"UPDATE", "DELETE"}:
            old = _canonical(event.data_old, event.json_null_old)
            if self._rows[old] > 0:
                self._rows[old] -= 1
            else:
                fault = f"{event.action.lower()}d but never inserted"
        if event.action in {"INSERT", "UPDATE"}:
            self._rows[_canonical(event.data, event.json_null)] += 1
        return fault

    def rows(self) -> Iterator[bytes]:
        return self._rows.elements()

    def __len__(self) -> int:
        return self._rows.total()


def _canonical(data: msgspec.Raw, json_null: tuple[str, ...]) -> bytes:
    """One text for equal rows, also when a column was added (as NULL) in between."""
    columns = members(data)
    row: dict[str, Any] = {
        name: columns[name] for name in sorted(columns) if name in json_null or bytes(columns[name]) != b"null"
    }
    if json_null:
        row[JSON_NULLS] = json_null
    return msgspec.json.encode(row)


def _key_reader(columns: Sequence[str]) -> Callable[[msgspec.Raw], Key]:
    """A function that reads the key's columns out of a row and skips the rest. A missing one reads as b""."""
    names = [f"k{index}" for index in range(len(columns))]
    fields: list[tuple[str, Any, Any]] = [(name, msgspec.Raw, msgspec.Raw(b"")) for name in names]
    struct = msgspec.defstruct("KeyColumns", fields, rename=dict(zip(names, columns, strict=True)), gc=False)
    decoder = msgspec.json.Decoder(struct)

    def read(row: msgspec.Raw) -> Key:
        return tuple(bytes(value) for value in msgspec.structs.astuple(shallow.decode(bytes(row), decoder)))

    return read
