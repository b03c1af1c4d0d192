"""The latency of one block at a time."""

from __future__ import annotations

import pytest

from ditto.monitoring.counters import Counters
from ditto.monitoring.latency import LatencySampler


class Clock:
    """Both clocks of a sampler; 0 is 2026-01-01."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return 1000 + self.at

    def now(self) -> float:
        return 1_767_225_600 + self.at


def test_one_block_at_a_time_is_followed_from_commit_to_acknowledgement() -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    clock.at = 2
    sampler.sent(10, "2026-01-01T00:00:00.500000Z", is_measured=True)
    sampler.sent(20, "2026-01-01T00:00:01.000000Z", is_measured=True)
    clock.at = 3
    sampler.stored(9)
    assert counters.ack_s.count == 0, "not all of it is stored"
    assert sampler.lag_s() == 2.5
    sampler.stored(20)
    assert (counters.ack_s.sum_s, counters.stored_s.sum_s, counters.stored_s.count) == (1, 2.5, 1)
    assert sampler.lag_s() == 2.5, "what was stored last"
    clock.at = 14
    assert sampler.lag_s() == 0, "nothing comes any more"


def test_what_is_acknowledged_late_gives_no_latency() -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    assert sampler.is_due(clock.monotonic()), "the first block"
    sampler.sent(1, "2026-01-01T00:00:00.000000Z", is_measured=True)
    sampler.stored(1)
    clock.at = 1 / 32
    assert not sampler.is_due(clock.monotonic())
    sampler.sent(2, "2026-01-01T00:00:00.031250Z", is_measured=False)
    clock.at = 3
    assert sampler.lag_s() == pytest.approx(2.96875), "its commit waits"
    sampler.stored(2)
    assert (counters.ack_s.count, counters.stored_s.count) == (1, 1)
    assert sampler.is_due(clock.monotonic())


def test_a_block_that_is_measured_is_followed_before_others() -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    sampler.sent(1, "2026-01-01T00:00:00.000000Z", is_measured=False)
    clock.at = 1
    sampler.sent(2, "2026-01-01T00:00:01.000000Z", is_measured=True)
    sampler.sent(3, "2026-01-01T00:00:01.000000Z", is_measured=True)
    clock.at = 1.5
    sampler.stored(2)
    assert (counters.ack_s.count, counters.ack_s.sum_s, counters.stored_s.sum_s) == (1, 0.5, 0.5)


def test_a_database_whose_clock_is_ahead_gives_no_negative_latency() -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    sampler.sent(1, "2026-01-01T00:00:09.000000Z", is_measured=True)
    sampler.stored(1)
    assert counters.stored_s.sum_s == 0


@pytest.mark.parametrize("commit_time", ["294276-12-31T23:59:59.000000Z", "10000-01-01T00:00:00Z", ""])
def test_a_commit_time_that_no_calendar_has_is_no_error(commit_time: str) -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    sampler.sent(1, commit_time, is_measured=True)
    assert sampler.lag_s() == 0
    sampler.stored(1)
    assert (counters.stored_s.count, counters.stored_s.sum_s) == (1, 0)
