"""The third phase of a session: where it begins, decided when nobody else can store anything any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from ditto.errors import StreamGap
from ditto.lsn import ORIGIN, Position, Transaction
from ditto.monitoring.state import States
from ditto.pipeline.beginning import Ready, begin
from ditto.pipeline.connecting import Report
from ditto.pipeline.preparing import prepare
from ditto.sinks.base import SinkState
from unit.fakes import EMPTY, PIPELINE, FakeReplication, FakeSink, FakeSlot, fake_time, make_ends, now

LAST = Transaction(0x200, "2026-01-01T00:00:00Z", 7)


class Scene:
    """A session that has taken the slot; then the sink may change."""

    def __init__(self, state: SinkState = EMPTY) -> None:
        self.slot, self.sink = FakeSlot(), FakeSink(state)
        self.slot.lsn = 0x1000
        self.source = FakeReplication(self.slot, pid=5)

    async def begin(self, *, then: SinkState | None = None, accepted_gap: tuple[int, int] | None = None) -> Ready:
        ends = make_ends(self.slot, self.sink, source=self.source)
        prepared = await prepare(ends, states=States(now=now), report=Report())
        if then is not None:
            self.sink.state = then
        return await begin(replace(prepared, accepted_gap=accepted_gap))


@fake_time
async def test_a_new_sink_begins_at_the_slot_with_a_checkpoint() -> None:
    scene = Scene()
    ready = await scene.begin()
    assert (ready.start.after, ready.start.needs_checkpoint, ready.start.gap) == (ORIGIN, True, None)
    assert scene.sink.calls.count("claim") == 1
    assert scene.sink.calls.index("claim") < scene.sink.calls.index("open")
    assert scene.source.decoder is ready.decoder


@fake_time
async def test_the_tail_is_read_again_when_the_slot_is_held() -> None:
    """Until then the Ditto that held it before may have stored more."""
    scene = Scene(SinkState(PIPELINE, Position(0x100, 1)))
    ready = await scene.begin(then=SinkState(PIPELINE, Position(0x300, 2), LAST))
    assert ready.start.after == Position(0x300, 2)
    assert ready.last == LAST
    assert not ready.history.is_certain  # the last transaction comes again, and has to be the same


@fake_time
async def test_a_sink_of_ones_own_is_claimed_for_this_source() -> None:
    scene = Scene(SinkState(PIPELINE, Position(0x100, 1)))
    await scene.begin()
    assert scene.sink.calls.count("claim") == 1
    assert scene.sink.state.owner is not None
    assert scene.sink.state.owner.start_lsn == 0x100


@fake_time
async def test_a_sink_that_lost_its_end_meanwhile() -> None:
    scene = Scene(SinkState(PIPELINE, Position(0x300, 1)))
    with pytest.raises(StreamGap, match="0/80 to 0/100"):
        await scene.begin(then=SinkState(PIPELINE, Position(0x80, 1)))


@fake_time
async def test_after_an_accepted_gap_the_last_transaction_proves_nothing() -> None:
    scene = Scene(SinkState(PIPELINE, Position(0x300, 1), LAST))
    ready = await scene.begin(accepted_gap=(0x80, 0x100))
    assert ready.start.gap == (0x80, 0x100)
    assert ready.last is None
    assert ready.history.is_certain


@fake_time
async def test_a_sink_that_is_gone_when_a_standby_takes_over_is_not_claimed() -> None:
    """With an owner in it the next start would believe that nothing is missing."""
    scene = Scene(SinkState(PIPELINE, Position(0x100, 1)))
    with pytest.raises(StreamGap, match="is new, and slot s was read before"):
        await scene.begin(then=EMPTY)
    assert scene.sink.calls.count("claim") == 0


@fake_time
async def test_a_new_sink_that_is_gone_while_it_waits_is_made_again() -> None:
    scene = Scene()
    ready = await scene.begin(then=EMPTY)
    assert (ready.start.after, ready.start.needs_checkpoint, ready.start.gap) == (ORIGIN, True, None)
    assert scene.sink.calls.count("claim") == 2


@fake_time
async def test_but_not_where_another_one_has_filled_it_meanwhile() -> None:
    scene = Scene()
    ends = make_ends(scene.slot, scene.sink, source=scene.source)
    prepared = await prepare(ends, states=States(now=now), report=Report())
    scene.sink.state = EMPTY
    filled = replace(prepared, slot=structs.replace(prepared.slot, confirmed_lsn=0x200))
    with pytest.raises(StreamGap, match="is new, and slot s was read before"):
        await begin(filled)
    assert scene.sink.calls.count("claim") == 1
