"""Pairs the rows of a table with those of its copy, as they are read."""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from ditto.verify.inverse import members
from ditto.verify.tables import JSON_NULLS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ditto.config import Types
    from ditto.verify.canonical_values import Value
    from ditto.verify.catalogue import Table
    from ditto.verify.table_history import Version
    from ditto.verify.tables import Copied, TableCopy

MAX_EXAMINED: Final = 100_000
"""Rows of one table that are kept because they differ; more are only counted."""
_MAX_TEXT: Final = 4096
_MAX_XIDS: Final = 100_000

_names = msgspec.json.Decoder(set[str])


class _Missing(Enum):
    MISSING = "the event has no such column"


MISSING: Final = _Missing.MISSING

Values = tuple["Value", ...]
"""One for each column of the table; MISSING where the event has none."""


class Real(NamedTuple):
    """A row of the table."""

    version: Version
    values: Values
    texts: tuple[str | None, ...]


class Mismatch(NamedTuple):
    """A row whose key both have, and the numbers of the columns that differ."""

    real: Real
    copied: Values
    columns: tuple[int, ...]


class Match:
    """Takes the real rows one by one."""

    def __init__(
        self,
        table: Table,
        copy: TableCopy | None,
        key: Sequence[str],
        types: Types,
        *,
        may_lack_columns: bool = False,
    ) -> None:
        """`may_lack_columns`: of a column that a copied row does not have nothing is known."""
        self._may_lack_columns = may_lack_columns
        self.columns = list(table.columns)
        self.rows = 0
        self.mismatches: list[Mismatch] = []
        self.unmatched: list[Real] = []
        """Rows of the table that the copy does not have."""
        self.unexamined = 0
        self.oldest: dict[int, int] = {}
        """The first transaction that has written rows of each table or partition, by its order of ids alone."""
        self.first_lsn: int | None = None
        """Where the first row that both have was inserted."""
        self.lsn_of_xid: dict[int, int] = {}
        """Where transactions that have written these rows were committed."""
        self._read_text = [column.text_reader for column in table.columns.values()]
        self._read_event = [column.event_reader(types) for column in table.columns.values()]
        self._nulls = {
            at: null for at, column in enumerate(table.columns.values()) if (null := column.of_null) is not None
        }
        self._key = [self.columns.index(name) for name in key if name in table.columns]
        self.label = ", ".join(self.columns[at] for at in self._key) or "hash"
        self._copies: dict[Values, list[Copied]] = {}
        for copied in copy.rows() if copy else ():
            identity = self._read(copied, self._key) if self._key else tuple(map(_present, self.values_of(copied)))
            self._copies.setdefault(identity, []).append(copied)

    def take(self, version: Version, texts: tuple[str | None, ...]) -> None:
        """The next row of the table."""
        self.rows += 1
        values = tuple(None if text is None else read(text) for text, read in zip(texts, self._read_text, strict=True))
        if self._nulls:
            values = tuple(self._nulls.get(at) if texts[at] is None else value for at, value in enumerate(values))
        identity = self._identity(values)
        candidates = self._copies.get(identity)
        if not candidates:
            self._keep(self.unmatched, Real(version, values, texts))
            return
        at, columns = self._closest(candidates, values)
        copied = candidates.pop(at)
        if not candidates:
            del self._copies[identity]
        if self.first_lsn is None or copied.inserted_lsn < self.first_lsn:
            self.first_lsn = copied.inserted_lsn
        if columns:
            self._keep(self.mismatches, Mismatch(Real(version, values, texts), self.values_of(copied), columns))
        elif not copied.is_read and len(self.lsn_of_xid) < _MAX_XIDS:
            self.lsn_of_xid.setdefault(version.xid, copied.last_lsn)

    def left(self) -> Iterator[Copied]:
        """Rows of the copy that the table does not have."""
        for several in self._copies.values():
            yield from several

    def where(self, values: Values) -> str:
        """A row's key, or its hash, for messages."""
        if self._key:
            shown = ", ".join(_shown(values[at]) for at in self._key)
        else:
            shown = blake2b(repr(tuple(map(_present, values))).encode("utf-8", "replace"), digest_size=8).hexdigest()
        return f"({self.label}) = ({shown})"

    def values_of(self, copied: Copied) -> Values:
        """The values of a row that the events tell."""
        return self._read(copied, range(len(self.columns)))

    def _read(self, copied: Copied, numbers: Sequence[int]) -> Values:
        found = members(copied.row)
        json_nulls = _names.decode(found.pop(JSON_NULLS, b"[]"))
        names, read = self.columns, self._read_event
        return tuple(
            read[at](found[names[at]], names[at] in json_nulls) if names[at] in found else MISSING for at in numbers
        )

    @property
    def is_keyed(self) -> bool:
        """Whether rows are told apart by some of their columns."""
        return bool(self._key)

    def lacks_key(self, values: Values) -> str | None:
        """The first of the columns that tell rows apart which a row does not have."""
        numbers = self._key or range(len(values))
        return next((self.columns[at] for at in numbers if values[at] is MISSING), None)

    def _identity(self, values: Values) -> Values:
        return tuple(values[at] for at in self._key) if self._key else tuple(map(_present, values))

    def _closest(self, candidates: list[Copied], values: Values) -> tuple[int, tuple[int, ...]]:
        """The candidate that is equal, else the last; and the columns in which it differs."""
        columns: tuple[int, ...] = ()
        for at in reversed(range(len(candidates))):
            if not self._key:
                return at, ()
            copied = self.values_of(candidates[at])
            differing = differing_columns(values, copied)
            if self._may_lack_columns:
                differing = tuple(column for column in differing if copied[column] is not MISSING)
            if not differing:
                return at, ()
            columns = columns or differing
        return len(candidates) - 1, columns

    def _keep(self, kept: list[Real] | list[Mismatch], row: Real | Mismatch) -> None:
        if len(self.mismatches) + len(self.unmatched) >= MAX_EXAMINED:
            self.unexamined += 1
        else:
            kept.append(row)  # type: ignore[arg-type]  # each goes to its own


def differing_columns(real: Values, copied: Values) -> tuple[int, ...]:
    """The numbers of the columns whose values differ; one that the event does not have counts as NULL."""
    return tuple(at for at, (one, other) in enumerate(zip(real, copied, strict=True)) if one != _present(other))


def _present(value: Value) -> Value:
    return None if value is MISSING else value


def _shown(value: Value) -> str:
    value = _present(value)
    return "NULL" if value is None else value if isinstance(value, str) else repr(value)
