"""The last phase of a session: read, encode, send; and what depends on how far that has got."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from ditto.decoding.choose import IMPL
from ditto.decoding.messages import Block, ChangeRefused, Relation
from ditto.errors import DittoError, RuleUnfit, SinkError
from ditto.formats.base import Format
from ditto.lsn import Checkpoint, Transaction, format_lsn
from ditto.monitoring.session_counters import SessionCounters
from ditto.monitoring.state import States
from ditto.pipeline.beginning import Ready
from ditto.pipeline.blocked import tell_of_blocking
from ditto.pipeline.checkpoint_timing import CheckpointTiming, Progress
from ditto.pipeline.confirmer import Confirmer
from ditto.pipeline.draining import wait_for_end
from ditto.pipeline.fitting import make_fitting
from ditto.pipeline.leaving import Leaving
from ditto.pipeline.open_routes import open_routes
from ditto.pipeline.planning import make_format
from ditto.pipeline.refused import refusal
from ditto.pipeline.saved_position import Place
from ditto.pipeline.snapshots.snapshots import Snapshots
from ditto.pipeline.source_history_check import SourceHistoryCheck
from ditto.pipeline.synchronous_commit import SynchronousWatch
from ditto.pipeline.too_large import not_taken
from ditto.pipeline.window import Window
from ditto.routing.traceparents import Traceparents
from ditto.sinks.base import Batch, MessageTooLarge

log = structlog.get_logger()

_REPORT_PERIOD_S: Final = 60.0
_LARGE_BLOCK: Final = 4 << 20
"""Bytes; each step that such a block goes through takes some 10 ms or more: heartbeat, HTTP and acknowledgements wait
for one of them, not for all."""
_MAX_HELD: Final = 1 << 20
"""Bytes of blocks that wait for the sink to take new routes, while Relation after Relation comes: where hundreds of
tables come at once, a change of the stream for each of them would take a minute, and one for all of them milliseconds.
"""
_SNAPSHOT_AHEAD: Final = 500
"""Messages that may be unacknowledged when more rows of a snapshot are sent, 2,000 at once. Live events come behind
these: with a full window of 16,000 they came 0.2 s later, and no more rows were stored in a second.
"""
_SNAPSHOT_AHEAD_BYTES: Final = 4 << 20
"""The same in bytes, where messages are groups. The sink works at them while the next rows are read."""
_PLACE_PERIOD_S: Final = 1.0
_RESTORE_PERIOD_S: Final = 30.0


class Streaming:
    """Reads until a fault, or until it is cancelled; then `drain` lets everything that was sent become durable."""

    def __init__(
        self,
        ready: Ready,
        *,
        window: Window,
        confirmer: Confirmer,
        synchronous: SynchronousWatch,
        counters: SessionCounters,
        states: States,
        leave: asyncio.Event,
    ) -> None:
        """Where `leave` is set, `run` returns between two transactions."""
        ends = ready.prepared.ends
        self._ready = ready
        self._ends = ends
        self._sink = ends.sink
        self._source = ends.source
        self._clock = ends.clock
        self._window = window
        self._confirmer = confirmer
        self._synchronous = synchronous
        self._counters = counters
        self._states = states
        self._events = ends.config.events
        self._format: Format = make_format(ends.config.events)
        self._fitting = make_fitting(ready, self._format)
        self._open_routes = open_routes(ends.config.events, ends.sink, database=ends.database)
        self._traceparents = Traceparents(ends.config.events.traceparent.column)
        self._place = Place(ends.sink.checkpoints, clock=ends.clock)
        self._checkpoints = CheckpointTiming(now=ends.clock())
        self._history = SourceHistoryCheck(ready, confirmer=confirmer, outbound=self)
        self._wanted_lsn = 0
        self._held: list[Block] = []  # blocks that ended at a Relation, and what follows them
        self._routes: set[str] = set()  # those of their relations, which the sink may not take yet
        self._snapshots = Snapshots(
            ready,
            acknowledged=lambda: window.acknowledged,
            checkpoint=lambda lsn: self.checkpoint(lsn, self._last_transaction()),
        )
        self._leaving = Leaving(ready, leave, confirmer=confirmer, has_barrier=lambda: self._snapshots.has_barrier)
        confirmer.limit_by(lambda lsn: self._place.limit(self._snapshots.limit(lsn)))
        counters.attach(window, ends.sink)

    def beside(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run beside `run` and `drain`; each until it is cancelled."""
        synchronous = self._synchronous.run(
            on_synchronous=lambda: self._confirmer.confirm(wants_reply=True)  # the answer tells of commits that wait
        )
        return [
            self._ready.prepared.watch.run(),
            self._ready.dropped.run(),
            synchronous,
            self._keep_place(),
            self._leaving.wake(),
            self._report_progress(),
            *([tell_of_blocking(self._sink, self._states)] if self._sink.capabilities.may_be_blocked else []),
            *self._snapshots.beside(),
        ]

    async def run(self) -> None:
        """Read, plan, encode, send: until a fault or a cancellation, or until it has left."""
        await self._start()
        while True:
            try:
                block = await self._source.read_block(waits=not self._held)
                if block.relation is not None:
                    self._held.append(block)
                    await self._plan(block.relation)
            except (DittoError, ChangeRefused) as error:
                await self._forward_held()
                if isinstance(error, ChangeRefused):  # all before that change is to be durable first
                    await self._window.settle()
                    raise refusal(error, self._sink.capabilities, self._events) from None
                raise
            if block.relation is None:
                if self._held or not self._history.is_certain:
                    self._held.append(block)
                    await self._forward_held()
                else:
                    await self._forward(block)
            elif sum(each.size for each in self._held) >= _MAX_HELD:
                await self._forward_held()
            else:
                continue
            await self._snapshots.after(block, self._forward_made, is_certain=self._history.is_certain)
            if (
                self._leaving.is_asked
                and not self._held
                and self._leaving.may(block, is_certain=self._history.is_certain)
            ):
                return

    async def _start(self) -> None:
        start, slot, counters = self._ready.start, self._ready.prepared.slot, self._ends.counters
        if start.gap is not None:
            await self.gap_accepted()
            first, last = (format_lsn(lsn) for lsn in start.gap)
            log.error("stream.gap_accepted", slot=slot.name, missing_from=first, missing_to=last)
            counters.gap_at = time.time()
        if self._history.is_certain:
            self._confirmer.begin(start.after.commit_lsn)
        self._snapshots.prepare()
        if self._history.is_certain:
            await self._snapshots.begin(self._forward_made)
        counters.rewinds += slot.confirmed_lsn < start.after.commit_lsn
        if start.needs_checkpoint:
            await self.checkpoint(slot.confirmed_lsn, None)
        counters.created.clear()  # it is in use
        self._states.enter("streaming", reason="the slot is taken and the stream's tail is known")
        log.info(
            "pipeline.streaming",
            slot=slot.name,
            confirmed=format_lsn(slot.confirmed_lsn),
            tail=str(start.after),
            **self._sink.capabilities.context,
            decoder=IMPL,
        )

    async def _plan(self, relation: Relation) -> None:
        """The relation's changes can be decoded from now on, and are sent once the sink takes its routes."""
        planner = self._ready.prepared.planner
        try:
            plan = await planner.plan(relation)
        except RuleUnfit as error:
            self._ready.decoder.define(relation.oid, planner.unfit(relation, error))
            return
        self._ready.decoder.define(relation.oid, plan)
        self._routes |= plan.routes.names

    async def _forward_made(self, block: Block) -> int:
        """Send what a snapshot stores here; returns the delivery number of its last message."""
        await self._window.wait_for_few(_SNAPSHOT_AHEAD, _SNAPSHOT_AHEAD_BYTES)
        await self._forward(block, is_made=True)
        await asyncio.sleep(0)  # for the next chunk, which the server sends meanwhile
        return self._window.sent

    async def _forward_held(self) -> None:
        """Let the sink take the routes of relations that have just been planned, and send what has been read."""
        if self._routes:
            await self._sink.ensure_routes(self._routes)
            self._routes = set()
        held, self._held = self._held, []
        for block in held:
            if not self._history.is_certain:
                if not await self._history.judge(block):
                    continue
                await self._snapshots.begin(self._forward_made)
            await self._forward(block)

    # ------------------------------------------------------------------------------------ one block

    async def _forward(self, block: Block, *, is_made: bool = False) -> None:
        """`is_made`: a snapshot's own, which does not wait in a group."""
        before = self._window.sent
        self._ends.counters.read_bytes += block.size
        traceparents = self._traceparents.of(block)  # a block of nothing but a message may be the one that tells
        if self._open_routes is not None:
            await self._open_routes.ensure(block.routes)
        if block.changes or self._fitting is not None:
            block = await self._send(block, traceparents, is_made=is_made)
        if (delivered := block.delivered) is not None:
            # Up to the transaction, not past it: the last one comes again after a restart and is skipped. Should the
            # sink have lost its end, what is missing is stored again; and slot and tail compare exactly.
            self._confirmer.sent(before + delivered.event_count, delivered.commit_lsn, delivered.end_lsn)
        self._wanted_lsn = max(self._wanted_lsn, block.wanted_lsn)
        if block.is_reply_requested:
            await self._window.settle()
        # With messages on their way only what somebody waits for is a reason, and most blocks leave some.
        is_awaited = block.is_reply_requested or self._wanted_lsn or self._synchronous.is_synchronous
        may_be_due = block.idle_lsn and (is_awaited or not self._window.outstanding_count)
        if may_be_due and self._checkpoints.is_due(self._progress(block), now=self._clock()):
            await self.checkpoint(block.idle_lsn, self._last_transaction())
        if block.is_reply_requested:
            await self.settle(self._last_transaction())
            self._confirmer.confirm()
            if self._confirmer.is_holding:
                # A shutdown would wait for the delay. It has ended this session by now, and then so does Ditto's.
                await self._ends.control.database()

    async def _send(self, block: Block, traceparents: dict[int, bytes] | None, *, is_made: bool) -> Block:
        """Returns the block in which each entry is a message: another one where events go in groups."""
        clock, window, sink = self._clock, self._window, self._sink
        if block.size >= _LARGE_BLOCK:
            await asyncio.sleep(0)
        began_at = clock()
        payloads = self._format.encode(block)
        events = len(payloads.ends)
        if self._fitting is not None:
            found = await self._fitting.fit(block, payloads, traceparents, is_made=is_made)
            if not (block := found.block).changes:
                return block
            payloads, traceparents, events = found[1:]
        if block.size >= _LARGE_BLOCK:
            await asyncio.sleep(0)
        encoded_at, waited_s = clock(), window.waited_s + sink.waited_s
        count, size = len(payloads.ends), len(payloads.data)
        if not window.has_room(count, size):
            await window.wait_for_room(count, size)
        is_measured = self._counters.probe.is_due(encoded_at)
        batch = Batch(
            first=window.sent + 1,
            routes=block.routes,
            commit_lsns=block.commit_lsns,
            ordinals=block.ordinals,
            payloads=payloads,
            traceparents=traceparents,
            snapshot_run=block.snapshot_run,
            more_follows=not block.is_drained,
            headers=block.headers,
            keys=block.keys,
            is_urgent=is_measured or bool(block.wanted_lsn) or self._synchronous.is_synchronous,
        )
        try:
            await sink.send(batch)
        except MessageTooLarge as error:
            raise not_taken(block, error, sink=sink.capabilities, events=self._events) from error
        window.add(count, size)
        waited_s = window.waited_s + sink.waited_s - waited_s
        self._counters.sent(
            events=events,
            size=size,
            last_number=window.sent,
            is_measured=is_measured,
            # The description of a table, which may come last, has no commit time, and some messages have none.
            commit_time=getattr(block.changes[-1], "commit_time", None) or None,
            stage_s=(encoded_at - began_at, clock() - encoded_at - waited_s, waited_s),
        )
        return block

    def _progress(self, block: Block) -> Progress:
        return Progress(
            idle_lsn=block.idle_lsn,
            confirmed_lsn=self._confirmer.confirmed_lsn,
            end_lsn=self._confirmer.end_lsn,
            wanted_lsn=self._wanted_lsn,
            outstanding=self._window.outstanding_count,
            is_reply_requested=block.is_reply_requested,
            is_synchronous=self._synchronous.is_synchronous,
        )

    def _last_transaction(self) -> Transaction | None:
        """The last one that the slot has sent, or that the sink knows of."""
        known = [each for each in (self._ready.decoder.last_transaction(), self._history.last) if each is not None]
        return max(known, key=lambda each: each.commit_lsn, default=None)

    # ------------------------------------------------------------------------------------ how far it is

    async def gap_accepted(self) -> None:
        """Events are missing for good: ask for a snapshot, where the configuration says so."""
        await self._snapshots.heal_gap()

    async def checkpoint(self, lsn: int, last: Transaction | None) -> None:
        """Store "everything before `lsn` is stored"; once that is durable, `lsn` is confirmed.

        `last` is the last transaction before it. Nothing waits for it: the sink keeps the order.
        """
        await self._window.wait_for_room(1, 0)
        number = self._window.sent + 1
        await self._sink.checkpoints.save(Checkpoint(lsn, last), number=number)
        self._window.add(1, 0)
        self._confirmer.sent(number, lsn, lsn)
        self._checkpoints.saved(lsn, now=self._clock())
        self._ends.counters.checkpoints += 1

    async def settle(self, last: Transaction | None) -> None:
        """Wait until everything that was sent is durable, and note the place."""
        await self._window.settle()
        await self._note_place(last, is_urgent=True)

    async def _note_place(self, last: Transaction | None, *, is_urgent: bool = False) -> None:
        """Snapshots first: a request before the place does not come again."""
        if self._place.is_waiting and not is_urgent:
            return  # each of both is an update of the stream
        lsn = self._confirmer.end_lsn
        await self._snapshots.keep()
        await self._place.keep(lsn, last, is_urgent=is_urgent)

    async def _keep_place(self) -> None:
        """Note beside the messages how far this is, where the last one may be deleted; and what they are filled from.

        That is also where the sink's own notes are put back from time to time.
        """
        has_new_source = self._ready.prepared.has_new_source
        seen_at = self._clock()
        while True:
            await asyncio.sleep(_PLACE_PERIOD_S)
            if self._history.is_certain:
                await self._note_place(self._last_transaction())
                self._confirmer.confirm_news()
            if has_new_source and self._confirmer.has_stored:
                # Not before a message of this session is stored: what an old primary may still have stored
                # after the tail was read would otherwise be taken for this timeline's.
                await self._sink.checkpoints.save_source(self._ends.pipeline)
                has_new_source = False
            if self._clock() - seen_at >= _RESTORE_PERIOD_S:
                await self._sink.checkpoints.restore()
                seen_at = self._clock()

    async def _report_progress(self) -> None:
        """One line a minute."""
        counters = self._ends.counters
        while True:
            count, began_at = counters.events, self._clock()
            await asyncio.sleep(_REPORT_PERIOD_S)
            log.info(
                "pipeline.progress",
                slot=self._ready.prepared.slot.name,
                events=counters.events,
                events_per_s=round((counters.events - count) / (self._clock() - began_at), 1),
                outstanding=self._window.outstanding_count,
                lag_s=round(self._counters.probe.lag_s(), 3),
                confirmed=format_lsn(self._confirmer.confirmed_lsn),
            )

    async def drain(self, *, reason: str) -> None:
        """Everything that was sent is durable and confirmed; or the sink waits, or the deadline has passed."""
        self._states.enter("draining", reason=reason)
        log.info("pipeline.draining", outstanding=self._window.outstanding_count)
        is_whole = await wait_for_end(self._settle_all(), sink=self._sink, window=self._window)
        self._confirmer.confirm()
        if is_whole:  # otherwise a warning has said what is left
            log.info(
                "pipeline.drained",
                events=self._ends.counters.events,
                confirmed=format_lsn(self._confirmer.confirmed_lsn),
            )

    async def _settle_all(self) -> None:
        await self._window.settle()
        with suppress(SinkError):  # somebody may just have let the sink delete its last message
            await self._sink.checkpoints.restore()
        await self._note_place(self._last_transaction(), is_urgent=True)
