"""Rows of a table that a snapshot read, in plain Python: the same as `_snapshot_rows.pyx`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from psycopg import OperationalError

from ditto.decoding.pure.cells import UNCHANGED, Cell, ChangedRow, read_cells, read_change, write_cells
from ditto.decoding.pure.cursor import Cursor
from ditto.errors import ConnectionLost, DecodeError
from ditto.hints import NOT_UTF8_ROW

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

_ESCAPE: Final = re.compile(rb"\\(.?)", re.DOTALL)
_LETTERS: Final = MappingProxyType(
    {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"},
)


class Rows:
    """Rows of one relation, each as pgoutput's TupleData; a COPY fills them, and an overlay brings them up to date.

    COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html.
    """

    def __init__(self, column_count: int) -> None:
        self.column_count = column_count
        self._rows: list[bytes] = []
        self.size = 0
        """Bytes of all rows."""
        self.moved_count = 0
        """So many of the last rows are there because their key changed; an overlay counts those that are left."""
        self.is_drained = True
        """libpq holds nothing more; False where the last `read` ended at its limit."""

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._rows)

    def read(self, pgconn: PGconn, *, max_bytes: int) -> bool:
        """Take what libpq and the socket have of a COPY TO STDOUT in text format; True at its end.

        After the end the connection's next result says whether it failed. After about `max_bytes` bytes it stops, and
        `is_drained` is False: to be called again without waiting for the socket. Raises ConnectionLost, DecodeError.
        """
        taken, has_read = 0, False
        self.is_drained = True
        try:
            while taken < max_bytes:
                length, data = pgconn.get_copy_data(1)
                if length > 0:
                    self.add(bytes(data))
                    taken += length
                    has_read = False
                elif length < 0:
                    return True
                elif has_read:
                    return False
                else:
                    pgconn.consume_input()
                    has_read = True
        except OperationalError as error:
            raise ConnectionLost("the connection that reads rows broke") from error
        self.is_drained = False
        return False

    def add(self, line: bytes) -> None:
        """Add the row of one CopyData message, which ends with a newline. Raises DecodeError."""
        if line[-1:] != b"\n":
            raise DecodeError("a row of a COPY that does not end")
        cells = line[:-1].split(b"\t") if self.column_count or line != b"\n" else []
        row = write_cells([_unescaped(cell) for cell in cells[: self.column_count]])
        if len(cells) != self.column_count:
            raise DecodeError(f"a row of {len(cells)} columns where the relation has {self.column_count}")
        self._append(row)

    def _append(self, row: bytes) -> None:
        self._rows.append(row)
        self.size += len(row)

    def row(self, index: int) -> bytes:
        """TupleData."""
        return self._rows[index]

    def key(self, index: int, columns: Sequence[int]) -> list[str]:
        """The text of these columns, which are not null. Raises DecodeError."""
        cells = read_cells(Cursor(self._rows[index]), self.column_count)
        return [key_text(cells[column]) for column in columns]

    def overlay(self, messages: Sequence[bytes], columns: Sequence[int]) -> None:
        """Bring the rows up to date: `messages` are changes of the relation that the rows do not have yet, in order.

        Each is an Insert, Update or Delete from its tag on; `columns` are those of the key. A row that is deleted, or
        whose key changes, is left out; one that comes with a change is not added, because the change says it all.
        """
        if not messages:
            return
        rows: list[list[Cell] | None] = [read_cells(Cursor(row), self.column_count) for row in self._rows]
        index_of = {tuple(row[column] for column in columns): index for index, row in enumerate(rows) if row}
        for message in messages:
            change = read_change(message, self.column_count)
            key = change.old_key(columns)
            index = index_of.get(key)
            if index is None:
                continue
            row = rows[index]
            if change.tag == "D" or row is None or change.new_key(columns) != key:
                del index_of[key]
                rows[index] = None
            else:
                rows[index] = _merged(row, change)
        first_moved = len(rows) - self.moved_count
        self.moved_count = sum(row is not None for row in rows[first_moved:])
        self._rows, self.size = [], 0
        for row in rows:
            if row is not None:
                self._append(write_cells(row))

    def piece(self, start: int, *, max_rows: int, max_bytes: int) -> int:
        """Where the rows from `start` on reach one of the limits: at least one row further, unless there is none."""
        stop, size = start, 0
        while stop < len(self._rows) and stop - start < max_rows:
            size += len(self._rows[stop])
            if size > max_bytes and stop > start:
                break
            stop += 1
        return stop


def key_text(cell: Cell) -> str:
    """The value of a key's column. Raises DecodeError."""
    if cell is None or cell is UNCHANGED:
        raise DecodeError("a key that has a column without a value")
    try:
        return cell.decode()
    except UnicodeDecodeError:  # it quotes the bytes: not to be chained
        raise DecodeError("text that is not UTF-8 in a key", hint=NOT_UTF8_ROW) from None


def _unescaped(cell: bytes) -> bytes | None:
    if cell == rb"\N":
        return None
    return _ESCAPE.sub(_meant, cell) if b"\\" in cell else cell


def _meant(match: re.Match[bytes]) -> bytes:
    letter = match[1]
    if not letter:
        raise DecodeError("a column of a COPY that ends with a backslash")
    return _LETTERS.get(letter, letter)


def _merged(row: list[Cell], change: ChangedRow) -> list[Cell]:
    cells = [change.cell(column) for column in range(len(row))]
    return [old if cell is UNCHANGED else cell for old, cell in zip(row, cells, strict=True)]
