"""One chunk: the statements, how many rows they ask for, and the end of a chunk that becomes too large."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from ditto.decoding.messages import Moved
from ditto.decoding.snapshot_rows import Rows
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.source.copy_out import SILENCE_LIMIT_S, CopyOut
from ditto.source.snapshot_key import is_after, is_at_or_before, is_one_of, order_by, quoted
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.snapshot_transaction import TableChanged, one_row

_FIRST_ROWS: Final = 1000
"""The first chunk of a table: its rows may be much larger than the planner thinks."""
_EXCESS: Final = 2
"""A chunk ends at so many times the bytes that it was to have, whatever else its statement would read."""
_MANY: Final = 500
"""Keys that one chunk looks for beside its own rows."""


class Chunk(NamedTuple):
    """Rows of one table, as a snapshot sees them."""

    snapshot: TxSnapshot
    rows: Rows
    """In key order; after these `rows.moved_count` others, at or before the cursor that the chunk began at."""
    moved: list[Moved]
    """Those of the given moves that are dealt with: the snapshot sees them, and their rows have been looked for."""
    cursor: list[str] | None
    """The key up to which the table is read; the one that the chunk began at, where it has found no rows."""
    is_last: bool
    """The snapshot has no rows after the cursor."""
    took_s: float
    """How long the transaction was open."""


class ChunkReading:
    """The reading of one chunk."""

    def __init__(
        self,
        table: SnapshotTable,
        *,
        cursor: list[str] | None,
        where: str,
        max_rows: int,
        max_bytes: int,
        moved: Sequence[Moved],
        row_bytes: float | None,
        on_rows: Callable[[], object],
    ) -> None:
        """`row_bytes` is the mean size of the rows that came last; None for the first chunk of a table.

        `on_rows` is called when the server begins to send rows.
        """
        if not table.key:
            raise ValueError(f"{table.name} has no key to read it in chunks")
        self._table = table
        self._cursor = cursor
        self._where = where
        self._max_bytes = max_bytes
        self._on_rows = on_rows
        self._moved = moved
        fitting = max(1, int(max_bytes / (row_bytes or table.estimated_row_bytes)))
        self._row_limit = min(max_rows, fitting, max_rows if row_bytes else _FIRST_ROWS)
        self._move_limit = min(_MANY, fitting)
        self._rows = Rows(len(table.relation.columns))
        self.is_cut = False
        """The rows had become too many bytes: the connection is still in the middle of the statement."""

    def progress(self) -> object:
        """Another value when something has been read."""
        return self._rows.size

    async def run(self, connection: AsyncConnection[TupleRow], look: str = "") -> Chunk:
        """Read it, in a transaction of its own; `look` is as for `begin`.

        Raises TableChanged, CopyFailed, ConnectionLost, psycopg's errors.
        """
        began_at = time.monotonic()
        table, rows = self._table, self._rows
        snapshot = await begin(connection, table, look=look)
        end = await self._end(connection)
        await self._copy_main(connection, end)
        if self.is_cut:
            moved: list[Moved] = []
        else:
            moved = [each for each in self._moved if snapshot.sees(each.xid)]
            moved = moved if self._cursor is None else moved[: self._move_limit]
            await self._copy_moved(connection, moved)
            await connection.execute("COMMIT")
        return Chunk(
            snapshot=snapshot,
            rows=rows,
            moved=moved,
            cursor=self._end_cursor(end),
            is_last=self._is_last(end),
            took_s=time.monotonic() - began_at,
        )

    @property
    def _is_filtered(self) -> bool:
        return bool(self._where or self._table.condition)

    async def _end(self, connection: AsyncConnection[TupleRow]) -> list[str] | None:
        """The key of the last row to look at, where few of the rows may fit; None where the table ends before.

        Without it a statement would look for its rows through the whole table.
        """
        if not self._is_filtered:
            return None
        table = self._table
        columns = ", ".join(f"t.{quoted(column.name)}" for column in table.key_columns)
        after = f"WHERE {is_after(table.key_columns, self._cursor)}" if self._cursor is not None else ""
        query = (
            f"SELECT {columns} FROM {table.source} {after} {order_by(table.key_columns)} "  # noqa: S608  quoted
            f"OFFSET {self._row_limit - 1} LIMIT 1"
        )
        row = await one_row(connection, query)
        return [str(value) for value in row] or None

    async def _copy_main(self, connection: AsyncConnection[TupleRow], end: list[str] | None) -> None:
        key = self._table.key_columns
        conditions = [is_after(key, self._cursor)] if self._cursor is not None else []
        if end is not None:
            conditions.append(is_at_or_before(key, end))
        query = (
            f"SELECT {self._table.select} FROM {self._table.source} "  # noqa: S608  quoted; `where` is checked
            f"{self._table.filtered(*conditions, self._where)} {order_by(key)} LIMIT {self._row_limit}"
        )
        copy = await start_copy(connection, query)
        self._on_rows()
        await copy.read(self._rows, max_bytes=_EXCESS * self._max_bytes)
        self.is_cut = not copy.is_ended

    async def _copy_moved(self, connection: AsyncConnection[TupleRow], moved: list[Moved]) -> None:
        if self._cursor is None or not moved:
            return  # nothing has been read yet: the rows come by themselves
        key = self._table.key_columns
        conditions = is_one_of(key, [each.key for each in moved]), is_at_or_before(key, self._cursor)
        query = (
            f"SELECT {self._table.select} FROM {self._table.source} "  # noqa: S608  quoted; `where` is checked
            f"{self._table.filtered(*conditions, self._where)}"
        )
        count = self._rows.count
        copy = await start_copy(connection, query)
        while not copy.is_ended:
            await copy.read(self._rows, max_bytes=self._rows.size + self._max_bytes)
        self._rows.moved_count = self._rows.count - count

    def _end_cursor(self, end: list[str] | None) -> list[str] | None:
        count = self._rows.count - self._rows.moved_count
        if self._is_filtered and not self.is_cut:
            return end if end is not None else self._last_key(count)
        return self._last_key(count)

    def _last_key(self, count: int) -> list[str] | None:
        return self._rows.key(count - 1, self._table.key) if count else self._cursor

    def _is_last(self, end: list[str] | None) -> bool:
        if self.is_cut:
            return False
        if self._is_filtered:
            return end is None
        return self._rows.count - self._rows.moved_count < self._row_limit


def snapshot_and_fingerprint(table: SnapshotTable) -> str:
    """The query for both: the first one of a transaction."""
    return f"SELECT pg_catalog.pg_current_snapshot()::text, {table.fingerprint_sql}"


async def begin(
    connection: AsyncConnection[TupleRow], table: SnapshotTable, more: str = "", *, look: str = ""
) -> TxSnapshot:
    """Begin the transaction and take its snapshot. Raises TableChanged where the table is not as described.

    `more` comes before the first query; `look` is `snapshot_and_fingerprint` where that is prepared.
    """
    statements = [table.begin("REPEATABLE READ READ ONLY"), *filter(None, [more])]
    snapshot, fingerprint = await one_row(connection, *statements, look or snapshot_and_fingerprint(table))
    if fingerprint != table.fingerprint:
        raise TableChanged(table.name)
    return TxSnapshot.parse(str(snapshot))


async def start_copy(
    connection: AsyncConnection[TupleRow], query: str, *, silence_limit_s: float = SILENCE_LIMIT_S
) -> CopyOut:
    """Begin to read the rows of a query. Raises CopyFailed, ConnectionLost."""
    if connection.pgconn.parameter_status(b"server_encoding") == b"SQL_ASCII":
        # Such a server has bytes of any encoding: they are passed on, as by the replication connection.
        await connection.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
    copy = CopyOut(connection.pgconn, silence_limit_s=silence_limit_s)
    await copy.start(f"COPY ({query}) TO STDOUT")
    return copy
