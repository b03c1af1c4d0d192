"""Counters and histograms."""

from __future__ import annotations

import pytest

from ditto.monitoring.counters import ACK_BOUNDS_S, Counters, DecoderCounts, Histogram


def test_an_observation_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram([1, 2])
    for value in (0.5, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert (histogram.counts, histogram.count, histogram.sum_s) == ([2, 2, 1], 5, 8)


@pytest.mark.parametrize(("quantile", "expected"), [(0.5, 0.00075), (0.99, 0.000995)])
def test_quantiles_of_what_came_since(quantile: float, expected: float) -> None:
    histogram = Histogram(ACK_BOUNDS_S)
    for _ in range(1000):
        histogram.observe(20)
    before = list(histogram.counts)
    assert histogram.quantile_s(quantile, before=before) is None
    for _ in range(100):
        histogram.observe(0.0007)
    assert histogram.quantile_s(quantile, before=before) == pytest.approx(expected)
    assert histogram.quantile_s(quantile, before=[0] * len(before)) == 10, "no more than the last bound is known"


def test_the_decoders_counts_are_carried_over_once() -> None:
    counters = Counters()
    first, second = DecoderCounts(counters), DecoderCounts(counters)
    a, b = ("public", "a"), ("public", "b")
    first.take({a: (1, 0, 0, 0, 0)}, dropped={a: 1}, filtered_count=2, skipped_count=3)
    first.take({a: (4, 1, 0, 0, 0)}, dropped={a: 2}, filtered_count=2, skipped_count=4)
    second.take({a: (1, 0, 0, 1, 0)}, dropped={a: 1, b: 1}, filtered_count=1, skipped_count=0)
    assert counters.passed == {
        ("public", "a", "insert"): 5,
        ("public", "a", "update"): 1,
        ("public", "a", "truncate"): 1,
    }
    assert counters.dropped == {a: 3, b: 1}
    assert (counters.filtered, counters.skipped) == (3, 4)
