"""The newest control event of snapshots, kept beside a sink's messages."""

from __future__ import annotations

from collections import deque
from uuid import UUID

from ditto.formats.snapshot_events import Control, ControlEvent, OpenRun, read_control
from ditto.pipeline.snapshots.saved_state import SavedState
from unit.fakes import FakeSink


def control(rows: int) -> ControlEvent:
    run = OpenRun(run="r", tables=(("public", "t"),), has_begun=True, cursor=(str(rows),), rows=rows)
    return ControlEvent(id=str(UUID(int=rows)), snapshot=Control(state="reading", run="r", open=(run,)), commit_time="")


def kept_rows(sink: FakeSink) -> int | None:
    found = read_control(sink.snapshots[-1]) if sink.snapshots else None
    return found.open[0].rows if found is not None else None


async def test_the_newest_that_is_durable_is_kept_while_newer_ones_are_on_their_way() -> None:
    sink, acknowledged = FakeSink(), 0
    sink.may_lose_tail = True
    controls: deque[tuple[int, ControlEvent]] = deque()
    state = SavedState(sink, controls, acknowledged=lambda: acknowledged)
    controls.extend((number, control(number)) for number in (2, 4, 6))
    await state.keep()
    assert kept_rows(sink) is None
    acknowledged = 5
    await state.keep()
    assert kept_rows(sink) == 4
    controls.append((8, control(8)))
    acknowledged = 7
    await state.keep()
    assert kept_rows(sink) == 6
    assert list(controls) == [(8, control(8))]


async def test_what_is_durable_is_forgotten_also_where_nothing_can_be_kept() -> None:
    sink = FakeSink()
    controls = deque([(1, control(1))])
    state = SavedState(sink, controls, acknowledged=lambda: 1)
    state._has_failed = True
    await state.keep()
    assert not controls
