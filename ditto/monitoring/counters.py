"""Counters of one pipeline since the process began, for logs, metrics and the status."""

from __future__ import annotations

import uuid
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ditto.config import EVENT_ACTIONS
from ditto.monitoring.snapshot_status import SnapshotStatus

STAGES: Final = ("read", "encode", "publish", "room")
"""Draining and decoding; to JSON; framing and writing; waiting until the window has room."""

ACK_BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STORED_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600, 3600)


class Histogram:
    """Observations in seconds, counted by upper bound."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        """How many were above the bound before and not above this one; the last has no bound."""
        self.sum_s = 0.0
        self.listeners: list[Callable[[float], None]] = []
        """Called with each: OpenTelemetry cannot read a histogram that was counted elsewhere. They must not raise: most
        observations are made where an acknowledgement is taken."""

    def observe(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds
        for listener in self.listeners:
            listener(seconds)

    @property
    def count(self) -> int:
        """All of them."""
        return sum(self.counts)

    def quantile_s(self, quantile: float, *, before: Sequence[int]) -> float | None:
        """Of what was observed since the counts were `before`, as near as the bounds allow; None without any."""
        counts = [now - then for now, then in zip(self.counts, before, strict=True)]
        wanted, seen, lower = quantile * sum(counts), 0, 0.0
        for bound, count in zip(self.bounds_s, counts, strict=False):
            if count and seen + count >= wanted:
                return lower + (bound - lower) * (wanted - seen) / count
            seen, lower = seen + count, bound
        return lower if sum(counts) else None


def _nothing() -> None:
    """Between sessions everything is in the counters already."""


@dataclass
class Counters:
    """Counted over all sessions of one pipeline in one process."""

    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells this process from others."""
    sessions: Counter[str] = field(default_factory=Counter)
    """By how they ended: the error's class, or `stopped`."""
    rewinds: int = 0
    """Sessions that began with the slot behind the sink's tail, so that changes came again and were skipped."""
    skipped: int = 0
    """Changes that came again."""
    fenced: int = 0
    """Messages that the sink refused because another one came before: another Ditto, or another writer."""
    ended_holders: int = 0
    """Walsenders that were ended because the one that they served was dead or cut off."""
    is_without_lease: bool = False
    """The lease cannot be written or read at the moment, and that was said."""
    unmatched_keys: set[str] = field(default_factory=set)
    """Keys of the configuration that no table matched; that was said."""
    has_told_transport: bool = False
    """That the connection to PostgreSQL is not verified, or not encrypted, was said."""
    has_told_standing: bool = False
    """That PostgreSQL's commits wait for Ditto was said."""
    created: dict[str, str] = field(default_factory=dict)
    """Of `publication` and `slot` what this process has created, by its name, and has not streamed from yet."""
    passed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Changes that became events, by schema, table and action; again, if a session ends before they are stored."""
    filtered: int = 0
    """Changes that the configuration does not select."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Those among them that the rule of their table has dropped, by schema and table."""
    oversize: int = 0
    """Events that were too large for a message: stored without some columns, or as a reference."""
    events: int = 0
    """Sent to the sink."""
    stored: int = 0
    """Messages that the sink has acknowledged, checkpoints included."""
    foreign_answers: int = 0
    """Answers to events that did not come from JetStream."""
    retries: int = 0
    """Requests that the sink has sent again within a session."""
    checkpoints: int = 0
    read_bytes: int = 0
    """From PostgreSQL, as CopyData."""
    sent_bytes: int = 0
    """Of events, in JSON, without headers."""
    stage_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    """Seconds by stage."""
    ack_s: Histogram = field(default_factory=lambda: Histogram(ACK_BOUNDS_S))
    """From sending the last event of a block to its acknowledgement; 20 blocks a second at most."""
    stored_s: Histogram = field(default_factory=lambda: Histogram(STORED_BOUNDS_S))
    """From the commit of the last event of a block to its acknowledgement; 20 blocks a second at most."""
    outstanding: int = 0
    """Messages sent and not yet acknowledged."""
    outstanding_bytes: int = 0
    confirmed_lsn: int = 0
    """The last LSN that was confirmed to PostgreSQL; 0 before the first one."""
    gap_at: float | None = None
    """When the pipeline last went on after a gap (`delivery.on_gap: continue`), in seconds since 1970."""
    snapshots_denied: str = ""
    """Why the sink takes no control events of snapshots from this process; empty where it does, as far as is known."""
    snapshots: SnapshotStatus = field(default_factory=SnapshotStatus)
    """The runs; the runner of the snapshots writes them."""
    lag_s: float = 0.0
    """The age of the commit that is being stored, or was stored last; 0 when nothing comes."""
    refresh: Callable[[], None] = _nothing
    """Brings the numbers up to date that are counted elsewhere while a session runs: to be called before reading."""

    def detach(self) -> None:
        """The session has ended."""
        self.refresh()
        self.refresh = _nothing
        self.outstanding = self.outstanding_bytes = 0


class DecoderCounts:
    """Adds the counts of one session's decoder to the counters: each time those that have come since the last."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._passed: dict[tuple[str, str], tuple[int, ...]] = {}
        self._dropped: dict[tuple[str, str], int] = {}
        self._filtered = 0
        self._skipped = 0

    def take(
        self,
        passed: dict[tuple[str, str], tuple[int, ...]],
        *,
        dropped: dict[tuple[str, str], int],
        filtered_count: int,
        skipped_count: int,
    ) -> None:
        """The decoder's counts as they are now."""
        counters = self._counters
        for table, counts in passed.items():
            before = self._passed.get(table, (0,) * len(EVENT_ACTIONS))
            if counts != before:
                for action, count, old in zip(EVENT_ACTIONS, counts, before, strict=True):
                    if count != old:
                        counters.passed[*table, action] += count - old
        for table, count in dropped.items():
            if count != (old := self._dropped.get(table, 0)):
                counters.dropped[table] += count - old
        counters.filtered += filtered_count - self._filtered
        counters.skipped += skipped_count - self._skipped
        self._passed, self._dropped = passed, dropped
        self._filtered, self._skipped = filtered_count, skipped_count
