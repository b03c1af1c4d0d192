"""A table without a key, read whole at one point of the stream.

Without a key a row cannot be found among the changes, so nothing can be overlaid: the stream has to be held where the
snapshot was taken. A temporary slot gives both, the snapshot and C, the LSN that it belongs to. Making it takes as long
as the transactions that have written, and of these some may wait for Ditto, as the synchronous standby, to confirm
their commits. So the stream goes on meanwhile, from marker to marker: it is held at each one for a moment, and the next
one is in the WAL before it is let go. When the slot is there, the stream is nearly always before C. A restart reads the
table from its beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

import structlog

from ditto.decoding.messages import Block
from ditto.formats.snapshot_events import Control
from ditto.pipeline.snapshots.chunks import Restart, row_count
from ditto.pipeline.snapshots.deliveries import At, Deliveries
from ditto.pipeline.snapshots.limits import PIECE_BYTES, PIECE_ROWS
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.runs import Current
from ditto.routing.table_plans import TablePlan
from ditto.source.blockers import Blocker
from ditto.source.exact_cut import ExactCut, exact_cut
from ditto.source.snapshot_reader import SnapshotReader
from ditto.source.snapshot_table import SnapshotTable

log = structlog.get_logger()

_HOLD_S: Final = 0.5
"""How long the stream is held at each marker: making a slot takes 40 to 60 ms where transactions are short."""
_MAX_HOLD_S: Final = 4.0
"""The same when the stream was past C before: it was held for too short a time."""


class WholeTable:
    """Reads one table."""

    def __init__(
        self,
        current: Current,
        table: SnapshotTable,
        plan: TablePlan,
        *,
        dsn: str,
        where: str,
        reader: SnapshotReader,
        deliveries: Deliveries,
        progress: Progress,
    ) -> None:
        self._current = current
        self._table = table
        self._plan = plan
        self._dsn = dsn
        self._where = where
        self._reader = reader
        self._deliveries = deliveries
        self._progress = progress
        self._cut: ExactCut | None = None
        self._next: asyncio.Future[None] | None = None
        """Ends when the stream has been held at the next marker."""
        self._done: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """To the end of the table, unless the run is paused or cancelled before. Raises what the reader raises."""
        hold_s = _HOLD_S
        while True:
            if not self._is_wanted:
                raise Restart
            snapshot = await self._reader.current_snapshot()
            await self._reader.wait_for(snapshot.xmax, tell=self._tell)
            self._progress.reading()
            async with AsyncExitStack() as stack:
                done = await self._cut_in(stack, hold_s)
                if done is not None:
                    await self._deliveries.emit()
                    await done
                    return
            hold_s = min(_MAX_HOLD_S, 2 * hold_s)

    async def _cut_in(self, stack: AsyncExitStack, hold_s: float) -> asyncio.Future[None] | None:
        """Make the cut while the stream goes from marker to marker; the future ends when its rows are stored.

        None where the stream was past the cut, or where the table is not wanted any more.
        """
        cut = exact_cut(
            self._dsn,
            self._table,
            where=self._where,
            interval_style=self._reader.interval_style,
            tell=self._tell,
        )
        making = asyncio.ensure_future(stack.enter_async_context(cut))
        try:
            held: asyncio.Future[None] | None = await self._deliveries.send(partial(self._hold, making, hold_s))
            while held is not None:
                await held
                held, self._next = self._next, None
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)
        return self._done

    def _tell(self, waits: Sequence[Blocker]) -> None:
        self._progress.waiting(waits)
        if not self._is_wanted:
            raise Restart

    @property
    def _is_wanted(self) -> bool:
        active = self._deliveries.runs.current()
        return active is not None and (active.run.run, active.table) == (self._current.run.run, self._current.table)

    # ------------------------------------------------------------------------------------ where the stream is held

    async def _hold(
        self, making: asyncio.Task[ExactCut], hold_s: float, at: At
    ) -> AsyncGenerator[Block | Control, None]:
        """Nothing is stored here but a checkpoint: the stream waits for the slot."""
        if not self._is_wanted:
            return
        await self._deliveries.checkpoint(at.commit_lsn)
        await asyncio.wait([making], timeout=hold_s)
        if not making.done():
            self._next = await self._deliveries.send(partial(self._hold, making, hold_s))
            return
        cut = making.result()
        if cut.consistent_lsn <= at.commit_lsn:
            log.info("snapshot.cut_again", table=self._current.name, held_s=hold_s)
            return
        place = At(cut.consistent_lsn - 1, at.commit_time, 0)  # LSNs are multiples of 8: nothing else is there
        self._cut = cut
        self._done = self._deliveries.expect_before(cut.consistent_lsn, place, self._make)
        for control in list[Control]():  # none: a generator all the same
            yield control

    async def _make(self, at: At) -> AsyncGenerator[Block | Control, None]:
        cut, current, runs = self._cut, self._current, self._deliveries.runs
        if cut is None or not self._is_wanted:
            return
        await cut.wait_until_safe()
        # Not before: without a key a consumer drops the table's rows here, and those that follow are all there are.
        yield runs.begun(current, key=())
        ordinal = 2
        async for rows in cut.rows():
            start = stored = 0
            while start < rows.count:
                stop = rows.piece(start, max_rows=PIECE_ROWS, max_bytes=PIECE_BYTES)
                block = self._deliveries.decoder.read_block_of(
                    self._plan,
                    rows,
                    start,
                    stop,
                    run=current.run.run,
                    commit_lsn=at.commit_lsn,
                    commit_time=at.commit_time,
                    xid=at.xid,
                    first_ordinal=ordinal,
                    key=(),
                    moved_cursor=None,
                )
                block.snapshot_run = current.run.run
                block.is_drained = False  # more rows follow at once, or the end
                stored += row_count(block)
                yield block
                ordinal += stop - start
                start = stop
            runs.advanced(current, rows=stored, left_out=rows.count - stored, cursor=None, moved=())
            self._progress.stored(rows.count, rows.size)
        for control in runs.ended(current, "done"):
            yield control
