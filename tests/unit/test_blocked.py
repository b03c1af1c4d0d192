"""What a pipeline says while its sink stores nothing and the session goes on."""

from __future__ import annotations

import asyncio

from ditto.errors import NotNow
from ditto.monitoring.state import State, States
from ditto.pipeline.blocked import tell_of_blocking
from ditto.tasks import end
from unit.fakes import FakeSink, fake_time, now

PERIOD_S = 1.0


async def states_after(sink: FakeSink, states: States, steps: list[tuple[NotNow | State | None, State]]) -> None:
    """Block the sink, or let it go on, or enter a state: what the state is then."""
    telling = asyncio.create_task(tell_of_blocking(sink, states))
    for step, wanted in steps:
        if isinstance(step, str):
            states.enter(step, reason="asked for")
        else:
            sink.blocked = step
        await asyncio.sleep(PERIOD_S)
        assert states.state == wanted
    await end(telling)


@fake_time
async def test_the_pipeline_waits_while_its_sink_is_blocked() -> None:
    sink, states = FakeSink(), States(now=now)
    error = NotNow("the server blocks publishers", hint="make room")
    states.enter("streaming", reason="it begins")
    await states_after(sink, states, [(None, "streaming"), (error, "waiting")])
    assert states.reason == "NotNow: the server blocks publishers"
    assert states.failure == states.reason
    assert not states.is_ready
    await states_after(sink, states, [(None, "streaming")])
    assert states.failure == ""


@fake_time
async def test_a_pipeline_that_drains_goes_on_to_drain() -> None:
    sink, states = FakeSink(), States(now=now)
    states.enter("streaming", reason="it begins")
    error = NotNow("the server blocks publishers")
    await states_after(sink, states, [(error, "waiting"), ("draining", "draining"), (None, "draining")])
