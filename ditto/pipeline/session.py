"""One attempt, from connecting to the first fault or the end: the only module that knows both ends."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import msgspec
import structlog

from ditto.config import PipelineConfig
from ditto.decoding.change import event_key
from ditto.decoding.implementation import IMPL, Decoder
from ditto.decoding.messages import Block, ChangeTooLarge, Extras
from ditto.errors import (
    ConnectionLost,
    NotNow,
    SinkError,
    SourceError,
    SourceRewound,
    StreamUnusable,
    SubjectCollision,
    TableLocked,
)
from ditto.formats.ditto import encode_events
from ditto.lsn import Checkpoint, Position, Transaction, format_lsn
from ditto.monitoring.counters import Counters
from ditto.monitoring.session_counters import SessionCounters
from ditto.monitoring.state import States
from ditto.pipeline.dropped_tables import DroppedTables
from ditto.pipeline.history import History
from ditto.pipeline.lease import Lease
from ditto.pipeline.place import Place
from ditto.pipeline.recovery import Start, Timelines, decide_start, gap_error
from ditto.pipeline.synchronous import StandingWatch
from ditto.pipeline.takeover import Takeover
from ditto.pipeline.watermark import ConfirmDelay, Watermark
from ditto.routing.column_types import interval_style, kinds
from ditto.routing.coverage import Coverage
from ditto.routing.descriptions import Describer, Unkeyed
from ditto.routing.router import Router, plain_tables
from ditto.routing.traceparents import Traceparents
from ditto.sinks.base import Holding, MakeSink, Owner, Sink, event_too_large
from ditto.source.array_types import not_arrays
from ditto.source.commit_record import is_committed
from ditto.source.identity import primary_key
from ditto.source.publication import create_publication, plan_publication
from ditto.source.publication_watch import PublicationWatch
from ditto.source.published import Publication, Table, look_at_publication, look_at_tables
from ditto.source.replication import Replication
from ditto.source.slot import Slot, check_slot, ensure_slot, existing_slot, find_slot, settled_slot
from ditto.source.sql import Control, open_control
from ditto.source.walsender import check_holder
from ditto.tasks import deciding_error, until

log = structlog.get_logger()

_STATUS_PERIOD_S: Final = 10.0
"""At the latest; three times within wal_sender_timeout where that is short."""
_CHECKPOINT_PERIOD_S: Final = 9.5
"""The answers to the status messages give the occasion: a little less than their period, so that each may do."""
_CONFIRM_PERIOD_S: Final = 0.1
"""The slot follows the acknowledgements at this pace, and at once where commits wait for it. A status message for each
acknowledgement was a fifth of the CPU time at 1,000 transactions a second."""
_DRAIN_TIMEOUT_S: Final = 30.0
_REPORT_PERIOD_S: Final = 60.0
_LARGE_BLOCK: Final = 4 << 20
"""Bytes; each step that such a block goes through takes some 10 ms or more."""
_PLACE_PERIOD_S: Final = 1.0
_PASS_TIMEOUT_S: Final = 5.0
_METADATA_PERIOD_S: Final = 30.0


class Attempt:
    """Runs once. `clock` gives monotonic seconds."""

    def __init__(
        self,
        config: PipelineConfig,
        *,
        clock: Callable[[], float],
        make_sink: MakeSink,
        counters: Counters,
        states: States,
    ) -> None:
        self._config = config
        self._clock = clock
        self._make_sink = make_sink
        self._counters = counters
        self._states = states
        self._traceparents = Traceparents(config.events.traceparent.column)
        self._watermark = Watermark()
        self._source = Replication(
            config.postgres.dsn,
            clock=clock,
            max_events=config.delivery.max_in_flight,
            max_bytes=config.delivery.max_in_flight_bytes,
            interval_style=interval_style(config.events.types),
        )
        self._session_counters = SessionCounters(counters, self._source, clock=clock)
        self._confirmed_at = 0.0
        self._confirming: asyncio.TimerHandle | None = None
        self._checkpoint_at = clock()
        self._checkpoint_lsn = 0
        self._wanted_lsn = 0
        self._last: Transaction | None = None
        self._has_new_source = False
        self._was_slot_used = False
        self._confirm_delay = ConfirmDelay(config.delivery.confirm_delay_s, start_lsn=0)
        self._wal_sender_timeout_s = 0.0
        self._standing: StandingWatch
        self._accepted_gap: tuple[int, int] | None = None
        self._subjects: set[str] = set()
        self._coverage = Coverage(config.events)
        self._watch: PublicationWatch
        self._dropped: DroppedTables
        self._start = Start(Position(0, 0), needs_checkpoint=False, gap=None)
        self._place: Place
        self._history: History
        self._control: Control
        self._database: str
        self._owner: Owner
        self._sink: Sink
        self._lease: Lease
        self._router: Router
        self._describer: Describer
        self._slot: Slot
        self._timelines: Timelines
        self.has_progressed = False
        """Something was stored and confirmed, or it stood by for a while: the next attempt need not back off."""
        self.retained: dict[str, int] = {}
        """How much WAL the slot kept when it began, for the log; see `Slot`."""

    async def run(self, stop: asyncio.Event) -> None:
        """Raises the DittoError that ended it; returns when `stop` is set, with everything sent confirmed."""
        failure = self._states.failure
        self._states.enter("connecting", reason="an attempt begins" + (f", after {failure}" if failure else ""))
        try:
            async with AsyncExitStack() as stack:
                if not await until(stop, self._connect(stack)):
                    return
                async with asyncio.TaskGroup() as group:
                    beside = [group.create_task(self._sink.watch())]
                    if await until(stop, self._prepare()):
                        beside += [group.create_task(self._keep_alive()), group.create_task(self._hold_lease())]
                        if await until(stop, self._begin()):
                            beside.append(group.create_task(self._watch.run()))
                            beside.append(group.create_task(self._keep_place()))
                            beside.append(group.create_task(self._standing.run()))
                            beside.append(group.create_task(self._dropped.run()))
                            await until(stop, self._stream())
                            await self._drain()
                    for task in beside:
                        task.cancel()
                if self._states.state == "draining":
                    await self._source.finish()
                await self._lease.release()
        except BaseExceptionGroup as group_error:
            raise deciding_error(group_error) from group_error
        finally:
            if self._confirming is not None:
                self._confirming.cancel()
            self._counters.detach()

    # ------------------------------------------------------------------------------------ set-up

    async def _connect(self, stack: AsyncExitStack) -> None:
        """Connect both ends."""
        config = self._config
        self._control = await stack.enter_async_context(open_control(config.postgres.dsn))
        self._tell_transport()
        await self._control.check_server(needs_failover=config.postgres.failover)
        self._database = await self._control.database()
        if (slot := await find_slot(self._control, config.postgres.slot)) is not None:
            sizes = {"retained_bytes": slot.retained_bytes, "wal_left_bytes": slot.safe_bytes}
            self.retained = {name: size for name, size in sizes.items() if size is not None}
            if not slot.is_being_created:  # that is waited for, once NATS is there too
                check_slot(slot, self._database)  # one that is lost is said to be also while NATS is away
        self._wal_sender_timeout_s = await self._control.wal_sender_timeout_s()
        await self._source.connect()
        stack.push_async_callback(self._source.close)
        system = await self._source.identify()
        self._owner = Owner(
            system.identifier,
            config.postgres.slot,
            config.events.prefix,
            0,
            system.timeline,
            config.postgres.publication,
        )
        self._timelines = Timelines(system.timeline)
        self._router = Router(config.events, database=self._database)
        self._describer = Describer(config.events, self._router)
        self._sink = self._make_sink(
            config,
            checkpoint_subject=self._router.checkpoint_subject,
            wildcard=self._router.wildcard,
            on_stored=self._on_stored,
            on_foreign_answer=self._session_counters.foreign_answer,
            clock=self._clock,
        )
        stack.push_async_callback(self._sink.close)
        self._place = Place(self._sink, clock=self._clock)
        await self._sink.connect()
        self._session_counters.attach(self._sink)
        self._lease = Lease(
            self._sink.lease_place(config.postgres.slot) if config.delivery.lease_ttl_s else None,
            ttl_s=config.delivery.lease_ttl_s,
            slot=config.postgres.slot,
            clock=self._clock,
            counters=self._counters,
        )

    def _tell_transport(self) -> None:
        """Say once a process how far the connection to PostgreSQL can be trusted, where that is not all the way."""
        if self._counters.has_told_transport:
            return
        self._counters.has_told_transport = True
        if self._control.transport == "unverified":
            log.warning(
                "postgres.tls_unverified",
                reason="sslmode asks for encryption only: whoever stands between could be the server",
                hint="sslmode=verify-full and sslrootcert=… in postgres.dsn",
            )
        elif self._control.transport == "plain":
            log.info("postgres.not_encrypted", reason="the server does no TLS, or sslmode forbids it")

    async def _prepare(self) -> None:
        """See that everything exists, and take the slot."""
        holding = await self._ensure_source()
        published = await self._look_at_publication()
        self._subjects = self._subjects_of(published.tables if published is not None else [])
        self._watch = PublicationWatch(
            self._control,
            self._config.postgres.publication,
            seen=published,
            names=self._coverage.names,
            compare=self._coverage.check_named,
            says_identities=not self._config.postgres.allow_missing_identity,
            on_added=self._cover_ahead,
        )
        if holding.is_empty:
            # A new stream is claimed before the slot is read for the first time: from then on PostgreSQL counts its
            # transactions as read, whether they were stored or not.
            self._slot = await settled_slot(self._control, self._slot)
            self._was_slot_used = await self._is_slot_used()
            # Another Ditto that started with this one may have claimed the stream and read the slot meanwhile.
            holding = await self._sink.inspect(self._owner)
        if holding.is_empty:
            self._accepted_gap = (await self._decide(holding)).gap
            await self._open_sink()
        await self._take_slot()

    async def _look_at_publication(self) -> Publication | None:
        """The publication, which has everything that the configuration names; None where a lock hides it."""
        name = self._config.postgres.publication
        try:
            published = await look_at_publication(self._control, name)
        except TableLocked as error:
            log.warning("publication.not_seen", reason=error.message, hint=error.hint)
            return None  # subjects are added when their first events come
        if names := self._coverage.names:
            self._coverage.check_named(published, await look_at_tables(self._control, names=names))
        if published.exists and not published.tables and not published.is_open:
            log.warning(
                "publication.empty",
                publication=name,
                reason="it has no tables: nothing is sent",
                hint="ditto check prints the statement that adds them",
            )
        return published

    async def _cover_ahead(self, tables: Collection[Table]) -> None:
        """Let the stream take new tables' subjects before their first events come: with many it takes seconds."""
        router = Router(self._config.events, database=self._database)  # events wait for what the other one finds new
        with suppress(SubjectCollision, StreamUnusable):  # said when an event comes
            for table in tables:
                router.targets(*table)
            await self._sink.cover(router.take_new_subjects(), is_ahead=True)

    def _subjects_of(self, tables: Sequence[Table]) -> set[str]:
        """What the stream has to take, if these are published."""
        for table in tables:
            self._router.targets(*table)
        self._subjects |= self._router.take_new_subjects()
        if self._describer.wildcard is not None:
            self._subjects.add(self._describer.wildcard)
        self._subjects = self._router.folded(self._subjects)
        return self._subjects

    async def _begin(self) -> None:
        """Decide where to begin. Only now is the tail final: who held the slot before has stored its last event."""
        holding = await self._open_sink()
        start = await self._decide(holding)
        self._start = start._replace(gap=start.gap or self._accepted_gap)
        self._last = None if self._start.gap is not None else holding.last
        self._history = History(
            tail=start.after,
            last=self._last,
            confirmed_lsn=self._slot.confirmed_lsn,
            is_same_publication=holding.owner is not None and holding.owner.publication == self._owner.publication,
            stream=self._config.nats.stream,
            doubt=start.doubt,
        )
        self._confirm_delay = ConfirmDelay(self._config.delivery.confirm_delay_s, start_lsn=self._slot.confirmed_lsn)
        if self._describer.wildcard is not None:
            self._describer.know(await self._sink.last_payloads(self._describer.wildcard))
        events = self._config.events
        decoder = Decoder(
            self._describer.select,
            id_key=event_key(self._owner.system_identifier, self._slot.name),
            after=start.after,
            watch_lsn=self._history.watch_lsn,
            kinds=kinds(events.types, not_arrays=await not_arrays(self._control)),
            extras=Extras(frozenset(events.metadata), events.transactions),
            max_size=self._sink.max_size,
        )
        self._source.decode_with(decoder, wal_sender_timeout_s=self._wal_sender_timeout_s)
        self._dropped = DroppedTables(
            self._control, decoder, router=self._router, describer=self._describer, counters=self._counters
        )

    async def _open_sink(self) -> Holding:
        owner = msgspec.structs.replace(self._owner, start_lsn=self._slot.confirmed_lsn)
        return await self._sink.open(owner, self._subjects)

    async def _decide(self, holding: Holding) -> Start:
        config = self._config
        return decide_start(
            holding,
            config=config,
            slot=config.postgres.slot,
            system_identifier=self._owner.system_identifier,
            confirmed_lsn=self._slot.confirmed_lsn,
            is_slot_used=self._was_slot_used,
            wal_lsn=await self._control.wal_lsn(),
            is_standby=await self._control.is_standby(),
            timelines=self._timelines,
        )

    async def _is_slot_used(self) -> bool:
        """Whether somebody has read the slot, as far as PostgreSQL or the lease can tell.

        A crash, a failover and pg_upgrade take PostgreSQL's statistics, and leave the slot where it is.
        """
        if self._counters.created.get("slot") == self._slot.name:
            return False  # by this process, a moment ago
        return self._slot.is_used or await self._lease.has_been_held()

    async def _ensure_source(self) -> Holding:
        """Publication and slot exist, or are created: the publication first, a slot only reads what it saw made.

        Returns what the stream holds, which nobody has changed yet.
        """
        config = self._config.postgres
        # In this order: another Ditto that starts with this one creates the slot before it claims the stream.
        holding = await self._sink.inspect(self._owner)
        slot = await find_slot(self._control, config.slot)
        owner, timeline = holding.owner, self._owner.timeline
        if owner is not None and owner.system_identifier == self._owner.system_identifier:
            self._has_new_source = (owner.timeline, owner.publication) != (timeline, self._owner.publication)
            if owner.timeline != timeline:
                self._timelines = Timelines(timeline, await self._source.switch_lsns(timeline))
        if slot is None and not holding.is_empty and not self._config.delivery.accepts_gap:
            stream = self._config.nats.stream
            raise gap_error(stream, config.slot, holding.tail, f"there on (slot {config.slot} does not exist)")
        plan = await plan_publication(
            self._control,
            config.publication,
            tables=plain_tables(self._config.events),
            may_create=config.create,
            allow_missing_identity=config.allow_missing_identity,
        )
        if slot is None and config.create:
            # What NATS cannot hold is found out before PostgreSQL keeps WAL for it.
            publication = plan.publication if plan.statement else await self._look_at_publication()
            await self._sink.prepare(self._owner, self._subjects_of(publication.tables if publication else []))
        created = self._counters.created
        if await create_publication(self._control, plan):
            created["publication"] = config.publication
        self._slot = await ensure_slot(
            self._control,
            config.dsn,
            config.slot,
            may_create=config.create,
            is_failover=config.failover,
            on_created=partial(created.__setitem__, "slot", config.slot),
        )
        check_slot(self._slot, self._database)
        if owner is not None and owner.system_identifier != self._owner.system_identifier:
            await self._decide(holding)  # before the stream is claimed for this cluster
            log.warning(
                "stream.cluster_changed",
                stream=self._config.nats.stream,
                before=owner.system_identifier,
                now=self._owner.system_identifier,
                reason="delivery.on_gap: continue says that pg_upgrade made this cluster of the stream's",
            )
        return holding

    async def _take_slot(self) -> None:
        """START_REPLICATION, or wait as a standby until the slot is free."""

        def on_waited() -> None:
            self.has_progressed = True

        takeover = Takeover(
            self._config.postgres, control=self._control, source=self._source, lease=self._lease, states=self._states
        )
        self._slot = await takeover.take(
            self._slot, on_waited=on_waited, check_sink=partial(self._sink.inspect, self._owner)
        )
        self.has_progressed = False
        check_slot(self._slot, self._database)
        self._standing = StandingWatch(
            self._control,
            self._slot.active_pid or 0,
            counters=self._counters,
            on_synchronous=partial(self._confirm, wants_reply=True),  # the answer tells of commits that wait already
        )

    async def _hold_lease(self) -> None:
        """Let the standbys know that this one is alive, as long as it holds the slot."""
        name, pid = self._slot.name, self._slot.active_pid or 0
        await self._lease.hold(
            pid,
            check_slot=partial(check_holder, self._control, name, pid),
            stored_sequence=lambda: self._sink.sent_sequence - self._sink.outstanding_count,
        )

    # ------------------------------------------------------------------------------------ streaming

    async def _stream(self) -> None:
        """Read, publish, confirm: until a fault or a cancellation."""
        slot, start = self._slot, self._start
        if start.gap is not None:
            first, last = (format_lsn(lsn) for lsn in start.gap)
            log.error("stream.gap_accepted", slot=slot.name, missing_from=first, missing_to=last)
            self._counters.gap_at = time.time()
        self._session_counters.begin(self._sink.sent_sequence)
        if self._history.is_certain:
            self._confirm_tail()
        self._counters.rewinds += slot.confirmed_lsn < start.after.commit_lsn
        if start.needs_checkpoint:
            await self._checkpoint(slot.confirmed_lsn, None)
        self._counters.created.clear()  # it is in use
        self._states.enter("streaming", reason="the slot is taken and the stream's tail is known")
        log.info(
            "pipeline.streaming",
            slot=slot.name,
            confirmed=format_lsn(slot.confirmed_lsn),
            tail=str(start.after),
            stream=self._config.nats.stream,
            decoder=IMPL,
        )
        while True:
            block = await self._read_block()
            await _let_others_run(block)
            if self._history.is_certain or await self._judge(block):
                await self._forward(block)
            await self._source.pause_after(block)

    async def _read_block(self) -> Block:
        """Raises EventTooLarge once everything before that event is stored."""
        try:
            return await self._source.read_block()
        except ChangeTooLarge as error:
            await self._sink.settle()
            position = Position(error.commit_lsn, error.ordinal)
            limit = self._sink.max_size
            if error.size <= limit:
                raise NotNow(f"the server accepts larger messages than when it was connected: {limit} bytes") from error
            size = f"at least {error.size}"
            raise event_too_large(
                error.action, error.relation, position, size=size, limit=limit, column=error.column
            ) from error

    async def _judge(self, block: Block) -> bool:
        """Whether the slot sends the history that the stream was filled from, as far as that can be told.

        Until it is certain nothing is confirmed, and there is nothing to publish: what comes is stored already.
        Raises SourceRewound, unless what is missing then may be.
        """
        decoder = self._source.decoder
        watched = [] if decoder is None else decoder.watched
        try:
            try:
                self._history.judge(watched, block.idle_lsn)
            except SourceRewound:
                if not self._history.is_last_absent or not await self._has_committed_last():
                    raise
                self._history.know_last()
                self._history.judge(watched, block.idle_lsn)
                await self._pass_last()
        except SourceRewound as error:
            if not self._config.delivery.accepts_gap or self._start.doubt is not None:
                raise
            self._history.is_certain, self._last = True, None
            first, last = format_lsn(self._slot.confirmed_lsn), format_lsn(self._start.after.commit_lsn)
            log.error(
                "stream.gap_accepted", slot=self._slot.name, missing_from=first, missing_to=last, reason=str(error)
            )
            self._counters.gap_at = time.time()
        if self._history.is_certain:
            self._confirm_tail()
        elif block.is_reply_requested:
            self._confirm()
        return self._history.is_certain

    async def _has_committed_last(self) -> bool:
        """Whether all of the stream's last transaction is stored, and the server's WAL has it.

        False also where that cannot be seen.
        """
        last, tail_lsn = self._last, self._start.after.commit_lsn
        if last is None or max(tail_lsn - 1, self._slot.confirmed_lsn) < last.commit_lsn:
            return False
        try:
            return await is_committed(
                self._config.postgres.dsn,
                last,
                page_size=await self._control.wal_page_size(),
                clock=self._clock,
            )
        except SourceError as error:
            if error.is_retryable:
                raise
            log.warning("source.wal_not_read", slot=self._slot.name, reason=error.message)
            return False

    async def _pass_last(self) -> None:
        """Let the next attempt begin after the last transaction, which PostgreSQL does not send again; ends this one.

        Before 14.18, 15.13, 16.9 and 17.5 what pgoutput has read of the publication for it would stay, and later rows
        of the same tables would not be sent either.
        """
        slot, last, tail_lsn = self._slot.name, self._last, self._start.after.commit_lsn
        after_lsn = max(tail_lsn, self._history.watch_lsn + 1)
        self._confirm_tail()
        if after_lsn > tail_lsn:
            await self._checkpoint(after_lsn, last)
        await self._sink.settle()
        await self._place.keep(self._watermark.end_lsn, last, is_urgent=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_PASS_TIMEOUT_S):
                while (await existing_slot(self._control, slot)).confirmed_lsn < after_lsn:
                    stored_lsn = self._place.limit(self._watermark.confirmed_lsn)  # delivery.confirm_delay is no matter
                    self._source.send_status(confirmed_lsn=stored_lsn, end_lsn=stored_lsn, wants_reply=False)
                    await asyncio.sleep(_PASS_TIMEOUT_S / 100)
        raise ConnectionLost(
            f"slot {slot} does not send the stream's last transaction again, and the server's WAL has it at "
            f"{format_lsn(self._history.watch_lsn)}: it was open while the publication was altered",
            hint="nothing is lost: the next attempt begins after it",
            slot=slot,
        )

    def _confirm_tail(self) -> None:
        """Everything up to the tail is stored.

        The slot may stand before it, after a crash of the server or at a takeover. What then comes again is confirmed
        as it comes; and no checkpoint may be older than the tail.
        """
        tail_lsn = self._start.after.commit_lsn
        self._watermark.stored(self._sink.sent_sequence)
        self._watermark.sent(self._sink.sent_sequence, tail_lsn, tail_lsn)
        self._confirm()

    async def _forward(self, block: Block) -> None:
        sink = self._sink
        sequence = sink.sent_sequence
        self._counters.read_bytes += block.size
        for unkeyed in self._describer.take_unkeyed():
            await self._find_key(unkeyed)
        traceparents = self._traceparents.of(block)  # a block of nothing but a message may be the one that tells
        if block.events:
            if subjects := self._router.take_new_subjects():
                await sink.cover(subjects)
            began_at = self._clock()
            encoded = encode_events(block.events)
            await _let_others_run(block)
            if traceparents is not None:
                encoded = encoded._replace(traceparents=traceparents)
            await self._session_counters.publish(sink, block, encoded, began_at=began_at)
        if block.delivered is not None:
            commit_lsn, end_lsn, event_count = block.delivered
            # Up to the transaction, not past it: the last one comes again after a restart and is skipped. Should the
            # stream have lost its end, what is missing is stored again; and slot and tail compare without slack.
            if self._watermark.sent(sequence + event_count, commit_lsn, end_lsn):
                self._confirm()
        self._wanted_lsn = max(self._wanted_lsn, block.wanted_lsn)
        if block.is_reply_requested:
            # Asked when half of wal_sender_timeout is over, and by a server that is shutting down: it waits
            # until the slot has confirmed all it sent.
            await sink.settle()
            if block.idle_lsn > self._watermark.confirmed_lsn:
                await self._checkpoint(block.idle_lsn, self._last_transaction())
                await sink.settle()
            await self._place.keep(self._watermark.end_lsn, self._last_transaction(), is_urgent=True)
            self._confirm()
            if self._confirm_delay.is_holding:
                # A shutdown would wait for the delay. It has ended this session by now, and then so does the attempt.
                await self._control.database()
        elif self._wanted_lsn > self._checkpoint_lsn and block.idle_lsn >= self._wanted_lsn:
            # Somebody waits for this LSN: it need not be stored yet, the chain keeps the order.
            await self._checkpoint(block.idle_lsn, self._last_transaction())
        elif self._standing.is_synchronous and block.idle_lsn > max(
            self._watermark.confirmed_lsn, self._checkpoint_lsn
        ):
            # The commit of the last transaction may wait for an LSN after its own, and nothing may come for long.
            await self._checkpoint(block.idle_lsn, self._last_transaction())
        elif (
            block.idle_lsn > self._watermark.end_lsn
            and not sink.outstanding_count
            and self._clock() - self._checkpoint_at >= _CHECKPOINT_PERIOD_S
        ):
            await self._checkpoint(block.idle_lsn, self._last_transaction())

    async def _find_key(self, unkeyed: Unkeyed) -> None:
        """Ask for a primary key as it is now, and use it where the relation's columns had it already."""
        names = await primary_key(self._control, unkeyed.relation.oid)
        if {column.name for column in unkeyed.relation.columns}.issuperset(names):
            unkeyed.primary_key[:] = names

    def _last_transaction(self) -> Transaction | None:
        """The last one that the slot has sent, or that the stream knows of."""
        sent = None if self._source.decoder is None else self._source.decoder.last_transaction()
        known = [each for each in (sent, self._last) if each is not None]
        return max(known, key=lambda each: each.commit_lsn, default=None)

    async def _checkpoint(self, lsn: int, last: Transaction | None) -> None:
        """Store "everything before `lsn` is stored"; once acknowledged, `lsn` is confirmed.

        `last` is the last transaction before it.
        """
        await self._sink.checkpoint(Checkpoint(lsn, last))
        self._watermark.sent(self._sink.sent_sequence, lsn, lsn)
        self._checkpoint_at = self._clock()
        self._checkpoint_lsn = lsn
        self._counters.checkpoints += 1

    def _on_stored(self, sequence: int) -> None:
        self._session_counters.stored(sequence)
        if self._watermark.stored(sequence):
            self.has_progressed = True
            if self._standing.is_synchronous:
                self._confirm_stored()
            elif self._confirming is None:
                self._confirming = asyncio.get_running_loop().call_later(_CONFIRM_PERIOD_S, self._confirm_stored)

    def _confirm_stored(self) -> None:
        self._confirming = None
        with suppress(ConnectionLost):  # whoever reads or keeps alive will find out
            self._confirm()

    def _confirm(self, *, wants_reply: bool = False) -> None:
        """Tell PostgreSQL how far the stream has got."""
        self._confirmed_at = self._clock()
        stored_lsn = self._place.limit(self._watermark.confirmed_lsn)
        confirmed_lsn = self._confirm_delay.confirm(stored_lsn, now=self._confirmed_at)
        if self._standing.is_unasked:
            confirmed_lsn = stored_lsn  # every commit would wait for the delay
        self._counters.confirmed_lsn = max(self._counters.confirmed_lsn, confirmed_lsn)
        self._source.send_status(
            confirmed_lsn=confirmed_lsn,
            end_lsn=self._watermark.end_lsn,
            wants_reply=wants_reply,
        )

    async def _keep_place(self) -> None:
        """Note beside the messages where this is, where the server may delete the last one; and see to the metadata.

        There it also stands what the stream is filled from.
        """
        seen_at = self._clock()
        while True:
            await asyncio.sleep(_PLACE_PERIOD_S)
            if self._history.is_certain:
                await self._place.keep(self._watermark.end_lsn, self._last_transaction())
                self._confirm()
            if self._has_new_source and self.has_progressed:
                # Not before a message of this attempt is in the chain: what an old primary may still have stored
                # after the tail was read would otherwise be taken for this timeline's.
                await self._sink.set_source(self._owner)
                self._has_new_source = False
            if self._clock() - seen_at >= _METADATA_PERIOD_S:
                await self._sink.keep_metadata()
                seen_at = self._clock()

    async def _keep_alive(self) -> None:
        """Standby status on a timer, whether anything is read or not: the walsender does not time out."""
        counters = self._counters
        reported_count, reported_at = counters.events, self._clock()
        while True:
            self._confirm(wants_reply=True)
            await asyncio.sleep(min(_STATUS_PERIOD_S, (self._wal_sender_timeout_s or math.inf) / 3))
            period_s = self._clock() - reported_at
            if period_s < _REPORT_PERIOD_S:
                continue
            log.info(
                "pipeline.progress",
                slot=self._slot.name,
                events=counters.events,
                events_per_s=round((counters.events - reported_count) / period_s, 1),
                outstanding=self._sink.outstanding_count,
                lag_s=round(self._session_counters.probe.lag_s(), 3),
                confirmed=format_lsn(self._watermark.confirmed_lsn),
            )
            reported_count, reported_at = counters.events, self._clock()

    async def _drain(self) -> None:
        """Everything sent is acknowledged and confirmed, or the deadline has passed."""
        self._states.enter("draining", reason="it was asked to stop")
        log.info("pipeline.draining", outstanding=self._sink.outstanding_count)
        try:
            async with asyncio.timeout(_DRAIN_TIMEOUT_S):
                await self._sink.settle()
        except TimeoutError:
            # Nothing is lost by it: what is stored is found again at the next start.
            log.warning("pipeline.drain_timeout", outstanding=self._sink.outstanding_count)
        with suppress(SinkError):
            await self._sink.keep_metadata()  # somebody may just have let the stream delete its last message
        await self._place.keep(self._watermark.end_lsn, self._last_transaction(), is_urgent=True)
        self._confirm()
        log.info("pipeline.drained", events=self._counters.events, confirmed=format_lsn(self._watermark.confirmed_lsn))


async def _let_others_run(block: Block) -> None:
    """Between two steps of a large block: heartbeat, HTTP and acknowledgements wait for one of them, not for all."""
    if block.size >= _LARGE_BLOCK:
        await asyncio.sleep(0)
