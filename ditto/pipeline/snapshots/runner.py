"""Reads what is asked for, one table at a time, beside the stream of one session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from ditto.decoding.column_kinds import CALL, SKIP
from ditto.decoding.messages import Block
from ditto.errors import (
    DecodeError,
    DittoError,
    RuleUnfit,
    SnapshotRefused,
    SourceError,
    StreamUnusable,
    SubjectCollision,
)
from ditto.formats.snapshot_events import Control, OpenRun
from ditto.pipeline.preparing import Prepared
from ditto.pipeline.snapshots.chunks import (
    MAX_RECORDED_BYTES,
    ChunkedTable,
    Restart,
    key_order,
    names_in,
    too_many_moved,
)
from ditto.pipeline.snapshots.deliveries import At, Deliveries, TooLargeRow
from ditto.pipeline.snapshots.exact_cut import WholeTable
from ditto.pipeline.snapshots.limits import ChunkSize, Limits
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.runs import Current
from ditto.routing.patterns import TablePattern
from ditto.routing.table_plans import TablePlan
from ditto.routing.type_settings import interval_style
from ditto.source.blockers import Blocker
from ditto.source.published_tables import Table, published_tables
from ditto.source.snapshot_look import look
from ditto.source.snapshot_reader import SnapshotReader
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.snapshot_transaction import TableChanged

log = structlog.get_logger()

_RETRY_S: Final = 1.0
_MAX_RETRY_S: Final = 30.0
_SAVE_AFTER_S: Final = 0.2
_IDLE_S: Final = 1.0
"""How often to look whether a run has begun."""


class Runner:
    """Of one session. What goes wrong with a table ends that table, and what goes wrong with reading is tried again."""

    def __init__(
        self, prepared: Prepared, deliveries: Deliveries, *, progress: Progress, clock: Callable[[], float]
    ) -> None:
        self._prepared = prepared
        self._ends = prepared.ends
        self._config = prepared.ends.config
        self._deliveries = deliveries
        self._runs = deliveries.runs
        self._progress = progress
        self._clock = clock
        self._reader: SnapshotReader | None = None
        self._told = ""
        """Why it is tried again, as the log says it already."""
        self._estimated: set[str] = set()
        """The runs whose tables have been looked at, for the status."""
        self.chunked: ChunkedTable | None = None
        """The table that is being read in chunks."""

    def prepare(self) -> None:
        """See changes of the table that is half read from the first one on: some come again, and have moved rows.

        The table is not looked up: that might wait for a lock, or a connection, and the stream with it; and another
        table may have its name by now.
        """
        current = self._runs.find_begun()
        if current is None or not current.run.key:
            return
        self._deliveries.moved.begin(current.run.moved)
        names = names_in(current.run.key)
        self._deliveries.record(current.run.oid, tuple(range(len(names))), names)

    async def run(self) -> None:
        """Until cancelled."""
        retry_s = _RETRY_S
        try:
            while True:
                self._deliveries.changed.clear()
                if self._runs.find_begun() is None:
                    self._deliveries.record(None)
                if (run := self._runs.active) is None:
                    await self._rest()
                    await self._deliveries.changed.wait()
                    continue
                try:
                    await self._work(run)
                    retry_s, self._told = _RETRY_S, ""
                except (SourceError, StreamUnusable) as error:
                    self._progress.retrying(error.message)
                    self._log_retrying(error, run=run.run, retry_in_s=retry_s)
                    await self._rest()
                    await asyncio.sleep(retry_s)
                    retry_s = min(_MAX_RETRY_S, 2 * retry_s)
        finally:
            await self._rest()

    async def save_moved(self) -> None:
        """Until cancelled: store which rows have moved where no chunk does it soon."""
        while True:
            await asyncio.sleep(_IDLE_S if self._runs.find_begun() is None else _SAVE_AFTER_S)
            moved, current = self._deliveries.moved, self._runs.find_begun()
            if not moved.has_unsaved or current is None:
                continue
            try:
                if not moved.are_too_many:
                    await self._deliveries.store(self._moved_rows)
                elif self.chunked is None:  # it is paused
                    await self._refuse_table(current, too_many_moved(current))
            except (SourceError, StreamUnusable) as error:
                self._log_retrying(error, run=current.run.run, retry_in_s=_MAX_RETRY_S)
                await asyncio.sleep(_MAX_RETRY_S)

    def _log_retrying(self, error: SourceError | StreamUnusable, *, run: str, retry_in_s: float) -> None:
        """Once for each reason: what takes hours to pass, a missing right say, would fill the log."""
        if error.message != self._told:
            self._told = error.message
            log.warning("snapshot.retrying", run=run, reason=error.message, hint=error.hint, retry_in_s=retry_in_s)

    async def _moved_rows(self, at: At) -> AsyncGenerator[Block | Control, None]:
        del at
        if (current := self._runs.find_begun()) is not None:
            yield self._runs.advanced(current, rows=0, cursor=None, moved=self._deliveries.moved.keys)

    async def _rest(self) -> None:
        """Nothing is read: no changes are recorded, and no connection is kept."""
        self.chunked = None
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()

    # ------------------------------------------------------------------------------------ one table

    async def _connect(self) -> SnapshotReader:
        if self._reader is None:
            reader = SnapshotReader(interval_style=interval_style(self._config.events.types))
            await reader.connect(self._config.postgres.dsn)
            self._reader = reader
        return self._reader

    async def _work(self, run: OpenRun) -> None:
        reader = await self._connect()
        if run.tables is None:
            await self._resolve(run)
            return
        await self._estimate(run)
        if (current := self._runs.current()) is None:
            return
        try:
            await self._read(current, reader)
        except (Restart, TableChanged):
            return
        except (SnapshotRefused, TooLargeRow, DecodeError, RuleUnfit, SubjectCollision, StreamUnusable) as error:
            if isinstance(error, SnapshotRefused) and error.is_retryable:
                raise
            await self._refuse_table(current, error)
        finally:
            self.chunked = None

    async def _refuse_table(self, current: Current, error: Exception) -> None:
        reason = error.message if isinstance(error, DittoError) else str(error)
        hint = getattr(error, "hint", None)
        log.error("snapshot.failed", run=current.run.run, table=current.name, reason=reason, hint=hint)
        await self._deliveries.store(lambda at: self._fail(current, reason, hint))

    async def _fail(self, current: Current, reason: str, hint: str | None) -> AsyncGenerator[Block | Control, None]:
        run = self._runs.find(current.run.run)
        if run is not None and run.tables and run.tables[0] == current.table:
            self._deliveries.moved.given_up()
            for control in self._runs.ended(current, "failed", reason=reason, hint=hint):
                yield control

    async def _read(self, current: Current, reader: SnapshotReader) -> None:
        table = await self._describe(current, reader)
        run = current.run
        where = ""
        if run.where:
            from ditto.source.snapshot_where import check_where  # noqa: PLC0415 -- brings sqlglot

            where = check_where(run.where, table, hidden=self._prepared.planner.hidden(table.relation))
        plan = await self._plan(table)
        if any(plan.kinds[column] in {SKIP, CALL} for column in table.key):
            # A cursor would show what events do not.
            table = replace(table, key=(), key_columns=())
        schema, name = current.table
        self._progress.begin(run.run, schema, name, estimated_rows=None if where else table.estimated_rows)
        if not table.key:
            await WholeTable(
                current,
                table,
                plan,
                dsn=self._config.postgres.dsn,
                where=where,
                reader=reader,
                deliveries=self._deliveries,
                progress=self._progress,
            ).run()
            return
        if run.cursor is not None and run.oid != table.relation.oid:
            raise SnapshotRefused(
                f"another table got the name {table.name} while it was read",
                hint="start a snapshot of this table again",
            )
        if run.cursor is not None and run.key != key_order(table):
            raise SnapshotRefused(
                f"the key of {table.name} became another one while the table was read",
                hint="start a snapshot of this table again",
            )
        limit = run.max_rows_per_s or self._config.snapshot.max_rows_per_s
        chunked = ChunkedTable(
            current,
            table,
            plan,
            where=where,
            reader=reader,
            deliveries=self._deliveries,
            size=ChunkSize(
                # Of a slow run a second's rows at most, and not thousands once in an hour.
                max_rows=min(self._config.snapshot.chunk_rows, limit or self._config.snapshot.chunk_rows),
                max_bytes=self._config.snapshot.chunk_bytes,
            ),
            limits=Limits(limit, clock=self._clock, changed=self._deliveries.changed),
            progress=self._progress,
            clock=self._clock,
        )
        if run.has_begun and (run.oid, run.key) == (table.relation.oid, key_order(table)):
            chunked.record()
        else:
            await self._deliveries.store(chunked.begin)
        self.chunked = chunked
        await chunked.run()

    def check_memory(self) -> None:
        """Give up what was recorded where there is too much of it. Called after each block."""
        decoder = self._deliveries.decoder
        if decoder.recorded_bytes <= MAX_RECORDED_BYTES:
            return
        if self.chunked is not None:
            self.chunked.give_up_recorded()
        else:
            self._deliveries.record_again()  # of a run that is paused: only what moves rows is of interest

    async def _describe(self, current: Current, reader: SnapshotReader) -> SnapshotTable:
        def tell(waits: Sequence[Blocker]) -> None:
            self._progress.waiting(waits)
            if self._deliveries.changed.is_set():
                raise Restart

        schema, name = current.table
        return await reader.describe(self._config.postgres.publication, schema, name, tell=tell)

    async def _plan(self, table: SnapshotTable) -> TablePlan:
        plan = await self._prepared.planner.plan(table.relation)
        relation = table.relation
        if plan.routes.read is None:
            raise SnapshotRefused(
                f"events.tables lets no row of {relation.namespace}.{relation.name} pass",
                hint="a table is read where its inserts or updates are selected",
            )
        await self._ends.sink.ensure_routes({*plan.routes.names, plan.routes.read.decode()}, is_ahead=True)
        return plan

    # ------------------------------------------------------------------------------------ which tables

    async def _resolve(self, run: OpenRun) -> None:
        published = await published_tables(self._ends.control, self._config.postgres.publication)
        found = choose(run.wanted, self._prepared.planner.selected(published))
        if run.after is not None:
            found = sorted(each for each in found if each > run.after)
        if found:
            self._runs.resolved(run.run, found)
            self._progress.resume(self._runs)
            return
        if run.after is not None:
            await self._deliveries.store(lambda at: self._finish(run))
            return
        names = ", ".join(run.wanted) or "the publication's tables"
        await self._deliveries.store(
            lambda at: self._refuse(run, f"no table that is published and selected is in {names}")
        )

    async def _estimate(self, run: OpenRun) -> None:
        """Once: how many rows all tables of the run have, so that the status can tell how long it will take."""
        if run.run in self._estimated or run.where:
            return
        self._estimated.add(run.run)
        found = await look(self._ends.control, run.tables or ())
        self._progress.estimated(run.run, {each.table: round(each.rows) for each in found if each.rows})

    async def _finish(self, run: OpenRun) -> AsyncGenerator[Block | Control, None]:
        if self._runs.find(run.run) is not None:
            yield self._runs.finished(run.run)

    async def _refuse(self, run: OpenRun, reason: str) -> AsyncGenerator[Block | Control, None]:
        if self._runs.find(run.run) is not None:
            yield self._runs.refused(run.run, reason)


def choose(wanted: Sequence[str], tables: Sequence[Table]) -> list[Table]:
    """The tables that are wanted, in the order of the names; a plain name that there is not stands for itself.

    What is wrong with that one is found out when it is its turn.
    """
    if not wanted:
        return list(tables)
    found: dict[Table, None] = {}
    for key in wanted:
        pattern = TablePattern(key)
        matching = [table for table in tables if pattern.matches(*table)]
        if not matching and pattern.is_plain:
            matching = [(pattern.schema or "public", pattern.table)]
        found.update(dict.fromkeys(matching))
    return list(found)
