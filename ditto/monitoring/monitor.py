"""What a running Ditto tells about itself: its own numbers, and from time to time a look at both servers.

The look has connections of its own, so that it says how much WAL piles up while an attempt cannot even begin, and never
comes between an attempt's or the lease's questions.
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
from ditto.config import Config
from ditto.monitoring.counters import Counters
from ditto.monitoring.servers import Surveyor
from ditto.monitoring.state import States
from ditto.monitoring.status import Process, StateChange, Status, Survey, Window, rfc3339
from ditto.tasks import end

PERIOD_S: Final = 5.0
_RECENT_S: Final = 60.0
_SETTLE_S: Final = 0.3
_READY: Final = frozenset({"streaming", "standby"})


class Rate:
    """Events a second, between the last two times that it was told how many there were."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._before: tuple[float, int] | None = None
        self.per_s: float | None = None

    def note(self, count: int) -> float | None:
        """So many there were by now; returns the rate, None for the first time."""
        now = self._clock()
        if self._before is not None and now > self._before[0]:
            self.per_s = round(max(0, count - self._before[1]) / (now - self._before[0]), 1)
        self._before = (now, count)
        return self.per_s


class Monitor:
    """Answers without asking anybody: `watch` looks, in a task of its own."""

    def __init__(self, config: Config, *, counters: Counters, states: States) -> None:
        self.config = config
        self.states = states
        self._rate = Rate()
        self._has_news = asyncio.Event()
        self.counters = counters
        self._acknowledged: deque[list[int]] = deque(
            [[0] * len(counters.ack_s.counts)], maxlen=round(_RECENT_S / PERIOD_S) + 1
        )
        """The counts of the histogram at the last looks."""
        self._surveyed_at = time.monotonic()
        self.survey = Survey(rfc3339(time.time()), None, None, None, [], ["both servers have not been asked yet"])

    @property
    def state(self) -> str:
        """The current one."""
        return self.states.state

    @property
    def reason(self) -> str:
        """Why it is in this state."""
        return self.states.changes[-1].reason

    @property
    def is_ready(self) -> bool:
        """Whether it streams or stands by."""
        return self.state in _READY

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look every few seconds while the body runs, and when the state has changed."""
        self.states.listeners.append(lambda _change: self._has_news.set())
        watching = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            await end(watching)

    async def _watch(self) -> None:
        surveyor = Surveyor(self.config)
        try:
            while True:
                self.survey = await surveyor.look()
                self._surveyed_at = time.monotonic()
                self._acknowledged.append(list(self.counters.ack_s.counts))
                self._rate.note(self.counters.events)
                with suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD_S):
                        await self._has_news.wait()
                        await asyncio.sleep(_SETTLE_S)  # what follows a change, such as the lease, is there by then
                self._has_news.clear()
        finally:
            await surveyor.close()

    def lag_s(self) -> float | None:
        """How far the stream is behind the database, None where nobody knows; call `counters.refresh` first."""
        return round(self.counters.lag_s, 3) if self.state == "streaming" else lag_by_servers(self.survey)

    def status(self) -> Status:
        """Everything, as of now; the servers as of the last look."""
        counters, config = self.counters, self.config.delivery
        counters.refresh()
        current = self.states.changes[-1]
        process = Process(
            run_id=counters.run_id,
            version=__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=rfc3339(self.states.started_at),
            state=current.state,
            reason=current.reason,
            is_ready=self.is_ready,
            events=counters.events,
            stored=counters.stored,
            window=Window(
                counters.outstanding, counters.outstanding_bytes, config.max_in_flight, config.max_in_flight_bytes
            ),
            attempts=dict(counters.attempts),
            rewinds=counters.rewinds,
            skipped=counters.skipped,
            fenced=counters.fenced,
            states=[StateChange(rfc3339(each.at), each.state, each.reason) for each in self.states.changes],
            acknowledged_p50_s=self._acknowledged_s(0.5),
            acknowledged_p99_s=self._acknowledged_s(0.99),
        )
        age_s = round(time.monotonic() - self._surveyed_at, 1)
        return Status("ditto", process, self.lag_s(), self._rate.per_s, self.survey, age_s)

    def _acknowledged_s(self, quantile: float) -> float | None:
        found = self.counters.ack_s.quantile_s(quantile, before=self._acknowledged[0])
        return None if found is None else round(found, 6)


def lag_by_servers(survey: Survey, *, now: float | None = None) -> float | None:
    """The time since the stream's tail, where there is WAL after the slot's confirmed LSN; the most it can be."""
    if survey.slot is None or survey.stream is None:
        return None
    if survey.slot.lag_bytes == 0:
        return 0.0
    if survey.slot.lag_bytes is None or survey.stream.tail_time is None:
        return None
    # nats-server writes nanoseconds, Python reads microseconds.
    whole, _, fraction = survey.stream.tail_time.rstrip("Z").partition(".")
    at = datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00").timestamp()
    return round(max(0.0, (time.time() if now is None else now) - at), 3)
