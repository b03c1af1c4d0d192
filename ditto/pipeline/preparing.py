"""The second phase of a session: everything exists, and the slot is taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec
import structlog

from ditto.config import Delivery
from ditto.decoding.event_id import event_key
from ditto.errors import RuleUnfit, StreamUnusable, SubjectCollision, TableLocked
from ditto.formats.snapshot_events import OpenRun, newest_runs
from ditto.monitoring.state import States
from ditto.pipeline.connecting import Ends, Report
from ditto.pipeline.planning import make_planner
from ditto.pipeline.start_position import Start, Timelines, decide_start, gap_error, is_slot_used
from ditto.pipeline.takeover import Takeover
from ditto.pipeline.unmatched_keys import warn_of_unmatched
from ditto.routing.patterns import first_pattern, plain_tables
from ditto.routing.planner import Planner
from ditto.routing.publication_coverage import Coverage
from ditto.routing.router import control_subjects
from ditto.sinks.base import PipelineId, SinkState
from ditto.source.logical_messages import request
from ditto.source.publication import create_publication, plan_publication
from ditto.source.publication_watch import PublicationWatch
from ditto.source.published_tables import Publication, Table, look_at_publication, look_at_tables
from ditto.source.slot import Slot, check_slot, ensure_slot, find_slot, settled_slot
from ditto.source.table_relations import read_relations

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The session holds the slot."""

    ends: Ends
    slot: Slot
    """As it was when it was taken."""
    planner: Planner
    routes: Collection[str]
    """Of every table that is published."""
    watch: PublicationWatch
    timelines: Timelines
    has_new_source: bool
    """The sink was filled from another timeline or publication than this session fills it from."""
    is_slot_used: bool
    claimed_lsn: int | None
    """The slot's confirmed LSN when this session claimed the sink, which was nobody's; None where it was not."""
    accepted_gap: tuple[int, int] | None
    """The LSNs between which events are missing, where that was found and accepted before the claim."""

    def claimant(self) -> PipelineId:
        """The pipeline, with the LSN before which nothing was ever due."""
        return msgspec.structs.replace(self.ends.pipeline, start_lsn=self.slot.confirmed_lsn)

    def decide(self, state: SinkState, *, is_slot_used: bool, open_runs: Sequence[OpenRun]) -> Start:
        """Where to begin, with the sink in this state, and these snapshots that have not ended."""
        return _decide(
            self.ends,
            state,
            slot=self.slot,
            timelines=self.timelines,
            is_slot_used=is_slot_used,
            open_runs=open_runs,
        )

    @property
    def has_lost_events(self) -> bool:
        """Whether events are missing where the sink is gone, now that this session holds the slot.

        A sink that held something was filled from the slot. A new one may have been filled by the Ditto that held
        the slot while this one waited; then that one has confirmed something.
        """
        return self.claimed_lsn is None or self.slot.confirmed_lsn > self.claimed_lsn


async def prepare(ends: Ends, *, states: States, report: Report) -> Prepared:
    """Publication, slot and sink exist, a sink that is nobody's is claimed, and the slot is taken."""
    return await _Preparation(ends).run(states=states, report=report)


async def check_again(ends: Ends) -> None:
    """What `prepare` checks of publication, tables and sink where all of them exist; the slot is another session's."""
    await _Preparation(ends).check_again()


class _Preparation:
    """The steps of `prepare`, and what the later ones need of the earlier ones."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._config = ends.config
        self._planner = make_planner(
            ends.config.events,
            ends.control,
            database=ends.database,
            system_identifier=ends.pipeline.system_identifier,
            sink=ends.sink.capabilities,
        )
        self._coverage = Coverage(ends.config.events)
        self._routes: set[str] = set()
        if ends.config.delivery.on_gap == "snapshot":
            self._routes.add(control_subjects(ends.config.events.prefix))

    async def run(self, *, states: States, report: Report) -> Prepared:
        ends, name = self._ends, self._config.postgres.publication
        # In this order: another Ditto that starts with this one creates the slot before it claims the sink.
        state = await ends.sink.inspect(ends.pipeline)
        slot = await find_slot(ends.control, self._config.postgres.slot)
        has_new_source, timelines = await self._compare_source(state)
        if slot is None and not state.is_empty and not self._config.delivery.accepts_gap:
            missing = f"there on (slot {self._config.postgres.slot} does not exist)"
            raise gap_error(ends.sink.capabilities, self._config.postgres.slot, state.tail, missing)
        slot = await self._ensure_source(slot)
        self._check_cluster(state, slot, timelines)
        published = await self._look_at_publication()
        self._add_routes(published.tables if published is not None else [])
        await self._check_rules(published.tables if published is not None else [])
        await warn_of_unmatched(ends, published.tables if published is not None else [])
        watch = PublicationWatch(
            ends.control,
            name,
            seen=published,
            names=self._coverage.names,
            compare=self._coverage.check_named,
            says_identities=not self._config.postgres.allow_missing_identity,
            on_added=self._route_ahead,
        )
        accepted_gap, claimed_lsn = None, None
        is_used = False
        if state.is_empty:
            # A new sink is claimed before the slot is read for the first time: from then on PostgreSQL counts its
            # transactions as read, whether they were stored or not.
            slot = await settled_slot(ends.control, slot)
            is_used = await self._is_slot_used(slot)
            # Another Ditto that started with this one may have claimed the sink and read the slot meanwhile.
            state = await ends.sink.inspect(ends.pipeline)
        if state.is_empty:
            runs = newest_runs([state.snapshots], event_key(ends.pipeline.system_identifier, slot.name))
            start = _decide(ends, state, slot=slot, timelines=timelines, is_slot_used=is_used, open_runs=runs)
            accepted_gap, claimed_lsn = start.gap, slot.confirmed_lsn
            claimant = msgspec.structs.replace(ends.pipeline, start_lsn=claimed_lsn)
            await self._request_initial(slot)
            await ends.sink.claim(claimant, self._routes)
        slot = await self._take_slot(slot, states=states, report=report)
        return Prepared(
            ends=ends,
            slot=slot,
            planner=self._planner,
            routes=self._routes,
            watch=watch,
            timelines=timelines,
            has_new_source=has_new_source,
            is_slot_used=is_used,
            claimed_lsn=claimed_lsn,
            accepted_gap=accepted_gap,
        )

    async def check_again(self) -> None:
        """See the function of that name."""
        ends = self._ends
        published = await self._look_at_publication()
        if published is None:
            raise TableLocked(
                "a lock hides which tables are published: whether the configuration fits them cannot be seen",
                hint="try again when ALTER TABLE or VACUUM FULL is over",
            )
        self._add_routes(published.tables)
        await self._check_rules(published.tables)
        await ends.sink.prepare(ends.pipeline, self._routes)

    async def _request_initial(self, slot: Slot) -> None:
        """Ask for the rows that are there already, before the sink is claimed: a claimed one is not new any more."""
        snapshot, sink = self._config.snapshot, self._ends.sink
        is_new = sink.capabilities.keeps_tail or self._ends.counters.created.get("slot") == slot.name
        if snapshot.mode == "initial" and is_new:
            # A stream that takes no control events could not say how far the snapshot is: refused now, not then.
            self._routes.add(control_subjects(self._config.events.prefix))
            await sink.prepare(self._ends.pipeline, self._routes)
            await request(self._ends.control, slot=slot.name, kind="initial", tables=snapshot.tables or ())

    async def _compare_source(self, state: SinkState) -> tuple[bool, Timelines]:
        """Whether timeline or publication are new, and the server's timelines."""
        pipeline, owner = self._ends.pipeline, state.owner
        timeline = pipeline.timeline
        if owner is None or owner.system_identifier != pipeline.system_identifier:
            return False, Timelines(timeline)
        if owner.timeline == timeline:
            return owner.publication != pipeline.publication, Timelines(timeline)
        return True, Timelines(timeline, await self._ends.source.switch_lsns(timeline))

    async def _ensure_source(self, slot: Slot | None) -> Slot:
        """Publication and slot exist, or are created: the publication first, a slot only reads what it saw made."""
        config, ends = self._config.postgres, self._ends
        plan = await plan_publication(
            ends.control,
            config.publication,
            tables=plain_tables(self._config.events),
            pattern=first_pattern(self._config.events),
            may_create=config.create,
            allow_missing_identity=config.allow_missing_identity,
        )
        if slot is None and config.create:
            if self._config.snapshot.mode == "initial":
                self._routes.add(control_subjects(self._config.events.prefix))
            # What the sink cannot hold is found out before PostgreSQL keeps WAL for it.
            publication = plan.publication if plan.statement else await self._look_at_publication()
            self._add_routes(publication.tables if publication else [])
            await self._check_rules(publication.tables if publication else [])
            await ends.sink.prepare(ends.pipeline, self._routes)
        created = ends.counters.created
        if await create_publication(ends.control, plan):
            created["publication"] = config.publication
        if slot is None or slot.is_being_created:
            slot = await ensure_slot(
                ends.control,
                config.dsn,
                config.slot,
                may_create=config.create,
                is_failover=config.failover,
                on_created=partial(created.__setitem__, "slot", config.slot),
            )
        check_slot(slot, ends.database)
        return slot

    def _check_cluster(self, state: SinkState, slot: Slot, timelines: Timelines) -> None:
        """Another cluster may go on in the sink, or not: before it is claimed for that one."""
        ends, owner = self._ends, state.owner
        if owner is None or owner.system_identifier == ends.pipeline.system_identifier:
            return
        _decide(ends, state, slot=slot, timelines=timelines, is_slot_used=False, open_runs=())
        log.warning(
            "stream.cluster_changed",
            **ends.sink.capabilities.context,
            before=owner.system_identifier,
            now=ends.pipeline.system_identifier,
            reason=f"delivery.on_gap: continue says that pg_upgrade made this cluster of the "
            f"{ends.sink.capabilities.kind}'s",
        )

    # ------------------------------------------------------------------------------------ what is published

    async def _look_at_publication(self) -> Publication | None:
        """The publication, which has everything that the configuration names; None where a lock hides it."""
        control, name = self._ends.control, self._config.postgres.publication
        try:
            published = await look_at_publication(control, name)
        except TableLocked as error:
            log.warning("publication.not_seen", reason=error.message, hint=error.hint)
            return None  # routes are added when their first events come
        if names := self._coverage.names:
            self._coverage.check_named(published, await look_at_tables(control, names=names))
        if published.exists and not published.tables and not published.is_open:
            log.warning(
                "publication.empty",
                publication=name,
                reason="it has no tables: nothing is sent",
                hint="ditto check prints the statement that adds them",
            )
        return published

    def _add_routes(self, tables: Sequence[Table]) -> None:
        """What the sink has to take, if these are published."""
        self._routes = self._planner.routes_of(tables, known=self._routes)

    async def _check_rules(self, tables: Sequence[Table]) -> None:
        """Raise RuleUnfit where a rule of the configuration does not fit its table as that is now."""
        ruled = self._planner.ruled(tables)
        for found in await read_relations(self._ends.control, self._config.postgres.publication, ruled):
            await self._planner.plan(found.relation)

    async def _route_ahead(self, tables: Collection[Table]) -> None:
        """Let the sink take new tables' routes before their first events come: with many it takes seconds."""
        with suppress(RuleUnfit, SubjectCollision, StreamUnusable):  # said when an event comes
            await self._ends.sink.ensure_routes(self._planner.routes_ahead(tables), is_ahead=True)

    # ------------------------------------------------------------------------------------ the slot

    async def _is_slot_used(self, slot: Slot) -> bool:
        is_created_here = self._ends.counters.created.get("slot") == slot.name
        has_lease_trace = not is_created_here and await self._ends.lease.has_been_held()
        return is_slot_used(slot, is_created_here=is_created_here, has_lease_trace=has_lease_trace)

    async def _take_slot(self, slot: Slot, *, states: States, report: Report) -> Slot:
        """START_REPLICATION, or wait as a standby until the slot is free."""

        def on_waited() -> None:
            report.has_progressed = True

        ends = self._ends
        takeover = Takeover(
            self._config.postgres, control=ends.control, source=ends.source, lease=ends.lease, states=states
        )
        slot = await takeover.take(slot, on_waited=on_waited, check_sink=partial(ends.sink.inspect, ends.pipeline))
        report.has_progressed = False
        check_slot(slot, ends.database)
        return slot


def _accepts_gap(delivery: Delivery, open_runs: Sequence[OpenRun]) -> bool:
    """Not a second gap while the snapshot is read that heals the first one: that would go on for ever."""
    is_healing = any(run.kind == "gap" for run in open_runs)
    return delivery.accepts_gap and not (delivery.on_gap == "snapshot" and is_healing)


def _decide(
    ends: Ends,
    state: SinkState,
    *,
    slot: Slot,
    timelines: Timelines,
    is_slot_used: bool,
    open_runs: Sequence[OpenRun],
) -> Start:
    return decide_start(
        state,
        sink=ends.sink.capabilities,
        accepts_gap=_accepts_gap(ends.config.delivery, open_runs),
        slot=ends.config.postgres.slot,
        system_identifier=ends.pipeline.system_identifier,
        confirmed_lsn=slot.confirmed_lsn,
        is_slot_used=is_slot_used,
        wal_lsn=slot.wal_lsn,
        is_standby=slot.is_standby,
        timelines=timelines,
    )
