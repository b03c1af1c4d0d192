"""Snapshots as the stream of one session sees them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from ditto.decoding.event_id import event_key
from ditto.decoding.messages import MARKER_PREFIX, Block
from ditto.pipeline.beginning import Ready
from ditto.pipeline.snapshots import moved_rows
from ditto.pipeline.snapshots.chunks import names_in
from ditto.pipeline.snapshots.deliveries import At, Deliveries, Send
from ditto.pipeline.snapshots.moved_rows import MovedRows
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.runner import Runner
from ditto.pipeline.snapshots.runs import MOST_BYTES, Runs
from ditto.pipeline.snapshots.saved_state import SavedState
from ditto.source.logical_messages import emit, request

log = structlog.get_logger()

_NOT_TRANSACTIONAL: Final = "a request for a snapshot is not transactional: its message has no position in the stream"
_TRANSACTIONAL: Final = "send it with true: pg_logical_emit_message(true, 'ditto.snapshot', '{\"start\": []}')"


class Snapshots:
    """Costs the stream a look at each block where no table is read."""

    def __init__(
        self, ready: Ready, *, acknowledged: Callable[[], int], checkpoint: Callable[[int], Awaitable[None]]
    ) -> None:
        ends = ready.prepared.ends
        self._config, self._control = ends.config, ends.control
        self._decoder = ready.decoder
        self._void_requests = 0
        largest = ends.sink.capabilities.max_bytes or sys.maxsize
        self._moved = MovedRows(acknowledged=acknowledged, most_bytes=min(moved_rows.MOST_BYTES, largest // 2))
        denial = ends.counters.snapshots_denied
        runs = Runs(() if denial else ready.open_runs, most_bytes=min(MOST_BYTES, largest // 4))
        planner = ready.prepared.planner
        runs.forget_places(lambda table, key: planner.hides(table, names_in(key)))
        self._tail, self._last = ready.start.after, ready.last
        self._told_by_tail = runs.with_tail(ready.tail_mark, self._tail.ordinal)
        progress = Progress(ends.counters.snapshots, clock=ends.clock)
        progress.resume(runs)
        self._deliveries = Deliveries(
            runs,
            decoder=ready.decoder,
            moved=self._moved,
            slot=ready.prepared.slot.name,
            key=event_key(ends.pipeline.system_identifier, ready.prepared.slot.name),
            prefix=ends.config.events.prefix,
            denial=denial,
            emit=lambda token: emit(ends.control, MARKER_PREFIX, token),
            progress=progress,
            ensure_routes=ends.sink.ensure_routes,
            checkpoint=checkpoint,
        )
        self._state = SavedState(ends.sink.checkpoints, self._deliveries.controls, acknowledged=acknowledged)
        self._runner = Runner(ready.prepared, self._deliveries, progress=progress, clock=ends.clock)

    @property
    def has_barrier(self) -> bool:
        """Whether the decoder stops before some transaction, for a table without a key."""
        return self._deliveries.has_barrier

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run beside the stream; each until it is cancelled."""
        return [self._runner.run(), self._runner.save_moved()]

    def limit(self, lsn: int) -> int:
        """How much of this LSN may be confirmed."""
        return self._moved.limit(lsn)

    def prepare(self) -> None:
        """Before the first block is read."""
        self._runner.prepare()

    async def begin(self, send: Send) -> None:
        """Before the first block is sent: `send` sends a block of snapshots.

        How far a table is read is stored where the tail alone, a row, has told it. Otherwise rows came twice where the
        session ended between an event and the next chunk, which may have to wait for long transactions.
        """
        tail, last = self._tail, self._last
        if self._told_by_tail is not None and last is not None and last.commit_lsn == tail.commit_lsn:
            at = At(last.commit_lsn, last.commit_time, last.xid or 0)
            await self._deliveries.store_behind(at, tail.ordinal, self._told_by_tail, send)

    async def heal_gap(self) -> None:
        """Ask for a snapshot of everything, where `delivery.on_gap` says so: events are missing for good."""
        if self._config.delivery.on_gap == "snapshot":
            await request(self._control, slot=self._config.postgres.slot, kind="gap")

    async def after(self, block: Block, send: Send, *, is_certain: bool) -> None:
        """The block has been sent: store what belongs at its end. `send` sends a block of snapshots.

        Nothing is stored where it is not certain that the stream comes from this slot.
        """
        if self._decoder.moved:
            self._moved.add(self._decoder.moved)
            self._decoder.forget_moved(list(self._decoder.moved))
        if (table := self._runner.chunked) is not None and (block.changes or block.is_reply_requested):
            table.note_events()  # or a commit waits for Ditto
        self._runner.check_memory()
        if self._decoder.void_request_count != self._void_requests:
            self._void_requests = self._decoder.void_request_count
            log.warning("snapshot.ignored", reason=_NOT_TRANSACTIONAL, hint=_TRANSACTIONAL)
        if block.message is not None and is_certain:
            await self._deliveries.at_message(block.message, send)
        if block.is_at_barrier:
            await self._deliveries.at_barrier(send)

    async def keep(self) -> None:
        """Keep how far snapshots are beside the stream."""
        await self._state.keep()
