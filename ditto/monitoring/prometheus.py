"""The metrics in Prometheus' notation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ditto import __version__
from ditto.decoding.implementation import IMPL
from ditto.monitoring.metrics import DISTRIBUTIONS, METRICS
from ditto.monitoring.monitor import Monitor


class _Collector(Collector):
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterator[Family]:
        """None: at registration nobody needs to know the names."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        monitor = self._monitor
        monitor.counters.refresh()
        yield InfoMetricFamily("ditto_build", "What runs.", value={"version": __version__, "decoder": IMPL})
        for metric in METRICS:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.about, labels=metric.labels)
            for labels, value in metric.read(monitor):
                family.add_metric(labels, value)
            yield family
        for distribution in DISTRIBUTIONS:
            histogram = distribution.read(monitor)
            bounds = [*map(str, map(float, histogram.bounds_s)), "+Inf"]
            buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
            summary = HistogramMetricFamily(distribution.name, distribution.about)
            summary.add_metric((), buckets=buckets, sum_value=histogram.sum_s)
            yield summary


def registry(monitor: Monitor) -> CollectorRegistry:
    """Ditto's metrics, and those of the process: memory, CPU time, open files."""
    made = CollectorRegistry()
    made.register(_Collector(monitor))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made
