"""Counts what one session does into the pipeline's counters: once a block, never once a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ditto.monitoring.counters import Counters, DecoderCounts
from ditto.monitoring.latency import LatencySampler


class Reader(Protocol):
    """The replication connection, as far as there is something to count."""

    @property
    def decoder(self) -> DecoderNumbers | None: ...

    def take_read_s(self) -> float: ...


class DecoderNumbers(Protocol):
    """What a decoder counts by itself."""

    filtered_count: int
    skipped_count: int

    def passed_counts(self) -> dict[tuple[str, str], tuple[int, ...]]: ...

    def dropped_counts(self) -> dict[tuple[str, str], int]: ...


class Outstanding(Protocol):
    """The window."""

    @property
    def outstanding_count(self) -> int: ...

    outstanding_bytes: int


class Publisher(Protocol):
    """The sink."""

    @property
    def foreign_answers(self) -> int: ...

    @property
    def retries(self) -> int: ...


class SessionCounters:
    """`clock` gives monotonic seconds."""

    def __init__(self, counters: Counters, reader: Reader, *, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._reader = reader
        self._decoder_counts = DecoderCounts(counters)
        self._window: Outstanding | None = None
        self._sink: Publisher | None = None
        self._foreign_answers = 0
        self._retries = 0
        self._stored = 0
        self.probe = LatencySampler(counters, clock=clock)

    def attach(self, window: Outstanding, sink: Publisher) -> None:
        """From now on the counters know where to ask for what is counted elsewhere; until Counters.detach()."""
        self._window, self._sink = window, sink
        self._counters.refresh = self._refresh

    def sent(
        self,
        *,
        events: int,
        size: int,
        last_number: int,
        is_measured: bool,
        commit_time: str | None,
        stage_s: tuple[float, float, float],
    ) -> None:
        """A block was sent: so many events of so many bytes, with this last delivery number.

        `is_measured`: its acknowledgement is told at once. `commit_time` is the last event's; `stage_s` are the
        seconds of encoding, sending and waiting for room.
        """
        counters, (encode_s, publish_s, room_s) = self._counters, stage_s
        counters.stage_s["encode"] += encode_s
        counters.stage_s["publish"] += publish_s
        counters.stage_s["room"] += room_s
        counters.events += events
        counters.sent_bytes += size
        if commit_time is not None and self._stored < last_number:
            self.probe.sent(last_number, commit_time, is_measured=is_measured)

    def stored(self, number: int) -> None:
        """Everything up to this delivery number is durable."""
        self._counters.stored += number - self._stored
        self._stored = number
        self.probe.stored(number)

    def confirmed(self, lsn: int) -> None:
        """This LSN was confirmed to PostgreSQL."""
        self._counters.confirmed_lsn = max(self._counters.confirmed_lsn, lsn)

    def _refresh(self) -> None:
        counters = self._counters
        if (decoder := self._reader.decoder) is not None:
            self._decoder_counts.take(
                decoder.passed_counts(),
                dropped=decoder.dropped_counts(),
                filtered_count=decoder.filtered_count,
                skipped_count=decoder.skipped_count,
            )
        counters.stage_s["read"] += self._reader.take_read_s()
        counters.lag_s = self.probe.lag_s()
        if self._window is not None:
            counters.outstanding = self._window.outstanding_count
            counters.outstanding_bytes = self._window.outstanding_bytes
        if self._sink is not None:
            counters.foreign_answers += self._sink.foreign_answers - self._foreign_answers
            self._foreign_answers = self._sink.foreign_answers
            counters.retries += self._sink.retries - self._retries
            self._retries = self._sink.retries
