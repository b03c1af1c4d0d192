"""The numbers and the status of one running pipeline: its own counters, and every few seconds a look at both servers.

The look has connections of its own: it says how much WAL piles up while no session can begin, and never comes between
the queries of a session or of the lease.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final

from ditto import __version__
from ditto.config import PipelineConfig
from ditto.crowd import stretched
from ditto.monitoring.server_status import ServerStatusReader
from ditto.monitoring.status_document import (
    Process,
    Servers,
    Snapshots,
    SnapshotSummary,
    StateChange,
    Status,
    Window,
)
from ditto.monitoring.timestamps import rfc3339
from ditto.pipeline.pipeline import Pipeline
from ditto.tasks import end

PERIOD_S: Final = 5.0
_RECENT_S: Final = 60.0
_SETTLE_S: Final = 0.3


class Rate:
    """Events a second, between the last two calls of `note`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, int] | None = None
        self.per_s: float | None = None

    def note(self, count: int) -> float | None:
        """There were `count` events by now; returns the rate, None for the first time."""
        now = self._clock()
        if self._before is not None and now > self._before[0]:
            self.per_s = round(max(0, count - self._before[1]) / (now - self._before[0]), 1)
        self._before = (now, count)
        return self.per_s


class PipelineMonitor:
    """Answers from memory, without any I/O: `watch_servers` asks the servers, in a task of its own."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.label = pipeline.label
        self._pipeline = pipeline
        self.states = pipeline.states
        self.counters = pipeline.counters
        self._rate = Rate()
        self._has_news = asyncio.Event()
        self._acknowledged: deque[list[int]] = deque(
            [[0] * len(pipeline.counters.ack_s.counts)], maxlen=round(_RECENT_S / PERIOD_S) + 1
        )
        """The counts of the histogram at the last looks."""
        self._asked_at = time.monotonic()
        self.servers = Servers(rfc3339(time.time()), None, None, None, [], ["both servers have not been asked yet"])

    @property
    def config(self) -> PipelineConfig:
        """The current one."""
        return self._pipeline.config

    @property
    def state(self) -> str:
        """The current one."""
        return self.states.state

    @asynccontextmanager
    async def watch_servers(self) -> AsyncIterator[None]:
        """Look every few seconds while the body runs, and when the state has changed."""
        self.states.listeners.append(lambda _entered: self._has_news.set())
        watching = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            await end(watching)

    async def _watch(self) -> None:
        reader = ServerStatusReader(self.config)
        try:
            while True:
                self.servers = await reader.read()
                self._asked_at = time.monotonic()
                self._acknowledged.append(list(self.counters.ack_s.counts))
                self._rate.note(self.counters.events)
                with suppress(TimeoutError):
                    async with asyncio.timeout(stretched(PERIOD_S)):
                        await self._has_news.wait()
                        await asyncio.sleep(_SETTLE_S)  # what follows a change, such as the lease, is there by then
                self._has_news.clear()
        finally:
            await reader.close()

    def lag_s(self) -> float | None:
        """How far the stream is behind the database, None where that is not known; call `counters.refresh` first."""
        return round(self.counters.lag_s, 3) if self.state == "streaming" else lag_by_servers(self.servers)

    def status(self) -> Status:
        """Everything, as of now; the servers as of the last look."""
        counters, states, delivery = self.counters, self.states, self.config.delivery
        counters.refresh()
        process = Process(
            run_id=counters.run_id,
            version=__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=rfc3339(states.started_at),
            state=states.state,
            reason=states.reason,
            is_ready=states.is_ready,
            events=counters.events,
            stored=counters.stored,
            window=Window(
                counters.outstanding, counters.outstanding_bytes, delivery.max_in_flight, delivery.max_in_flight_bytes
            ),
            sessions=dict(counters.sessions),
            rewinds=counters.rewinds,
            skipped=counters.skipped,
            fenced=counters.fenced,
            states=[StateChange(rfc3339(each.at), each.state, each.reason) for each in states.transitions],
            acknowledged_p50_s=self._acknowledged_s(0.5),
            acknowledged_p99_s=self._acknowledged_s(0.99),
            configuration=self._pipeline.configuration,
        )
        age_s = round(time.monotonic() - self._asked_at, 1)
        return Status(
            source="ditto",
            pipeline=self.label,
            process=process,
            lag_s=self.lag_s(),
            events_per_s=self._rate.per_s,
            servers=self.servers,
            servers_age_s=age_s,
            snapshots=[SnapshotSummary.of(each) for each in counters.snapshots.unended()],
        )

    def snapshots(self) -> Snapshots:
        """The runs, as of now."""
        return Snapshots(self.label, self.state, self.counters.snapshots.runs)

    def _acknowledged_s(self, quantile: float) -> float | None:
        found = self.counters.ack_s.quantile_s(quantile, before=self._acknowledged[0])
        return None if found is None else round(found, 6)


def lag_by_servers(servers: Servers, *, now: float | None = None) -> float | None:
    """The time since the sink's tail, where there is WAL after the slot's confirmed LSN; the most it can be."""
    stored = servers.stream or servers.sink
    if servers.slot is None or stored is None:
        return None
    if servers.slot.lag_bytes == 0:
        return 0.0
    if servers.slot.lag_bytes is None or stored.tail_time is None:
        return None
    # nats-server writes nanoseconds, Python reads microseconds.
    whole, _, fraction = stored.tail_time.rstrip("Z").partition(".")
    at = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()
    return round(max(0.0, (time.time() if now is None else now) - at), 3)
