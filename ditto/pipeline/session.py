"""One session, from connecting to the first fault or the end: its phases one after the other, and what runs beside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from ditto import crowd
from ditto.monitoring.session_counters import SessionCounters
from ditto.pipeline.beginning import begin
from ditto.pipeline.confirmer import Confirmer
from ditto.pipeline.connecting import Report, connect
from ditto.pipeline.pipeline import Pipeline
from ditto.pipeline.preparing import Prepared, prepare
from ditto.pipeline.streaming import Streaming
from ditto.pipeline.synchronous_commit import SynchronousWatch
from ditto.pipeline.watermark import ConfirmDelay
from ditto.pipeline.window import Window
from ditto.sinks.base import MakeSink, Sink
from ditto.source.walsender import check_holder
from ditto.tasks import beside, deciding_error, end, until

_LOOK_S: Final = 0.1
_HEARD: Final = 1.5
"""In times to live of the lease: more than from one answer of a quiet walsender to the next one."""


async def run_session(
    pipeline: Pipeline, *, stop: asyncio.Event, clock: Callable[[], float], make_sink: MakeSink, report: Report
) -> None:
    """Run until `stop` is set, or another configuration is asked for; returns with everything that was sent confirmed,
    and in the second case with the last transaction complete.

    Raises the DittoError that ended it. `clock` gives monotonic seconds; `report` is for the loop of sessions.
    """
    config, counters, states = pipeline.config, pipeline.counters, pipeline.states
    failure = states.failure
    states.enter("connecting", reason="a session begins" + (f", after {failure}" if failure else ""))
    try:
        async with AsyncExitStack() as stack:
            connecting = connect(
                config,
                stack=stack,
                clock=clock,
                make_sink=make_sink,
                counters=counters,
                report=report,
                suspects_holder=pipeline.suspects_holder,
            )
            if (ends := await until(stop, connecting)) is None:
                return
            leave = asyncio.Event()
            async with beside(_watch(ends.sink), _leave_a_queue(pipeline, leave, stop=stop)):
                prepared = await until(leave, prepare(ends, states=states, report=report))
            if prepared is not None:
                await _hold_slot(prepared, pipeline, stop=stop, report=report)
            await ends.lease.release()
    except BaseExceptionGroup as group_error:
        raise deciding_error(group_error) from group_error
    finally:
        counters.detach()


async def _watch(sink: Sink) -> None:
    """Raise what goes wrong with the sink while nothing is sent."""
    while True:
        await sink.acknowledged()


async def _leave_a_queue(pipeline: Pipeline, leave: asyncio.Event, *, stop: asyncio.Event) -> None:
    """Set `leave` when the process is to stop, or a standby is to have another configuration: it may wait for days."""
    while not (pipeline.change_wanted.is_set() and pipeline.may_change_now):
        waiting = [asyncio.ensure_future(each.wait()) for each in (stop, pipeline.change_wanted)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*waiting)
        if stop.is_set():
            break
        await asyncio.sleep(_LOOK_S)
    leave.set()


async def _hold_slot(prepared: Prepared, pipeline: Pipeline, *, stop: asyncio.Event, report: Report) -> None:
    """Begin and stream, beside what keeps the slot."""
    states = pipeline.states
    ends, delivery = prepared.ends, prepared.ends.config.delivery
    counters = SessionCounters(ends.counters, ends.source, clock=ends.clock)
    synchronous = SynchronousWatch(ends.control, prepared.slot.active_pid or 0, counters=ends.counters)
    confirmer = Confirmer(
        ends.source,
        synchronous=synchronous,
        delay=ConfirmDelay(delivery.confirm_delay_s, start_lsn=prepared.slot.confirmed_lsn),
        counters=counters,
        clock=ends.clock,
    )
    window = Window(
        max_count=delivery.max_in_flight,
        max_bytes=delivery.max_in_flight_bytes,
        ack_interval=lambda: ends.sink.capabilities.ack_interval,
        flush=ends.sink.flush,
        clock=ends.clock,
    )
    alive = confirmer.keep_alive(wal_sender_timeout_s=ends.wal_sender_timeout_s)
    async with beside(alive, _hold_lease(prepared, stored=lambda: window.acknowledged)):
        async with beside(_watch(ends.sink)):
            ready = await until(stop, begin(prepared))
        if ready is None:
            return
        streaming = Streaming(
            ready,
            window=window,
            confirmer=confirmer,
            synchronous=synchronous,
            counters=counters,
            states=states,
            leave=pipeline.change_wanted,
        )
        try:
            async with beside(confirmer.run(ends.sink.acknowledged, window), *streaming.beside()):
                await until(stop, streaming.run())
                reason = "it was asked to stop" if stop.is_set() else "another configuration is to be used"
                await streaming.drain(reason=reason)
        finally:
            report.has_progressed = confirmer.has_stored
    await ends.source.finish()


async def _hold_lease(prepared: Prepared, *, stored: Callable[[], int]) -> None:
    """Let the standbys know that this one is alive, as long as it holds the slot."""
    ends, name, pid = prepared.ends, prepared.slot.name, prepared.slot.active_pid or 0

    async def check_slot() -> None:
        silent_s = ends.clock() - ends.source.heard_at
        if crowd.is_large() and silent_s < _HEARD * ends.config.delivery.lease_ttl_s:
            return  # the walsender that answers holds the slot; of hundreds of pipelines each question counts
        await check_holder(ends.control, name, pid)

    await ends.lease.hold(pid, check_slot=check_slot, stored_count=stored)
