"""The ordinary SQL connection beside the replication connection, and facts about the server."""

from __future__ import annotations

import asyncio
import math
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from ditto.errors import ConnectionLost, ServerUnsuitable, SourceError
from ditto.lsn import parse_lsn
from ditto.source.command_errors import Answer, command_error
from ditto.source.connection import Transport, connect, transport
from ditto.source.session_settings import MAY_WRITE, READ_ONLY

QUERY_TIMEOUT_S: Final = 30
WAL_LSN: Final = (
    "CASE WHEN pg_catalog.pg_is_in_recovery() "
    "THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) "
    "ELSE pg_catalog.pg_current_wal_insert_lsn() END"
)
"""SQL: the server's WAL position, the only definition of it.

On a primary the end of what is inserted, written to the file or not: with synchronous_commit = off a transaction can
be seen before its WAL is written, and nothing that can be seen lies after this position. On a standby the end of what
it has received, which is on its disk and will be sent: where replay waits (a conflict, recovery_min_apply_delay) its
position hides both the lag and the WAL that is kept. Replay may be ahead, after a restart and with WAL from an archive.
"""
FAILOVER_VERSION: Final = 170000
"""The first whose logical slots survive a failover."""
OLDEST_VERSION: Final = 140000
"""PostgreSQL 14 is the first whose pgoutput takes the option `messages`."""


T = TypeVar("T")


class Server(NamedTuple):
    """The server, as a session sees it."""

    database: str
    wal_sender_timeout_s: float
    """For how long this server, database and role let a replication client be silent; infinity for ever."""


class Control:
    """Runs queries, each within a deadline, and turns failures into Ditto's errors.

    No query is ever cancelled: psycopg then asks the server to, through a libpq (before 17) that waits for an answer
    with the interpreter's lock held. A server that had gone silent froze the whole process that way.
    """

    def __init__(self, connection: AsyncConnection[TupleRow]) -> None:
        self._connection = connection
        self._running: set[asyncio.Task[Any]] = set()

    async def fetch(
        self,
        query: str,
        arguments: Sequence[Any] = (),
        *,
        doing: str,
        timeout_s: float | None = QUERY_TIMEOUT_S,
        context: Mapping[str, str] | None = None,
    ) -> list[dict[str, Any]]:
        """The rows of a query; `doing` completes "cannot …" in the error, which also carries `context`.

        When the caller is cancelled, the query goes on, and the next one waits for it.
        """
        return await self.within(self._run(query, arguments), doing=doing, timeout_s=timeout_s, context=context)

    async def within(
        self,
        work: Coroutine[Any, Any, T],
        *,
        doing: str,
        timeout_s: float | None,
        progress: Callable[[], object] = lambda: None,
        context: Mapping[str, str] | None = None,
    ) -> T:
        """The result of work on this connection; its failures become Ditto's errors, as in `fetch`.

        The deadline starts again whenever `progress` has another value.
        """
        running = asyncio.ensure_future(work)
        self._running.add(running)
        running.add_done_callback(self._forget)
        while not running.done():
            before = progress()
            await asyncio.wait([running], timeout=timeout_s)
            if running.done() or progress() != before:
                continue
            self._hang_up()
            raise ConnectionLost(
                f"cannot {doing}: no answer within {timeout_s:g} s", hint="is something holding a lock?"
            )
        try:
            return running.result()
        except psycopg.Error as error:
            if self._connection.broken:
                raise ConnectionLost(f"cannot {doing}: the connection to PostgreSQL broke") from error
            raise command_error(Answer.of(error), doing=doing, **(context or {})) from error

    async def change(self, statement: str, arguments: Sequence[Any] = (), *, doing: str) -> None:
        """Run a statement that writes: alone, since everything else on this connection is read-only."""
        await self.fetch(MAY_WRITE, doing=doing)
        try:
            await self.fetch(statement, arguments, doing=doing)
        finally:
            with suppress(SourceError):  # the connection is broken then
                await self.fetch(READ_ONLY, doing=doing)

    async def _run(self, query: str, arguments: Sequence[Any]) -> list[dict[str, Any]]:
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query.encode(), arguments or None)
            has_rows = cursor.rownumber is not None  # `description` is None for a SELECT without columns, too
            return await cursor.fetchall() if has_rows else []

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # it is known, then: asyncio would report it as never retrieved

    def _hang_up(self) -> None:
        """End the connection under the query that runs: it fails at once."""
        with suppress(OSError, psycopg.OperationalError):
            descriptor = os.dup(self._connection.fileno())
            with socket.socket(fileno=descriptor) as transport:
                transport.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Close the connection, in any state."""
        if self._running:
            self._hang_up()
            await asyncio.wait(self._running)
        await self._connection.close()

    @property
    def server_version(self) -> int:
        """As libpq tells it: 180006."""
        return self._connection.info.server_version

    @property
    def connection(self) -> AsyncConnection[TupleRow]:
        """For work that `within` runs."""
        return self._connection

    @property
    def transport(self) -> Transport:
        """How safe the connection is from others on the way."""
        return transport(self._connection)

    async def database(self) -> str:
        """The name of the database."""
        rows = await self.fetch("SELECT pg_catalog.current_database() AS name", doing="read the database's name")
        return str(rows[0]["name"])

    async def wal_lsn(self) -> int:
        """Where the server's WAL ends, on a primary and on a standby."""
        rows = await self.fetch(
            f"SELECT ({WAL_LSN})::text AS lsn",
            doing="read the WAL position",
        )
        return parse_lsn(rows[0]["lsn"])

    async def is_standby(self) -> bool:
        """Whether the server is in recovery, at this moment."""
        rows = await self.fetch("SELECT pg_catalog.pg_is_in_recovery() AS is_so", doing="see whether it is a standby")
        return bool(rows[0]["is_so"])

    async def wal_page_size(self) -> int:
        """Bytes of a page of the WAL."""
        rows = await self.fetch(
            "SELECT setting::int AS size FROM pg_catalog.pg_settings WHERE name = 'wal_block_size'",
            doing="read wal_block_size",
        )
        return int(rows[0]["size"])

    @property
    def version(self) -> int:
        """The server's, as `server_version_num`: 180003."""
        return self._connection.info.server_version

    @property
    def has_late_statistics(self) -> bool:
        """A process of its own collects them, and writes them down twice a second."""
        return self._connection.info.server_version < 150000

    async def server(self, *, needs_failover: bool = False) -> Server:
        """What a session has to know of the server.

        Raises ServerUnsuitable when logical decoding, or a slot that survives a failover, cannot work here.
        """
        version = self._connection.info.server_version
        if version < OLDEST_VERSION:
            raise ServerUnsuitable(
                f"PostgreSQL {version // 10000} is too old: Ditto needs {OLDEST_VERSION // 10000} or later",
                hint="upgrade the server",
            )
        if needs_failover and version < FAILOVER_VERSION:
            raise ServerUnsuitable(
                f"PostgreSQL {version // 10000} has no slots that survive a failover: postgres.failover needs "
                f"{FAILOVER_VERSION // 10000} or later",
                hint="set postgres.failover: false, or upgrade the server",
            )
        rows = await self.fetch(
            "SELECT pg_catalog.current_database() AS database, pg_catalog.current_setting('wal_level') AS wal_level, "
            "(SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'wal_sender_timeout') AS timeout_ms",
            doing="read the server's settings",
        )
        row = rows[0]
        if row["wal_level"] != "logical":
            raise ServerUnsuitable(
                f"wal_level is {row['wal_level']}, and logical decoding needs logical",
                hint="ALTER SYSTEM SET wal_level = 'logical', then restart the server",
            )
        return Server(row["database"], row["timeout_ms"] / 1000 or math.inf)


@asynccontextmanager
async def open_control(dsn: str) -> AsyncIterator[Control]:
    """Connect, and close at the end. Raises AccessDenied, ConnectionLost, ServerNotReady."""
    control = Control(await connect(dsn))
    try:
        yield control
    finally:
        await control.close()
