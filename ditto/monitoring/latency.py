"""How long an event takes: one block at a time is followed from its commit to its acknowledgement."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from ditto.monitoring.counters import Counters

_FRESH_S: Final = 10.0


class LatencyProbe:
    """Follows the next block whenever none is followed: so its cost does not grow with the number of blocks.

    `clock` gives monotonic seconds, `now` seconds since 1970. The commit time is of PostgreSQL's clock: what the two
    clocks differ by is part of the latency, except that it never counts as less than 0.
    """

    def __init__(self, counters: Counters, *, clock: Callable[[], float], now: Callable[[], float] = time.time) -> None:
        self._counters = counters
        self._clock = clock
        self._now = now
        self._sequence = 0
        self._commit_time = ""
        self._sent_at = 0.0
        self._stored_at: float | None = None
        self._stored_lag_s = 0.0

    def sent(self, sequence: int, commit_time: str) -> None:
        """A block was sent that ends with this stream sequence, and whose last event was committed then."""
        if not self._sequence:
            self._sequence, self._commit_time, self._sent_at = sequence, commit_time, self._clock()

    def stored(self, sequence: int) -> None:
        """Everything up to this stream sequence is acknowledged."""
        if not self._sequence or sequence < self._sequence:
            return
        self._sequence = 0
        self._stored_at = self._clock()
        self._stored_lag_s = self._age_s()
        self._counters.ack_s.observe(self._stored_at - self._sent_at)
        self._counters.stored_s.observe(self._stored_lag_s)

    def lag_s(self) -> float:
        """How long ago that was committed which is being stored, or was stored last; 0 when nothing comes."""
        lag_s = 0.0
        if self._stored_at is not None and self._clock() - self._stored_at < _FRESH_S:
            lag_s = self._stored_lag_s
        return max(lag_s, self._age_s()) if self._sequence else lag_s

    def _age_s(self) -> float:
        return max(0.0, self._now() - datetime.fromisoformat(self._commit_time).timestamp())
