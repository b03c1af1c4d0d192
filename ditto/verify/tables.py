"""Copies of tables, built from nothing but events. Rows and keys are JSON text: no value is ever converted.

A table may have changed between its events, and its key too, so that what does not fit is noted and kept, not refused.

A row is an event's `data`. Where a null in it is JSON's, one more member, whose name no column can have, holds the
names of these columns.

A snapshot tells the whole table: at its end a row is dropped that no event was about since the snapshot began, as a
consumer does; and what did not fit before is explained where it is about rows that no event had told of.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import msgspec

from ditto.formats import deep_json
from ditto.verify.inverse import members

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ditto.formats.stored_events import StoredEvent

Key = tuple[bytes, ...]

_STAMP: Final = struct.Struct(">QQ?")
"""Before each row that is kept: the commit LSNs of the event that inserted it, and of its last one; whether that was
a READ."""

NOTHING = b"{}"
_NEVER_SENT: Final = "unchanged columns that are sent, or were never sent before"
_UNTOLD: Final = frozenset({"updated but never inserted", "deleted but never inserted", _NEVER_SENT})
"""The kinds of faults that are about rows from before the stream."""
JSON_NULLS = ""
"""The name of the member that names the columns whose null is JSON's: PostgreSQL has no empty names."""


class Fault(NamedTuple):
    """An event that does not fit the earlier ones."""

    kind: str
    where: str
    """The message's sequence and position."""
    lsn: int
    earlier_lsn: int = 0
    """Where the row that is in the way had its last event."""


class Copied(NamedTuple):
    """A row that a table should have, by its events."""

    inserted_lsn: int
    last_lsn: int
    row: bytes
    is_read: bool = False
    """Its last event was a snapshot's: where the row was written, that does not tell."""


class TableCopy(Protocol):
    """The rows that a table should have now."""

    faults: list[Fault]

    @property
    def has_shapes(self) -> bool:
        """Whether rows are told apart by all their columns, and these have changed."""

    def apply(self, event: StoredEvent, lsn: int, where: str) -> None:
        """Change the rows as the event says, whose transaction has this commit LSN."""

    def begin_snapshot(self, lsn: int) -> None:
        """From this LSN on a snapshot reads the table, all of it."""

    def end_snapshot(self, *, is_after_gap: bool) -> int:
        """It has been read; returns how many rows were dropped, since no event was about them since the beginning."""

    def rows(self) -> Iterator[Copied]:
        """Each row; a column that is left out is NULL, or did not exist."""

    def __len__(self) -> int: ...


def copy_for(key: Sequence[str]) -> TableCopy:
    """An empty copy of a table whose rows are told apart by the columns of `key`, or only by their values."""
    return KeyedCopy(key) if key else KeylessCopy()


class KeyedCopy:
    has_shapes = False

    def __init__(self, key: Sequence[str]) -> None:
        self.faults: list[Fault] = []
        self._key = frozenset(key)
        self._read_key = _key_reader(key)
        self._rows: dict[Key, bytes] = {}
        self._covered: dict[Key, list[bytes]] = {}
        """Older rows under the key of one in `_rows`: the key was another one, or the table was."""
        self._unkeyed: dict[bytes, list[bytes]] = {}
        """Rows without a column of the key, which did not exist then, by their other values."""
        self._snapshot_lsn: int | None = None
        self._stripped: set[str] = set()
        """Columns that events left out because of their size."""

    def apply(self, event: StoredEvent, lsn: int, where: str) -> None:
        self._stripped.update(event.stripped)
        match event.action:
            case "INSERT":
                fault = self._put(event.data, new_row(event), lsn, lsn, where)
                if fault is not None:
                    self.faults.append(Fault("inserted twice", where, lsn, fault))
            case "READ":
                self._read(event, lsn)
            case "UPDATE":
                self._update(event, lsn, where)
            case "DELETE":
                if self._take(event.data_old, event.json_null_old) is None:
                    self.faults.append(Fault("deleted but never inserted", where, lsn))
            case "TRUNCATE":
                self._rows.clear()
                self._covered.clear()
                self._unkeyed.clear()
            case action:
                self.faults.append(Fault(f"unknown action {action}", where, lsn))

    def begin_snapshot(self, lsn: int) -> None:
        self._snapshot_lsn = lsn

    def end_snapshot(self, *, is_after_gap: bool) -> int:
        since, self._snapshot_lsn = self._snapshot_lsn, None
        if since is None:
            return 0
        self.faults = _unexplained(self.faults, is_after_gap=is_after_gap)
        before = len(self)
        self._rows = {key: row for key, row in self._rows.items() if _last_lsn(row) >= since}
        for several in (self._covered, self._unkeyed):
            _keep_since(several, since)
        return before - len(self)

    def _read(self, event: StoredEvent, lsn: int) -> None:
        """Whatever was under the key: this is the row."""
        key = self._read_key(event.data)
        self._rows.pop(key, None)
        self._covered.pop(key, None)
        self._put(event.data, new_row(event), lsn, lsn, "", is_read=True)

    def _update(self, event: StoredEvent, lsn: int, where: str) -> None:
        # An identity of key columns is sent only when the key changes.
        is_same = bytes(event.data_old) == NOTHING
        old = self._take(event.data if is_same else event.data_old, event.json_null_old)
        row, inserted_lsn = new_row(event), lsn
        kind = None
        if old is None:
            kind = "updated but never inserted"
        else:
            inserted_lsn = _STAMP.unpack_from(old)[0]
            if event.unchanged:
                before, after = members(old[_STAMP.size :]), members(row)
                never_sent = [column for column in event.unchanged if column in after or column not in before]
                if not self._stripped.issuperset(never_sent):
                    kind = _NEVER_SENT
                after.update((column, before[column]) for column in event.unchanged if column in before)
                row = msgspec.json.encode(after)
        earlier_lsn = self._put(event.data, row, inserted_lsn, lsn, where)
        if earlier_lsn is not None:
            kind = "updated to the key of another row"
        if kind:
            self.faults.append(Fault(kind, where, lsn, earlier_lsn or 0))

    def _put(
        self, data: msgspec.Raw, row: bytes, inserted_lsn: int, lsn: int, where: str, *, is_read: bool = False
    ) -> int | None:
        """Keep a row; returns where the one that had its key already had its last event."""
        key = self._read_key(data)
        stamped = pack(inserted_lsn, lsn, row, is_read=is_read)
        if b"" in key:
            self._unkeyed.setdefault(_canonical(data, (), self._key), []).append(stamped)
            return None
        earlier = self._rows.get(key)
        self._rows[key] = stamped
        if earlier is None:
            return None
        self._covered.setdefault(key, []).append(earlier)
        return int(_STAMP.unpack_from(earlier)[1])

    def _take(self, old: msgspec.Raw, json_null: tuple[str, ...]) -> bytes | None:
        """Remove the row that is meant, and return it."""
        key = self._read_key(old)
        row = self._rows.pop(key, None)
        if row is None:
            rest = _canonical(old, (), self._key)
            return _pop(self._unkeyed, rest, -1) if self._unkeyed else None
        if key in self._covered:
            # Of several the one that has these values, where the old row tells them; else the youngest.
            several = [*self._covered[key], row]
            wanted = _canonical(old, json_null)
            equal = [at for at, each in enumerate(several) if _canonical_row(each) == wanted]
            row = several.pop(equal[-1] if equal else -1)
            self._rows[key] = several.pop()
            self._covered[key] = several
            if not several:
                del self._covered[key]
        return row

    def rows(self) -> Iterator[Copied]:
        for several in (*self._covered.values(), self._rows.values(), *self._unkeyed.values()):
            yield from map(_copied, several)

    def __len__(self) -> int:
        return len(self._rows) + sum(map(len, self._covered.values())) + sum(map(len, self._unkeyed.values()))


class KeylessCopy:
    """For tables without a key: their old rows come whole (REPLICA IDENTITY FULL), or they are only inserted into."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._rows: dict[bytes, list[bytes]] = {}
        """The stamps of equal rows."""
        self._shapes: list[frozenset[str]] = []
        """The sets of columns that rows had, the present one last."""
        self._snapshot_lsn: int | None = None
        self._is_read = False
        """The snapshot that runs has read a row."""

    def apply(self, event: StoredEvent, lsn: int, where: str) -> None:
        kind = None
        inserted_lsn = lsn
        is_read = event.action == "READ"
        if event.action == "TRUNCATE" or (is_read and self._is_first_read()):
            self._rows.clear()
        if event.action in {"UPDATE", "DELETE"}:
            stamp = self._take(event.data_old, event.json_null_old)
            if stamp is None:
                kind = f"{event.action.lower()}d but never inserted"
            else:
                inserted_lsn = _STAMP.unpack(stamp)[0]
        if event.action in {"INSERT", "UPDATE", "READ"}:
            row = self._canonical(event.data, event.json_null)
            self._rows.setdefault(row, []).append(_STAMP.pack(inserted_lsn, lsn, is_read))
        elif event.action not in {"DELETE", "TRUNCATE"}:
            kind = f"unknown action {event.action}"
        if kind:
            self.faults.append(Fault(kind, where, lsn))

    def begin_snapshot(self, lsn: int) -> None:
        self._snapshot_lsn, self._is_read = lsn, False

    def end_snapshot(self, *, is_after_gap: bool) -> int:
        since, self._snapshot_lsn = self._snapshot_lsn, None
        if since is None:
            return 0
        self.faults = _unexplained(self.faults, is_after_gap=is_after_gap)
        before = len(self)
        _keep_since(self._rows, since)
        return before - len(self)

    def _is_first_read(self) -> bool:
        """All rows come at one moment then, and each of them: rows without a key cannot be told apart."""
        is_first = self._snapshot_lsn is not None and not self._is_read
        self._is_read = True
        return is_first

    @property
    def has_shapes(self) -> bool:
        return len(self._shapes) > 1

    def _canonical(self, data: msgspec.Raw, json_null: tuple[str, ...]) -> bytes:
        columns = members(data)
        shape = frozenset(columns)
        if not self._shapes or shape != self._shapes[-1]:
            self._reshape(shape)
        return _encoded(columns, json_null)

    def _reshape(self, shape: frozenset[str]) -> None:
        """The table has other columns now. Those that are gone cannot tell its rows apart any more."""
        gone = frozenset().union(*self._shapes) - shape
        if gone:
            rows: dict[bytes, list[bytes]] = {}
            for row, stamps in self._rows.items():
                rows.setdefault(_without(row, gone), []).extend(stamps)
            self._rows = rows
        self._shapes = list(dict.fromkeys([*(each - gone for each in self._shapes if each != shape), shape]))

    def _take(self, old: msgspec.Raw, json_null: tuple[str, ...]) -> bytes | None:
        row = self._canonical(old, json_null)
        stamp = _pop(self._rows, row, 0)
        for shape in reversed(self._shapes[:-1]):
            if stamp is None:  # a column that came since may have been filled without an event
                stamp = _pop(self._rows, _without(row, self._shapes[-1] - shape), 0)
        return stamp

    def rows(self) -> Iterator[Copied]:
        for row, stamps in self._rows.items():
            for stamp in stamps:
                inserted_lsn, last_lsn, is_read = _STAMP.unpack(stamp)
                yield Copied(inserted_lsn, last_lsn, row, is_read)

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))


def pack(inserted_lsn: int, last_lsn: int, row: bytes, *, is_read: bool = False) -> bytes:
    """A row as it is kept."""
    return _STAMP.pack(inserted_lsn, last_lsn, is_read) + row


def new_row(event: StoredEvent) -> bytes:
    """The new row, with the columns whose null is JSON's."""
    data = bytes(event.data)
    if not event.json_null:
        return data
    return b'%b,"%b":%b}' % (data[:-1], JSON_NULLS.encode(), msgspec.json.encode(event.json_null))


def _copied(stamped: bytes) -> Copied:
    inserted_lsn, last_lsn, is_read = _STAMP.unpack_from(stamped)
    return Copied(inserted_lsn, last_lsn, stamped[_STAMP.size :], is_read)


def _last_lsn(stamped: bytes) -> int:
    return int(_STAMP.unpack_from(stamped)[1])


def _keep_since(rows: dict[Any, list[bytes]], lsn: int) -> None:
    """Drop those whose last event was before it."""
    for key, several in list(rows.items()):
        several[:] = [each for each in several if _last_lsn(each) >= lsn]
        if not several:
            del rows[key]


def _unexplained(faults: list[Fault], *, is_after_gap: bool) -> list[Fault]:
    """The faults that stay when the whole table was read since: none where events were lost for good before."""
    return [] if is_after_gap else [each for each in faults if each.kind not in _UNTOLD]


def _pop(rows: dict[bytes, list[bytes]], key: bytes, at: int) -> bytes | None:
    found = rows.get(key)
    if not found:
        return None
    row = found.pop(at)
    if not found:
        del rows[key]
    return row


def _canonical(data: msgspec.Raw, json_null: tuple[str, ...], without: frozenset[str] = frozenset()) -> bytes:
    """One text for equal rows, also when a column was added (as NULL) in between."""
    columns = members(data)
    return _encoded({name: value for name, value in columns.items() if name not in without}, json_null)


def _canonical_row(stamped: bytes) -> bytes:
    columns = members(stamped[_STAMP.size :])
    json_null = msgspec.json.decode(columns.pop(JSON_NULLS, b"[]"), type=tuple[str, ...])
    return _encoded(columns, json_null)


def _without(row: bytes, gone: frozenset[str]) -> bytes:
    columns = members(row)
    json_null = msgspec.json.decode(columns.pop(JSON_NULLS, b"[]"), type=tuple[str, ...])
    return _encoded(
        {name: value for name, value in columns.items() if name not in gone},
        tuple(name for name in json_null if name not in gone),
    )


def _encoded(columns: dict[str, msgspec.Raw], json_null: tuple[str, ...]) -> bytes:
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
        return tuple(bytes(value) for value in msgspec.structs.astuple(deep_json.decode(bytes(row), decoder)))

    return read
