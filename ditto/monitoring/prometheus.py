"""The metrics in Prometheus' notation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ditto import __version__
from ditto.decoding.choose import IMPL
from ditto.monitoring.metrics import DISTRIBUTIONS, METRICS, PIPELINE
from ditto.monitoring.pipeline_monitor import PipelineMonitor


class PipelineCollector(Collector):
    """The metrics of these pipelines. The sequence is read anew each time."""

    def __init__(self, monitors: Sequence[PipelineMonitor]) -> None:
        self._monitors = monitors

    def describe(self) -> Iterator[Family]:
        """None: the names are not needed at registration."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        monitors = list(self._monitors)
        for monitor in monitors:
            monitor.counters.refresh()
        build = InfoMetricFamily("ditto_build", "The version that runs.", labels=[PIPELINE])
        for monitor in monitors:
            build.add_metric([monitor.label], {"version": __version__, "decoder": IMPL})
        yield build
        for metric in METRICS:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(metric.name, metric.about, labels=[PIPELINE, *metric.labels])
            for monitor in monitors:
                for labels, value in metric.read(monitor):
                    family.add_metric([monitor.label, *labels], value)
            yield family
        for distribution in DISTRIBUTIONS:
            summary = HistogramMetricFamily(distribution.name, distribution.about, labels=[PIPELINE])
            for monitor in monitors:
                histogram = distribution.read(monitor)
                bounds = [*map(str, map(float, histogram.bounds_s)), "+Inf"]
                buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
                summary.add_metric([monitor.label], buckets=buckets, sum_value=histogram.sum_s)
            yield summary


def registry(monitors: Sequence[PipelineMonitor]) -> CollectorRegistry:
    """The metrics of these pipelines, and those of the process: memory, CPU time, open files."""
    made = CollectorRegistry()
    made.register(PipelineCollector(monitors))
    ProcessCollector(registry=made)
    PlatformCollector(registry=made)
    return made
