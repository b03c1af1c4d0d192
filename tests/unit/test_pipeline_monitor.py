"""The lag and the rate of a pipeline."""

from __future__ import annotations

from ditto.monitoring.pipeline_monitor import Rate, lag_by_servers
from ditto.monitoring.status_document import Servers, Slot, Stream


def servers(*, lag_bytes: int, tail_time: str | None) -> Servers:
    slot = Slot("s", None, "reserved", "0/1", "0/1", "0/2", lag_bytes, 1, None)
    stream = Stream("S", 1, 1, 1, 1, "0/1:1", tail_time, "file", 1, None)
    return Servers("", slot, stream, None, [], [])


def test_without_a_streaming_ditto_the_lag_is_the_time_since_the_tail() -> None:
    now = 1_767_225_600 + 7.5
    assert lag_by_servers(servers(lag_bytes=8, tail_time="2026-01-01T00:00:00.123456789Z"), now=now) == 7.377
    assert lag_by_servers(servers(lag_bytes=8, tail_time="2026-01-01T00:00:00Z"), now=now) == 7.5
    assert lag_by_servers(servers(lag_bytes=0, tail_time="2026-01-01T00:00:00Z"), now=now) == 0
    assert lag_by_servers(servers(lag_bytes=8, tail_time=None)) is None


def test_a_rate_takes_two_looks() -> None:
    at = [0.0]
    rate = Rate(lambda: at[0])
    assert rate.note(100) is None
    at[0] = 4.0
    assert rate.note(300) == 50
