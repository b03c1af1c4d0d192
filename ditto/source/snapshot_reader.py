"""Reads tables chunk by chunk, and writes the markers that say where in the WAL a chunk belongs.

A chunk is read under a snapshot of its own, in a transaction that ends at once. LOCK TABLE comes before the snapshot:
TRUNCATE and an ALTER TABLE that rewrites the table are not safe under a snapshot that is older, which would find the
table empty. https://www.postgresql.org/docs/current/mvcc-caveats.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from ditto.decoding.messages import MARKER_PREFIX, Moved
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.errors import AccessDenied, ConnectionLost, SnapshotRefused
from ditto.hints import identifier
from ditto.source.blockers import Tell, nobody, wait_for_lock, writers_before
from ditto.source.connection import connect
from ditto.source.snapshot_chunk import Chunk, ChunkReading, snapshot_and_fingerprint
from ditto.source.snapshot_key import text_literal
from ditto.source.snapshot_requests import emit_function
from ditto.source.snapshot_table import SnapshotTable, describe_table
from ditto.source.snapshot_transaction import TableChanged, in_transaction, one_row
from ditto.source.sql import Control

_POLL_S: Final = 0.1
_TELL_EVERY_S: Final = 1.0

_SETTINGS: Final[dict[str, Any]] = {
    # In key order, by the key's index: a plan that sorts reads the whole table for each chunk.
    "enable_sort": "off",
    "enable_incremental_sort": "off",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

_LOOK: Final = "ditto_look"
_MARK: Final = "ditto_mark"
"""Prepared statements, of one table at a time."""

T = TypeVar("T")


class SnapshotReader:
    """One SQL connection. One task uses it at a time; connect() and close() may be called in any state."""

    def __init__(self, *, interval_style: str = "postgres") -> None:
        """`interval_style` as on the replication connection."""
        self.interval_style = interval_style
        self._dsn = ""
        self._control_: Control | None = None
        self._row_bytes: dict[str, float] = {}
        """By fingerprint, the mean of the last chunk."""
        self._prepared: SnapshotTable | None = None
        """The table whose statements the connection has."""

    async def connect(self, dsn: str) -> None:
        """Raises AccessDenied, ConnectionLost, ServerNotReady."""
        self._dsn = dsn
        self._prepared = None
        connection = await connect(dsn, intervalstyle=self.interval_style, **_SETTINGS)
        connection.prepare_threshold = None  # statements of psycopg's own would take those of `_prepare` away
        self._control_ = Control(connection)

    async def close(self) -> None:
        """Close the connection, whatever it is doing."""
        control, self._control_ = self._control_, None
        if control is not None:
            await control.close()

    @property
    def control(self) -> Control:
        """The connection, for queries between the other calls."""
        if self._control_ is None:
            raise ConnectionLost("the connection that reads rows is closed")
        return self._control_

    async def describe(
        self, publication: str, schema: str, table: str, *, tell: Tell = nobody, patience_s: float | None = None
    ) -> SnapshotTable:
        """As `describe_table`, on this connection."""
        return await describe_table(self.control, publication, schema, table, tell=tell, patience_s=patience_s)

    async def current_snapshot(self) -> TxSnapshot:
        """The database's at this moment."""
        rows = await self.control.fetch(
            "SELECT pg_catalog.pg_current_snapshot()::text AS snapshot", doing="take a snapshot"
        )
        return TxSnapshot.parse(rows[0]["snapshot"])

    async def wait_for(self, xmax: int = 0, *, tell: Tell = nobody) -> None:
        """Wait until every transaction that has written by now has ended, and so has every one before `xmax`.

        Says every second which have not. The `xmax` of a snapshot would not be bound enough: a transaction that has
        committed, and was decoded, may have an xid beyond, as long as the server has not taken it off its list of
        running ones. An xid of this connection's own is beyond them all.
        """
        rows = await self.control.fetch("SELECT pg_catalog.pg_current_xact_id()::text AS xid", doing="take an xid")
        bound = max(xmax - 1, int(rows[0]["xid"]))
        told_at = time.monotonic()
        has_told = False
        while (await self.current_snapshot()).xmin <= bound:
            if time.monotonic() - told_at >= _TELL_EVERY_S:
                tell(await writers_before(self.control, bound))
                told_at, has_told = time.monotonic(), True
            await asyncio.sleep(_POLL_S)
        if has_told:
            tell(())

    async def read_chunk(
        self,
        table: SnapshotTable,
        *,
        cursor: list[str] | None,
        where: str,
        max_rows: int,
        max_bytes: int,
        moved: Sequence[Moved] = (),
        tell: Tell = nobody,
        on_rows: Callable[[], object] = lambda: None,
    ) -> Chunk:
        """Read the rows after the cursor, and those that `moved` to a key at or before it.

        `on_rows` is called when the server begins to send the first of these.

        `where` is what `check_where` returned, or empty. `max_bytes` is about what comes; at worst it is the double,
        and the last row. Raises TableChanged, SnapshotRefused, ConnectionLost.
        """
        reading = ChunkReading(
            table,
            cursor=cursor,
            where=where,
            max_rows=max_rows,
            max_bytes=max_bytes,
            moved=moved,
            row_bytes=self._row_bytes.get(table.fingerprint),
            on_rows=on_rows,
        )

        async def read(connection: AsyncConnection[TupleRow]) -> Chunk:
            await self._prepare(connection, table)
            return await reading.run(connection, f"EXECUTE {_LOOK}")

        chunk = await self._run(read, table, doing="read", tell=tell, progress=reading.progress)
        if chunk.rows.count:
            self._row_bytes = {table.fingerprint: max(1.0, chunk.rows.size / chunk.rows.count)}
        await self._end_statement()
        return chunk

    async def emit_marker(self, table: SnapshotTable, token: str, *, tell: Tell = nobody) -> bool:
        """Write a transaction that consists of the marker alone, unless the table has changed; returns whether it did.

        Raises SnapshotRefused, ConnectionLost, and AccessDenied, which concerns every table.
        """

        async def emit(connection: AsyncConnection[TupleRow]) -> bool:
            await self._prepare(connection, table)
            marker = f"EXECUTE {_MARK} ({text_literal(token)})"
            row = await one_row(connection, table.begin("READ COMMITTED READ WRITE"), marker, "COMMIT")
            return row[0] is not None

        try:
            return await self._run(emit, table, doing="mark a chunk of", tell=tell)
        except TableChanged:
            return False
        except AccessDenied as error:
            raise AccessDenied(
                error.message,
                hint=f"GRANT EXECUTE ON FUNCTION {emit_function(self.control.version)} TO {await self._role()}",
            ) from error

    async def _prepare(self, connection: AsyncConnection[TupleRow], table: SnapshotTable) -> None:
        """Prepare the two statements of each chunk that look at the catalogue: planning one takes 1.4 ms."""
        if self._prepared is table:
            return
        self._prepared = None
        marked = f"pg_catalog.pg_logical_emit_message(true, '{MARKER_PREFIX}', $1)::text"
        for statement in (
            "DEALLOCATE ALL",
            f"PREPARE {_LOOK} AS {snapshot_and_fingerprint(table)}",
            f"PREPARE {_MARK} (text) AS SELECT CASE WHEN {table.fingerprint_sql} = {text_literal(table.fingerprint)} "
            f"THEN {marked} END AS lsn",
        ):
            await connection.execute(statement.encode())
        self._prepared = table

    async def _end_statement(self) -> None:
        """Where the rest of a COPY is not wanted: a new connection takes less time than to read it for nothing."""
        if self.control.connection.info.transaction_status == TransactionStatus.ACTIVE:
            await self.close()
            await self.connect(self._dsn)

    async def _role(self) -> str:
        rows = await self.control.fetch("SELECT current_user::text AS role", doing="see the role")
        return identifier(rows[0]["role"])

    async def _run(
        self,
        work: Callable[[AsyncConnection[TupleRow]], Awaitable[T]],
        table: SnapshotTable,
        *,
        doing: str,
        tell: Tell,
        progress: Callable[[], object] = lambda: None,
    ) -> T:
        """One transaction on this connection, again and again while somebody holds a lock on the table."""

        async def attempt() -> T:
            try:
                return await in_transaction(self.control, work, table, doing=doing, progress=progress)
            except SnapshotRefused:
                await self._end_statement()
                raise

        name = (table.relation.namespace, table.relation.name)
        return await wait_for_lock(attempt, lambda: self.control, name, tell=tell)
