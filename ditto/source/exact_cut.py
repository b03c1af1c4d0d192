"""A whole table as it is at one position of the WAL: for tables that cannot be read in the order of a key.

A temporary slot exports a snapshot of the database at its consistent point, C: of the transactions that the snapshot
sees, each commits before C, and no other one does. The server decodes a commit a moment before it is visible to
readers, so there is a wait before the first row is read: without it a few reads in a hundred are stale.
https://www.postgresql.org/docs/current/protocol-replication.html#PROTOCOL-REPLICATION-CREATE-REPLICATION-SLOT
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

from ditto.decoding.snapshot_rows import Rows
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.errors import ConnectionLost, SnapshotRefused, SourceError
from ditto.hints import literal
from ditto.lsn import parse_lsn
from ditto.source.blockers import Tell, nobody, wait_for_lock, writers_before
from ditto.source.connection import connect
from ditto.source.copy_out import SILENCE_LIMIT_S, CopyFailed
from ditto.source.snapshot_chunk import begin, start_copy
from ditto.source.snapshot_reader import SnapshotReader
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.snapshot_transaction import TableChanged, copy_error, rolled_back
from ditto.source.sql import Control, open_control

PIECE_BYTES: Final = 1 << 20
_TELL_EVERY_S: Final = 1.0
_POLL_S: Final = 0.05
_MASK: Final = (1 << 32) - 1


class ExactCut:
    """The table at `consistent_lsn`: every transaction that commits before it, and no other."""

    def __init__(
        self, table: SnapshotTable, where: str, reader: SnapshotReader, watcher: Control, consistent_lsn: int
    ) -> None:
        self._table = table
        self._where = where
        self._reader = reader
        self._watcher = watcher
        self.consistent_lsn = consistent_lsn
        self.snapshot = TxSnapshot(0, 0, frozenset())
        self.is_safe = False

    async def import_snapshot(self, name: str, *, tell: Tell) -> None:
        """Begin the transaction that reads the table. Raises TableChanged."""
        control = self._reader.control
        statement = f"SET TRANSACTION SNAPSHOT {literal(name)}"

        async def take() -> TxSnapshot:
            work = rolled_back(control.connection, begin(control.connection, self._table, statement), self._table)
            return await control.within(work, doing=self._doing, timeout_s=SILENCE_LIMIT_S)

        relation = self._table.relation
        self.snapshot = await wait_for_lock(take, lambda: self._watcher, (relation.namespace, relation.name), tell=tell)
        # The table is locked from now on. Had it been truncated or rewritten between the snapshot and the lock, the
        # snapshot would find it empty.
        rows = await self._watcher.fetch(f"SELECT {self._table.fingerprint_sql} AS fingerprint", doing=self._doing)
        if rows[0]["fingerprint"] != self._table.fingerprint:
            raise TableChanged(self._table.name)

    @property
    def _doing(self) -> str:
        return f"read table {self._table.name}"

    async def wait_until_safe(self, *, tell: Tell = nobody) -> None:
        """Wait until other sessions see all that the snapshot takes for committed: so does a read under it."""
        waited_s = 0.0
        while True:
            rows = await self._watcher.fetch(
                "SELECT pg_catalog.pg_current_snapshot()::text AS snapshot", doing=self._doing
            )
            now = TxSnapshot.parse(rows[0]["snapshot"])
            is_late = any(self.snapshot.sees(xid & _MASK) for xid in now.in_progress)
            if now.xmax >= self.snapshot.xmax and not is_late:
                break
            waited_s += _POLL_S
            if waited_s >= _TELL_EVERY_S:
                waited_s = 0.0
                tell(await writers_before(self._watcher, self.snapshot.xmax))
            await asyncio.sleep(_POLL_S)
        self.is_safe = True
        tell(())

    async def rows(self, *, max_bytes: int = PIECE_BYTES) -> AsyncIterator[Rows]:
        """The rows, in no order, in parts of about `max_bytes`; a single larger row makes a part of its own.

        To be read once. Raises SnapshotRefused, ConnectionLost.
        """
        if not self.is_safe:
            raise RuntimeError("wait_until_safe() comes first")
        table = self._table
        # Without a limit of silence: a condition that few rows fit may take the server long before the first one.
        query = f"SELECT {table.select} FROM {table.source} {table.filtered(self._where)}"  # noqa: S608  quoted; checked
        try:
            copy = await start_copy(self._reader.control.connection, query, silence_limit_s=math.inf)
            while not copy.is_ended:
                rows = Rows(len(table.relation.columns))
                await copy.read(rows, max_bytes=max_bytes)
                if rows.count:
                    yield rows
        except CopyFailed as error:
            raise copy_error(error.answer, table.name) from error


@asynccontextmanager
async def exact_cut(
    dsn: str,
    table: SnapshotTable,
    *,
    where: str = "",
    interval_style: str = "postgres",
    tell: Tell = nobody,
    timeout_s: float | None = None,
) -> AsyncIterator[ExactCut]:
    """Make the cut, of the rows that fit `where` (as `check_where` returned it), and leave nothing behind at the end.

    It takes three connections, one of them for a moment a walsender.

    The server makes the slot only when every transaction has ended that had written when it began, prepared ones
    included: `tell` hears which. Cancelling the caller ends that wait, and so does `timeout_s`.
    Raises TableChanged, SnapshotRefused, ConnectionLost.
    """
    async with AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(open_control(dsn))
        reader = SnapshotReader(interval_style=interval_style)
        await reader.connect(dsn)
        stack.push_async_callback(reader.close)
        slot = _TemporarySlot(table, watcher)
        try:
            await slot.create(dsn, tell=tell, timeout_s=timeout_s)
            cut = ExactCut(table, where, reader, watcher, slot.consistent_lsn)
            await cut.import_snapshot(slot.snapshot_name, tell=tell)
        finally:
            await slot.drop()  # the transaction keeps the rows from now on, and the slot would keep WAL
        yield cut


class _TemporarySlot:
    """A slot that is gone with its connection."""

    def __init__(self, table: SnapshotTable, watcher: Control) -> None:
        self._table = table
        self._watcher = watcher
        self._control: Control | None = None
        self._creation: asyncio.Task[list[dict[str, Any]]] | None = None
        self.consistent_lsn = 0
        self.snapshot_name = ""

    async def create(self, dsn: str, *, tell: Tell, timeout_s: float | None) -> None:
        doing = f"make a temporary slot to read table {self._table.name}"
        name = f"ditto_snapshot_{secrets.token_hex(8)}"
        try:
            self._control = Control(await connect(dsn, is_replication=True))
            # The notation that all majors know.
            command = f'CREATE_REPLICATION_SLOT "{name}" TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT'
            self._creation = asyncio.ensure_future(self._control.fetch(command, doing=doing, timeout_s=None))
            await self._wait(self._creation, doing, tell, timeout_s)
            (row,) = self._creation.result()
        except (ConnectionLost, SnapshotRefused):
            raise
        except SourceError as error:
            raise SnapshotRefused(
                f"cannot {doing}: {error.message}",
                hint="a table without a usable key takes a slot and a walsender for a moment: raise "
                "max_replication_slots and max_wal_senders, or give the table a primary key",
            ) from error
        self.consistent_lsn = parse_lsn(row["consistent_point"])
        self.snapshot_name = row["snapshot_name"]

    async def _wait(
        self, creation: asyncio.Task[list[dict[str, Any]]], doing: str, tell: Tell, timeout_s: float | None
    ) -> None:
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        while not (await asyncio.wait([creation], timeout=_TELL_EVERY_S))[0]:
            blockers = await writers_before(self._watcher)
            tell(blockers)
            if timeout_s is not None and loop.time() - began_at >= timeout_s:
                oldest = f": it waits for {blockers[0].text}" if blockers else ""
                raise SnapshotRefused(
                    f"cannot {doing} within {timeout_s:g} s{oldest}",
                    hint="a table without a usable key is read only when the transactions that have written are ended: "
                    "end the oldest one, or give the table a primary key",
                )
        tell(())

    async def drop(self) -> None:
        """End the connection, and with it the slot, in any state."""
        control, self._control = self._control, None
        if control is None:
            return
        if self._creation is not None and not self._creation.done():
            # It waits for a lock, and would not notice that its client is gone.
            await self._end_walsender(control.connection.info.backend_pid)
        await control.close()
        if self._creation is not None:
            await asyncio.gather(self._creation, return_exceptions=True)

    async def _end_walsender(self, pid: int) -> None:
        with suppress(SourceError):  # no answer: the server ends it when the lock is free
            await self._watcher.fetch("SELECT pg_catalog.pg_terminate_backend(%s)", [pid], doing="end a temporary slot")
