"""Where to begin, for every state in which stream and slot can meet."""

from __future__ import annotations

from typing import Any

import pytest

from ditto.errors import ServerNotReady, SourceRewound, StreamGap, TailForged
from ditto.lsn import ORIGIN, Position, Transaction
from ditto.pipeline.start_position import Start, Timelines, decide_start, is_slot_used
from ditto.sinks.base import Capabilities, PipelineId, SinkState
from ditto.source.slot import Slot

TAIL = Position(0x500, 3)
STREAM = Capabilities("stream", "DITTO", "nats.stream and events.prefix")
OWNER = PipelineId("7312", "ditto", "ditto", start_lsn=0x300)


def decide(
    holding: SinkState,
    confirmed_lsn: int,
    *,
    accepts_gap: bool = False,
    is_slot_used: bool = False,
    wal_lsn: int = 0x9999,
    is_standby: bool = False,
    timelines: Timelines = Timelines(1),  # noqa: B008  immutable
) -> Start:
    return decide_start(
        holding,
        sink=STREAM,
        accepts_gap=accepts_gap,
        slot="s",
        system_identifier="7312",
        confirmed_lsn=confirmed_lsn,
        is_slot_used=is_slot_used,
        wal_lsn=wal_lsn,
        is_standby=is_standby,
        timelines=timelines,
    )


@pytest.mark.parametrize(
    ("holding", "confirmed_lsn", "start"),
    [
        # A stream that nobody has claimed: the first start, wherever the slot stands.
        (SinkState(None, None), 0x400, Start(ORIGIN, True, None)),
        # The slot is behind the tail, or exactly at it: what is stored is skipped.
        (SinkState(OWNER, TAIL), 0x400, Start(TAIL, False, None)),
        (SinkState(OWNER, TAIL), 0x500, Start(TAIL, False, None)),
        # So it is with a tail whose stream is not claimed yet.
        (SinkState(None, TAIL), 0x500, Start(TAIL, False, None)),
        # Claimed, and stopped before the first message was stored.
        (SinkState(OWNER, None), 0x300, Start(ORIGIN, True, None)),
        (SinkState(OWNER, None), 0x200, Start(ORIGIN, True, None)),
    ],
)
def test_nothing_is_missing(holding: SinkState, confirmed_lsn: int, start: Start) -> None:
    assert decide(holding, confirmed_lsn) == start
    assert decide(holding, confirmed_lsn, accepts_gap=True) == start


@pytest.mark.parametrize(
    ("holding", "confirmed_lsn", "words", "start"),
    [
        (
            SinkState(OWNER, TAIL),
            0x501,
            "stream DITTO ends at 0/500:3, and PostgreSQL has given up what came after: "
            "changes from 0/500 to 0/501 are missing",
            Start(TAIL, True, (0x500, 0x501)),
        ),
        (
            SinkState(OWNER, None),
            0x301,
            "stream DITTO holds none of this pipeline's messages any more, and PostgreSQL has given up what came "
            "after: changes from 0/300 to 0/301 are missing",
            Start(ORIGIN, True, (0x300, 0x301)),
        ),
    ],
)
def test_a_slot_that_has_passed_the_stream_is_a_gap(
    holding: SinkState, confirmed_lsn: int, words: str, start: Start
) -> None:
    with pytest.raises(StreamGap) as caught:
        decide(holding, confirmed_lsn)
    assert caught.value.message == words
    assert "on_gap: continue" in (caught.value.hint or "")
    assert caught.value.context == {"slot": "s", "stream": "DITTO"}
    assert decide(holding, confirmed_lsn, accepts_gap=True) == start


def test_a_new_stream_for_a_slot_that_was_read_before_is_a_gap() -> None:
    with pytest.raises(
        StreamGap, match=r"stream DITTO is new, and slot s was read before, as far as can be told: changes up to 0/400"
    ):
        decide(SinkState(None, None), 0x400, is_slot_used=True)
    start = decide(SinkState(None, None), 0x400, is_slot_used=True, accepts_gap=True)
    assert start == Start(ORIGIN, True, (0, 0x400))


@pytest.mark.parametrize("holding", [SinkState(OWNER, TAIL), SinkState(None, TAIL)])
def test_with_a_tail_the_slot_may_have_been_read(holding: SinkState) -> None:
    assert decide(holding, 0x500, is_slot_used=True) == Start(TAIL, False, None)


@pytest.mark.parametrize("options", [{}, {"accepts_gap": True}], ids=["stop", "continue"])
def test_a_stream_ahead_of_the_server_is_refused_whatever_is_accepted(options: dict[str, Any]) -> None:
    with pytest.raises(SourceRewound, match=r"holds events up to 0/500:3, and the server's WAL ends at 0/4FF"):
        decide(SinkState(OWNER, TAIL), 0x100, wal_lsn=0x4FF, **options)


def test_a_standby_that_is_behind_is_waited_for() -> None:
    with pytest.raises(ServerNotReady, match="has WAL up to 0/4FF only"):
        decide(SinkState(OWNER, TAIL), 0x100, wal_lsn=0x4FF, is_standby=True)
    assert decide(SinkState(OWNER, TAIL), 0x100, wal_lsn=0x501, is_standby=True).after == TAIL


def test_a_tail_at_the_end_of_the_wal_is_not_ahead() -> None:
    assert decide(SinkState(OWNER, Position(0x500, 0)), 0x500, wal_lsn=0x500).after == Position(0x500, 0)


@pytest.mark.parametrize(
    ("timeline", "switch_lsns", "tail", "is_refused"),
    [
        (2, {1: 0x600}, TAIL, False),  # the standby had received all that is stored
        (2, {1: 0x501}, TAIL, False),
        (2, {1: 0x500}, TAIL, True),  # the commit record of the tail was not part of it
        (2, {1: 0x4F0}, TAIL, True),
        (2, {1: 0x500}, Position(0x500, 0), False),  # a checkpoint at the very LSN: nothing before it is missing
        (2, {1: 0x4F0}, Position(0x500, 0), True),
        (3, {1: 0x600, 2: 0x700}, TAIL, False),
        (3, {1: 0x4F0, 2: 0x700}, TAIL, True),
        (3, {2: 0x700}, TAIL, True),  # not an ancestor at all
    ],
)
def test_a_promoted_standby(timeline: int, switch_lsns: dict[int, int], tail: Position, *, is_refused: bool) -> None:
    holding = SinkState(PipelineId("7312", "ditto", "ditto", start_lsn=0x300, timeline=1), tail)
    timelines = Timelines(timeline, switch_lsns)
    if not is_refused:
        assert decide(holding, 0x400, timelines=timelines) == Start(tail, False, None)
        return
    with pytest.raises(SourceRewound) as caught:
        decide(holding, 0x400, timelines=timelines, accepts_gap=True)
    assert f"timeline {timeline}" in caught.value.message


def test_a_tail_after_the_switch_may_have_been_stored_since() -> None:
    """Where a transaction is known that the slot has to send again."""
    owner = PipelineId("7312", "ditto", "ditto", start_lsn=0x300, timeline=1)
    holding = SinkState(owner, TAIL, Transaction(TAIL.commit_lsn, "2026-11-25T12:00:00.000001Z"))
    timelines = Timelines(2, {1: 0x4F0})
    start = decide(holding, 0x400, timelines=timelines)
    assert start[:3] == (TAIL, False, None)
    assert start.doubt is not None
    assert "left the stream's timeline 1 at 0/4F0" in start.doubt.message
    with pytest.raises(SourceRewound):
        decide(holding, 0x400, timelines=timelines, wal_lsn=0x4FF)
    with pytest.raises(SourceRewound):
        decide(holding, 0x400, timelines=Timelines(2, {2: 0x4F0}))
    with pytest.raises(SourceRewound):  # and a gap is no reason to go on
        decide(holding, 0x501, timelines=timelines, accepts_gap=True)


def test_a_timeline_that_is_not_known_is_taken_for_the_current_one() -> None:
    holding = SinkState(OWNER, TAIL)
    assert decide(holding, 0x400, timelines=Timelines(5, {4: 0x100})) == Start(TAIL, False, None)


# ------------------------------------------------------------------------------------ another cluster


def decide_for(system_identifier: str, confirmed_lsn: int, *, accepts_gap: bool = True) -> Start:
    return decide_start(
        SinkState(OWNER, TAIL),
        sink=STREAM,
        accepts_gap=accepts_gap,
        slot="s",
        system_identifier=system_identifier,
        confirmed_lsn=confirmed_lsn,
        is_slot_used=False,
        wal_lsn=0x9999,
        is_standby=False,
        timelines=Timelines(1),
    )


def test_after_pg_upgrade_the_slot_stands_behind_the_stream() -> None:
    assert decide_for("8000", 0x1000) == Start(TAIL, True, (0x500, 0x1000))


def test_a_cluster_whose_positions_would_not_come_after_the_streams_is_refused() -> None:
    with pytest.raises(SourceRewound, match="its positions would not come after those of the stream"):
        decide_for("8000", 0x4FF)


# ------------------------------------------------------------------------------------ a tail without an id


def test_a_tail_without_an_id_is_taken_where_the_slot_has_confirmed_it() -> None:
    unproven = SinkState(OWNER, Position(0x500, 0), is_proven=False)
    assert decide(unproven, 0x500) == Start(Position(0x500, 0), False, None)
    with pytest.raises(TailForged, match=r"ends with a checkpoint at 0/500 that has no id"):
        decide(unproven, 0x4FF)


@pytest.mark.parametrize(
    ("by_statistics", "by_trace", "is_created_here", "is_used"),
    [
        (False, False, False, False),
        (True, False, False, True),
        (False, True, False, True),  # a crash took the statistics
        (True, True, True, False),  # an earlier slot of that name was read
    ],
)
def test_a_slot_is_used(*, by_statistics: bool, by_trace: bool, is_created_here: bool, is_used: bool) -> None:
    slot = Slot(
        name="s",
        plugin="pgoutput",
        database="d",
        active_pid=None,
        confirmed_lsn=0x400,
        restart_lsn=0x300,
        wal_lsn=0x500,
        wal_status="reserved",
        invalidation="",
        is_two_phase=False,
        is_logical=True,
        is_copy=False,
        is_failover=False,
        is_standby=False,
        is_used=by_statistics,
        safe_bytes=None,
    )
    assert is_slot_used(slot, is_created_here=is_created_here, has_lease_trace=by_trace) is is_used
    assert is_slot_used(None, is_created_here=is_created_here, has_lease_trace=by_trace) is False
