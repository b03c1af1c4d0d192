"""The latency of events: one block at a time is followed from its commit to its acknowledgement."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from ditto.monitoring.counters import Counters

_FRESH_S: Final = 10.0
_MEASURE_PERIOD_S: Final = 0.05
_MINUTE: Final = len("2026-01-31T12:34")


class LatencySampler:
    """Follows the next block whenever none is followed: so its cost does not grow with the number of blocks.

    A sink may tell of an acknowledgement some milliseconds late, unless a block is urgent (`Batch.is_urgent`): of those
    that are followed, only such a one is measured, every 50 ms at most.

    `clock` gives monotonic seconds, `now` seconds since 1970. The commit time is of PostgreSQL's clock: the difference
    between the two clocks is part of the latency, except that a latency is never less than 0. No method raises: they
    are called where events are sent and acknowledged.
    """

    def __init__(self, counters: Counters, *, clock: Callable[[], float], now: Callable[[], float] = time.time) -> None:
        self._counters = counters
        self._clock = clock
        self._now = now
        self._sequence = 0
        self._is_measured = False
        self._measured_at = -_MEASURE_PERIOD_S
        self._committed_at = 0.0
        self._minute = ""
        self._minute_at = 0.0
        self._sent_at = 0.0
        self._stored_at: float | None = None
        self._stored_lag_s = 0.0

    def is_due(self, now: float) -> bool:
        """Whether the next block is to be urgent, and measured. `now` is the clock's."""
        return now - self._measured_at >= _MEASURE_PERIOD_S

    def sent(self, sequence: int, commit_time: str, *, is_measured: bool) -> None:
        """A block was sent that ends with this stream sequence, and whose last event was committed then."""
        if not self._sequence or (is_measured and not self._is_measured):
            self._sequence, self._sent_at, self._is_measured = sequence, self._clock(), is_measured
            self._committed_at = self._seconds(commit_time)
            if is_measured:
                self._measured_at = self._sent_at

    def stored(self, sequence: int) -> None:
        """Everything up to this stream sequence is acknowledged."""
        if not self._sequence or sequence < self._sequence:
            return
        self._sequence = 0
        if self._is_measured:
            self._is_measured = False
            self._stored_at = self._clock()
            self._stored_lag_s = self._age_s()
            self._counters.ack_s.observe(self._stored_at - self._sent_at)
            self._counters.stored_s.observe(self._stored_lag_s)

    def lag_s(self) -> float:
        """The age of the commit that is being stored, or was stored last; 0 when nothing comes."""
        lag_s = 0.0
        if self._stored_at is not None and self._clock() - self._stored_at < _FRESH_S:
            lag_s = self._stored_lag_s
        return max(lag_s, self._age_s()) if self._sequence else lag_s

    def _age_s(self) -> float:
        return max(0.0, self._now() - self._committed_at)

    def _seconds(self, commit_time: str) -> float:
        """Seconds since 1970. A server's clock may say a year that Python cannot hold; that counts as now."""
        minute = commit_time[:_MINUTE]
        try:
            if minute != self._minute:  # parsed once a minute: at 1,000 transactions a second each is followed
                self._minute_at = datetime.fromisoformat(f"{minute}+00:00").timestamp()
                self._minute = minute
            return self._minute_at + float(commit_time[_MINUTE + 1 : -1])
        except (ValueError, OverflowError):
            return self._now()
