"""A table with a key, read in chunks while the stream goes on.

A chunk is what one snapshot S of the database shows. Its place in the stream is a marker W, a transaction that comes
after everything that S sees. Where the stream reaches W, the changes that were recorded and are invisible in S are
applied: each row is stored as it is at W. 300 of 300 chunks were exact so under load; of snapshots that are exported
with a slot, 3 to 6 of 300 had rows that were stale already.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

import structlog

from ditto.decoding.change import Change
from ditto.decoding.messages import Block
from ditto.errors import SnapshotRefused
from ditto.formats.snapshot_events import Control
from ditto.pipeline.snapshots.deliveries import At, Deliveries
from ditto.pipeline.snapshots.limits import PIECE_BYTES, PIECE_ROWS, ChunkSize, Limits
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.runs import Current
from ditto.routing.table_plans import TablePlan
from ditto.source.blockers import Blocker
from ditto.source.snapshot_chunk import Chunk
from ditto.source.snapshot_reader import SnapshotReader
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.snapshot_transaction import TableChanged

log = structlog.get_logger()

MAX_RECORDED_BYTES: Final = 32 << 20
"""Of changes between the snapshot of a chunk and its marker, usually some milliseconds. A transaction of a million
changes may need more: then the chunk is read again, when that transaction has gone by."""
_RECENT_S: Final = 0.2
"""A stream that has brought events within this time has some at the moment."""
_HEAD_START_S: Final = 0.005
"""How long the rows of a chunk wait at most until the server sends those of the next one, which takes 2 ms. Otherwise
it has nothing to do while they are sent: its answers to four statements wait for Ditto, which has a millisecond's work
between any two. With it 0.96 of the time a row took."""
_MAX_WAITING: Final = 1
"""Chunks that wait for their markers while the next one is read."""


class Restart(Exception):
    """What was recorded is of no use any more: begin to record anew, and go on after the last row that is stored."""


class _Read(NamedTuple):
    """A chunk that waits for its marker."""

    chunk: Chunk
    token: str
    done: asyncio.Future[None]


class ChunkedTable:
    """Reads one table from its cursor on. One object for each time that recording begins."""

    def __init__(
        self,
        current: Current,
        table: SnapshotTable,
        plan: TablePlan,
        *,
        where: str,
        reader: SnapshotReader,
        deliveries: Deliveries,
        size: ChunkSize,
        limits: Limits,
        progress: Progress,
        clock: Callable[[], float],
    ) -> None:
        self._current = current
        self._table = table
        self._plan = plan
        self._where = where
        self._reader = reader
        self._deliveries = deliveries
        self._decoder = deliveries.decoder
        self._size = size
        self._limits = limits
        self._progress = progress
        self._clock = clock
        self._events_at = -math.inf
        self._moved = deliveries.moved
        self._read: deque[_Read] = deque()
        self._has_rows = asyncio.Event()
        """The server sends rows of the next chunk."""
        self._cursor = current.run.cursor  # of the last row that was read
        self._stored_cursor = self._cursor
        self._is_void = False
        self._is_done = False

    def record(self) -> None:
        """From now on changes of the table are recorded. Called where the stream is held."""
        self._deliveries.record(self._table.relation.oid, self._table.key, key_names(self._table))

    async def begin(self, at: At) -> AsyncGenerator[Block | Control, None]:
        """The table begins here: whoever gets what is recorded has seen the beginning before."""
        del at
        if self._is_wanted:
            self._moved.begin()
            self._cursor = self._stored_cursor = None
            self.record()
            table = self._table
            yield self._deliveries.runs.begun(self._current, key=key_order(table), oid=table.relation.oid)

    async def run(self) -> None:
        """To the end of the table, or until the run is paused or cancelled: what has been read is stored then.

        Raises Restart, TableChanged, TooLargeRow and what the reader raises.
        """
        first = await self._reader.current_snapshot()
        self._decoder.record_invisible(first)
        # Every transaction that was sent before recording began is over then, and so visible in every later snapshot.
        await self._reader.wait_for(first.xmax, tell=self._tell)
        self._moved.know(first.xmin - 1)
        self._progress.reading()
        try:
            while self._is_wanted and not self._is_done:
                if self._moved.are_too_many:
                    raise too_many_moved(self._current)
                if not await self._limits.wait():
                    continue  # a request has come: this table may not be wanted any more
                await self._read_one()
                if self._read[-1].chunk.is_last:
                    await self._settle()
            await self._settle()
        except Exception:
            await self._give_up()
            raise

    async def _give_up(self) -> None:
        """Give up the chunks that wait; one that is being stored at this moment is stored."""
        for each in self._read:
            if not self._deliveries.give_up(each.token):
                await asyncio.wait([each.done])

    async def _read_one(self) -> None:
        """Read a chunk and send its marker; at most two wait for theirs."""
        chunk = await self._reader.read_chunk(
            self._table,
            cursor=None if self._cursor is None else list(self._cursor),
            where=self._where,
            max_rows=self._size.rows,
            max_bytes=self._size.bytes,
            moved=self._moved.waiting,
            tell=self._tell,
            on_rows=self._has_rows.set,
        )
        self._has_rows.clear()
        self._size.took(chunk.took_s, has_events=self._has_events)
        self._limits.spend(chunk.rows.count)
        token, done = self._deliveries.expect(partial(self._make, chunk))
        self._read.append(_Read(chunk, token, done))
        if not await self._reader.emit_marker(self._table, token, tell=self._tell):
            self._deliveries.give_up(self._read.pop().token)
            await self._settle()
            raise TableChanged
        if chunk.cursor is not None:
            self._cursor = tuple(chunk.cursor)
        while len(self._read) > _MAX_WAITING:
            await self._settle_one()

    async def _settle(self) -> None:
        """Wait until every marker has been reached."""
        while self._read:
            await self._settle_one()

    async def _settle_one(self) -> None:
        await asyncio.wait([self._read[0].done])
        self._read.popleft().done.result()
        if self._is_void:
            raise Restart

    # ------------------------------------------------------------------------------------ where the stream is held

    async def _make(self, chunk: Chunk, at: At) -> AsyncGenerator[Block | Control, None]:
        """The rows as they are at the marker, and how far the table is read with them."""
        if self._is_void or not self._is_open:
            return
        if self._moved.are_too_many:  # or this may be the last chunk, and nobody would look again
            raise too_many_moved(self._current)
        began_at, has_events = self._clock(), self._has_events
        if not (has_events or chunk.is_last):
            await self._wait_for_next()
        decoder, run, rows = self._decoder, self._current.run.run, chunk.rows
        rows.overlay(decoder.recorded_invisible_in(chunk.snapshot), self._table.key)
        following = self._read[1].chunk if len(self._read) > 1 else chunk
        decoder.record_invisible(following.snapshot)
        # Rows that moved are the last ones: whoever goes on after them has the others.
        cursor = self._stored_cursor if chunk.cursor is None else tuple(chunk.cursor)
        start = stored = 0
        while start < rows.count:
            stop = rows.piece(start, max_rows=PIECE_ROWS, max_bytes=PIECE_BYTES)
            block = decoder.read_block_of(
                self._plan,
                rows,
                start,
                stop,
                run=run,
                commit_lsn=at.commit_lsn,
                commit_time=at.commit_time,
                xid=at.xid,
                first_ordinal=start + 1,
                key=self._table.key,
                moved_cursor=None if cursor is None else list(cursor),
            )
            block.snapshot_run = run
            block.is_drained = False  # more rows follow at once, or how far they are
            stored += row_count(block)
            yield block
            start = stop
        self._moved.resolve(chunk.moved)
        self._stored_cursor = cursor
        runs, current = self._deliveries.runs, self._current
        advanced = runs.advanced(
            current,
            rows=stored,
            left_out=rows.count - stored,
            cursor=self._stored_cursor,
            moved=self._moved.keys,
        )
        self._progress.stored(rows.count, rows.size)
        self._is_done = chunk.is_last and not self._moved.waiting
        if self._is_done:
            self._deliveries.record(None)
            for control in runs.ended(current, "done"):
                yield control
        else:
            yield advanced
        self._size.held(self._clock() - began_at, rows.count, rows.size, has_events=has_events)

    async def _wait_for_next(self) -> None:
        try:
            async with asyncio.timeout(_HEAD_START_S):
                await self._has_rows.wait()
        except TimeoutError:
            pass

    def note_events(self) -> None:
        """The stream has brought events of its own."""
        self._events_at = self._clock()

    @property
    def _has_events(self) -> bool:
        """Whether it does so at the moment: they wait while the rows of a chunk are sent."""
        return self._clock() - self._events_at < _RECENT_S

    def give_up_recorded(self) -> None:
        """There is too much of it: the chunks that wait for their markers are read again."""
        log.info("snapshot.recording_restarted", table=self._current.name, bytes=self._decoder.recorded_bytes)
        self._is_void = True
        self.record()

    def _tell(self, waits: Sequence[Blocker]) -> None:
        self._progress.waiting(waits)
        if not self._is_wanted or self._is_void:
            raise Restart

    @property
    def _is_open(self) -> bool:
        """The run was not cancelled. One that was paused has its chunks stored."""
        run = self._deliveries.runs.find(self._current.run.run)
        return run is not None and run.tables is not None and run.tables[:1] == (self._current.table,)

    @property
    def _is_wanted(self) -> bool:
        """It is this table's turn."""
        active = self._deliveries.runs.current()
        return active is not None and (active.run.run, active.table) == (self._current.run.run, self._current.table)


def row_count(block: Block) -> int:
    """How many rows are stored with a block: the description of their table may come before them."""
    return len(block.changes) - (bool(block.changes) and not isinstance(block.changes[0], Change))


def too_many_moved(current: Current) -> SnapshotRefused:
    """The error where `MovedRows` keeps them no more."""
    return SnapshotRefused(
        f"too many rows of {current.name} got other keys while it was read",
        hint="start a snapshot of this table again when that is over",
    )


def key_order(table: SnapshotTable) -> tuple[str, ...]:
    """The order in which a table is read: a cursor means something in this one alone."""
    return tuple(f"{column.name}:{column.order}" for column in table.key_columns)


def names_in(order: tuple[str, ...]) -> tuple[str, ...]:
    """The columns of a `key_order`."""
    return tuple(each.rpartition(":")[0] for each in order)


def key_names(table: SnapshotTable) -> tuple[str, ...]:
    """The columns of the key."""
    return tuple(column.name for column in table.key_columns)
