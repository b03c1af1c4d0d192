"""The third phase of a session: where it begins.

Only now is the tail final: the Ditto that held the slot before can get no new changes any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from ditto.decoding.change import SnapshotMark
from ditto.decoding.choose import Decoder
from ditto.decoding.event_id import event_key
from ditto.formats.snapshot_events import OpenRun, newest_runs
from ditto.lsn import Transaction
from ditto.pipeline.dropped_tables import DroppedTables
from ditto.pipeline.planning import make_extras
from ditto.pipeline.preparing import Prepared
from ditto.pipeline.source_history import History
from ditto.pipeline.start_position import Start
from ditto.routing.message_rule import make_message_rule
from ditto.routing.router import control_subjects
from ditto.routing.table_descriptions import stored_versions
from ditto.sinks.base import SinkState


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Everything that streaming needs."""

    prepared: Prepared
    decoder: Decoder
    start: Start
    last: Transaction | None
    """The last transaction that the sink knows of; None for unknown, and after a gap."""
    history: History
    dropped: DroppedTables
    open_runs: tuple[OpenRun, ...] = ()
    """Of snapshots: those that have not ended."""
    tail_mark: SnapshotMark | None = None
    """Of the tail, where that is a row of a snapshot."""
    tail_group: int = 0
    """Of the tail, the number of its group in its transaction."""


async def begin(prepared: Prepared) -> Ready:
    """Find the tail, decide where to begin, and give the replication connection its decoder."""
    ends = prepared.ends
    config, sink, slot = ends.config, ends.sink, prepared.slot
    key = event_key(ends.pipeline.system_identifier, slot.name)
    state, start, open_runs = await _open(prepared, key)
    last = None if start.gap is not None else state.last
    owner = state.owner
    history = History(
        tail=start.after,
        last=last,
        confirmed_lsn=slot.confirmed_lsn,
        is_same_publication=owner is not None and owner.publication == ends.pipeline.publication,
        sink=sink.capabilities,
        doubt=start.doubt,
    )
    pattern = prepared.planner.description_wildcard
    stored = {} if pattern is None else await sink.schemas.last_payloads(pattern)
    decoder = Decoder(
        id_key=key,
        after=start.after,
        watch_lsn=history.watch_lsn,
        extras=make_extras(config.events),
        described=stored_versions(stored),
        max_size=sink.capabilities.max_bytes if config.events.oversize == "stop" else 0,
        message_rule=make_message_rule(config.events, database=ends.database, limit=sink.capabilities.route_limit),
    )
    ends.source.decode_with(decoder, wal_sender_timeout_s=ends.wal_sender_timeout_s)
    return Ready(
        prepared=prepared,
        decoder=decoder,
        start=start,
        last=last,
        history=history,
        dropped=DroppedTables(ends.control, decoder, planner=prepared.planner, counters=ends.counters),
        open_runs=open_runs,
        tail_mark=state.mark,
        tail_group=state.group,
    )


async def _open(prepared: Prepared, key: bytes) -> tuple[SinkState, Start, tuple[OpenRun, ...]]:
    """Open the sink, which may have become another one while the session waited for the slot, and decide.

    `key` is `event_key(…)`. The runs are the snapshots that have not ended.
    """
    sink, claimant = prepared.ends.sink, prepared.claimant()
    state = await sink.inspect(prepared.ends.pipeline)
    is_slot_used, accepted_gap = prepared.is_slot_used, prepared.accepted_gap
    is_gone = state.is_empty and sink.capabilities.keeps_tail
    if is_gone:
        # Before it is claimed: an owner in a new sink would let the next start believe that nothing is missing.
        is_slot_used = prepared.has_lost_events
        runs = newest_runs([state.snapshots], key)
        accepted_gap = prepared.decide(state, is_slot_used=is_slot_used, open_runs=runs).gap
    if is_gone or prepared.claimed_lsn is None:
        former = await sink.claim(claimant, prepared.routes)
        state = (await sink.open(claimant))._replace(owner=former)
    else:
        state = await sink.open(claimant)
    subjects = control_subjects(prepared.ends.config.events.prefix)
    controls = await sink.schemas.last_payloads(subjects)
    runs = newest_runs([*controls.values(), state.snapshots], key)
    start = prepared.decide(state, is_slot_used=is_slot_used, open_runs=runs)
    return state, start._replace(gap=start.gap or accepted_gap), runs
