"""Where a session begins: what the sink holds compared with where the slot is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from ditto.errors import ServerNotReady, SourceRewound, StreamGap, TailForged
from ditto.hints import RELOAD
from ditto.lsn import ORIGIN, Position, format_lsn
from ditto.sinks.base import Capabilities, PipelineId, SinkState
from ditto.source.slot import Slot


class Timelines(NamedTuple):
    """The timeline that the server is on, and where its ancestors ended; a promoted standby begins a new one."""

    current: int
    switch_lsns: Mapping[int, int] = MappingProxyType({})
    """By ancestor, the LSN at which the server left it."""


class Start(NamedTuple):
    """The decision."""

    after: Position
    """Changes up to and with this position are stored already."""
    needs_checkpoint: bool
    """The sink has no tail at or after the slot yet: write one before anything else."""
    gap: tuple[int, int] | None
    """The LSNs between which events are missing, where the operator accepted that."""
    doubt: SourceRewound | None = None
    """The tail lies after the LSN at which the server's timeline began: unless it was stored from that timeline, which
    the slot's first transactions tell (`History`), this has to be raised."""


def is_slot_used(slot: Slot | None, *, is_created_here: bool, has_lease_trace: bool) -> bool:
    """Whether transactions have been read from the slot, as far as PostgreSQL or the lease can tell.

    A crash, a failover and pg_upgrade take PostgreSQL's statistics, and leave the slot where it is: then only the trace
    tells that the lease of this sink and slot leaves (`lease.has_been_held`). A slot that this process has created a
    moment ago, or that does not exist yet, is new whatever an earlier slot of its name has left.
    """
    return slot is not None and not is_created_here and (slot.is_used or has_lease_trace)


def decide_start(
    state: SinkState,
    *,
    sink: Capabilities,
    accepts_gap: bool,
    slot: str,
    system_identifier: str,
    confirmed_lsn: int,
    is_slot_used: bool,
    wal_lsn: int,
    is_standby: bool,
    timelines: Timelines,
) -> Start:
    """Compare the sink's tail with the slot's confirmed LSN.

    The slot never passes the tail: `confirmed_lsn <= tail.commit_lsn`. Where it did, the sink has lost
    events. Without a tail, the LSN at which the sink was claimed takes its place. A sink that nobody has
    claimed is a first start, unless `is_slot_used`: transactions have been read from the slot, and they are not
    in this sink. `wal_lsn` is the server's current WAL position; a standby (`is_standby`) may be behind. A sink that
    another cluster filled goes on only with `accepts_gap` (`delivery.on_gap`): pg_upgrade makes a new cluster of the
    old, with a WAL that begins after the old one's end.
    Raises StreamGap unless `accepts_gap`, TailForged, SourceRewound, and ServerNotReady.
    """
    if not sink.keeps_tail:
        return Start(ORIGIN, needs_checkpoint=False, gap=None)
    name = sink.name
    owner, tail = state.owner, state.tail
    doubt: SourceRewound | None = None
    is_successor = owner is not None and owner.system_identifier != system_identifier
    if is_successor:
        _check_successor(owner, tail, confirmed_lsn, sink=sink, slot=slot)
    elif tail is not None:
        if is_standby and _is_after(tail, wal_lsn):
            raise ServerNotReady(
                f"{name} holds events up to {tail}, and the standby has WAL up to {format_lsn(wal_lsn)} only",
                hint="a standby that was restarted has to catch up first; one that never does is not a standby of the "
                f"server that the {sink.kind} was filled from",
                slot=slot,
            )
        end_lsn, words = _end_of_history(owner, timelines, wal_lsn, kind=sink.kind)
        if _is_after(tail, end_lsn):
            doubt = SourceRewound(
                f"{name} holds events up to {tail}, and {words}",
                hint="was the server restored from a backup, or did a standby take over that had not received "
                f"everything? Its new changes would be taken for old ones: restore the {sink.kind} to the same time; "
                f"or start with a new postgres.slot, {sink.settings} (the old {sink.kind} keeps what is its own), "
                "and then reload consumers from the tables",
                slot=slot,
                missing_from=format_lsn(end_lsn),
                missing_to=str(tail),
            )
            # A Ditto that was killed right after a promotion has not noted the new timeline yet.
            if state.last is None or _is_after(tail, wal_lsn) or end_lsn == 0:
                raise doubt
    if tail is not None and not state.is_proven and confirmed_lsn < tail.commit_lsn:
        # PostgreSQL would send what is before it: nothing but the message says that it is stored.
        raise TailForged(
            f"{name} ends with a checkpoint at {format_lsn(tail.commit_lsn)} that has no id, and the slot has "
            f"confirmed {format_lsn(confirmed_lsn)} only: Ditto did not write it, or an earlier version did",
            hint="if that was an earlier version of Ditto, start it once more, stop it with SIGTERM, and start this "
            "one again. Otherwise find out who may publish on the stream's subjects, take that right away, then "
            f"delete the message ({state.removal}), and start again",
            **sink.context,
        )
    if tail is not None:
        stored_lsn = tail.commit_lsn
    elif owner is not None:
        stored_lsn = owner.start_lsn
    elif not is_slot_used:
        return Start(ORIGIN, True, None)
    else:
        if not accepts_gap:
            raise StreamGap(
                f"{name} is new, and slot {slot} was read before, as far as can be told: changes up to "
                f"{format_lsn(confirmed_lsn)} are not in this {sink.kind}",
                hint="where another tool has read the slot and published everything, start once with delivery.on_gap: "
                f"continue, that is all. Where the {sink.kind} was deleted, restore it, or {RELOAD}",
                slot=slot,
                **sink.context,
            )
        return Start(ORIGIN, True, (0, confirmed_lsn))
    if confirmed_lsn <= stored_lsn:
        return Start(tail or ORIGIN, tail is None, None, doubt)
    if doubt is not None:
        raise doubt
    gap = (stored_lsn, confirmed_lsn)
    if not accepts_gap:
        raise gap_error(sink, slot, tail, f"{format_lsn(gap[0])} to {format_lsn(gap[1])}")
    return Start(tail or ORIGIN, True, gap)


def _is_after(tail: Position, end_lsn: int) -> bool:
    """Whether history up to `end_lsn` is without the tail."""
    return tail.commit_lsn > end_lsn or (tail.ordinal > 0 and tail.commit_lsn == end_lsn)


def _check_successor(
    owner: PipelineId | None, tail: Position | None, confirmed_lsn: int, *, sink: Capabilities, slot: str
) -> None:
    """Raise SourceRewound where the positions of another cluster would not come after those of the sink."""
    end_lsn = tail.commit_lsn if tail is not None else owner.start_lsn if owner is not None else 0
    if confirmed_lsn >= end_lsn:
        return
    raise SourceRewound(
        f"{sink.name} ends at {format_lsn(end_lsn)} of another database cluster, and slot {slot} of this one "
        f"is at {format_lsn(confirmed_lsn)}: its positions would not come after those of the {sink.kind}",
        hint=f"only a cluster that pg_upgrade made of the {sink.kind}'s goes on in the same {sink.kind}: give others "
        f"one of their own, another {sink.settings}; where their slot has been read before, {RELOAD}",
        slot=slot,
    )


def _end_of_history(owner: PipelineId | None, timelines: Timelines, wal_lsn: int, *, kind: str) -> tuple[int, str]:
    """Up to where the server's WAL is the one that the sink was filled from, and that in words."""
    before, now = (owner.timeline if owner is not None else 0), timelines.current
    if before in {0, now}:
        return wal_lsn, f"the server's WAL ends at {format_lsn(wal_lsn)}"
    switch_lsn = timelines.switch_lsns.get(before)
    if switch_lsn is None:
        return 0, f"was filled from timeline {before}, which the server's timeline {now} does not come from"
    return min(switch_lsn, wal_lsn), (
        f"the server's timeline {now} left the {kind}'s timeline {before} at {format_lsn(switch_lsn)}"
    )


def gap_error(sink: Capabilities, slot: str, tail: Position | None, missing: str) -> StreamGap:
    """The events of `missing` (a range of LSNs in words) are gone for good."""
    ends = f"ends at {tail}" if tail is not None else "holds none of this pipeline's messages any more"
    return StreamGap(
        f"{sink.name} {ends}, and PostgreSQL has given up what came after: changes from {missing} are missing",
        hint=f"the {sink.kind} was purged, deleted or restored, or the slot was made anew. Restore the {sink.kind}, "
        f"or {RELOAD}",
        slot=slot,
        **sink.context,
    )
