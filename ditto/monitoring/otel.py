"""OpenTelemetry: the same metrics, and traces of attempts and of one block a second at most.

Set up by the standard variables, https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, and
only where the SDK is installed (the extra `otel`). Nothing here is imported otherwise.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import StatusCode, set_span_in_context

from ditto import __version__
from ditto.monitoring.metrics import DISTRIBUTIONS, METRICS, Metric, Sample
from ditto.monitoring.monitor import Monitor
from ditto.monitoring.state import Change
from ditto.tasks import end

log = structlog.get_logger()

_SNAPSHOT_PERIOD_S: Final = 5.0
_BLOCK_PERIOD_S: Final = 1.0
_CLOSE_TIMEOUT_MS: Final = 5000
_NS: Final = 1_000_000_000
_UNITS: Final = {"seconds": "s", "bytes": "By"}

_EXPORTERS: Final = frozenset({"otlp", "console", "none"})

Signal = Literal["TRACES", "METRICS"]
_SIGNALS: Final[tuple[Signal, ...]] = ("TRACES", "METRICS")


@asynccontextmanager
async def exporting(monitor: Monitor, environ: Mapping[str, str]) -> AsyncIterator[None]:
    """Export while the body runs, and what is left at its end."""
    attributes = {"service.version": __version__, "service.instance.id": monitor.counters.run_id}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes[SERVICE_NAME] = "ditto"
    resource = Resource.create(attributes)
    metrics = Metrics(monitor, resource, _metric_exporter(environ))
    traces = Traces(monitor, resource, _span_exporter(environ))
    snapshots = asyncio.ensure_future(metrics.keep_snapshots())
    for signal in _SIGNALS:
        if _exporter(environ, signal) not in _EXPORTERS:
            log.warning(
                "otel.unknown_exporter",
                variable=f"OTEL_{signal}_EXPORTER",
                hint="otlp (over HTTP), console and none are known; nothing is exported",
            )
    log.info("otel.exporting", traces=_exporter(environ, "TRACES"), metrics=_exporter(environ, "METRICS"))
    try:
        yield
    finally:
        await end(snapshots)
        # They send what is left, and wait for that; the collector may be away.
        for close in (metrics.close, traces.close):
            closing = threading.Thread(target=close, daemon=True)  # the process does not wait for it
            closing.start()
            await asyncio.to_thread(closing.join, _CLOSE_TIMEOUT_MS / 1000)


def _exporter(environ: Mapping[str, str], signal: Signal) -> str:
    return environ.get(f"OTEL_{signal}_EXPORTER", "").strip().lower() or "otlp"


def _span_exporter(environ: Mapping[str, str]) -> SpanExporter | None:
    return {"otlp": OTLPSpanExporter, "console": ConsoleSpanExporter}.get(_exporter(environ, "TRACES"), lambda: None)()


def _metric_exporter(environ: Mapping[str, str]) -> MetricExporter | None:
    made: Callable[[], MetricExporter | None] | None = {
        "otlp": OTLPMetricExporter,
        "console": ConsoleMetricExporter,
    }.get(_exporter(environ, "METRICS"))
    return None if made is None else made()


class Metrics:
    """Mirrors `ditto.metrics`. The SDK asks from a thread of its own, and gets what the event loop last wrote down."""

    def __init__(self, monitor: Monitor, resource: Resource, exporter: MetricExporter | None) -> None:
        self._monitor = monitor
        self._samples: dict[str, list[Sample]] = {}
        readers = [] if exporter is None else [PeriodicExportingMetricReader(exporter)]
        self._provider = MeterProvider(readers, resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("ditto", __version__)
        for metric in METRICS:
            make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
            make(_name(metric.name), [partial(self._observe, metric)], _unit(metric.name), metric.about)
        for distribution in DISTRIBUTIONS:
            histogram = distribution.read(monitor)
            instrument = meter.create_histogram(
                _name(distribution.name),
                "s",
                distribution.about,
                explicit_bucket_boundaries_advisory=histogram.bounds_s,
            )
            histogram.listeners.append(instrument.record)

    def snapshot(self) -> None:
        """Write down how everything stands."""
        self._monitor.counters.refresh()
        self._samples = {metric.name: list(metric.read(self._monitor)) for metric in METRICS}

    async def keep_snapshots(self) -> None:
        """Every few seconds, until cancelled."""
        while True:
            self.snapshot()
            await asyncio.sleep(_SNAPSHOT_PERIOD_S)

    def _observe(self, metric: Metric, _options: CallbackOptions) -> Iterable[Observation]:
        for labels, value in self._samples.get(metric.name, ()):
            yield Observation(value, dict(zip(metric.labels, labels, strict=True)))

    def close(self) -> None:
        """Export once more, and end."""
        self.snapshot()
        self._provider.shutdown(timeout_millis=_CLOSE_TIMEOUT_MS)


class Traces:
    """A span for each attempt, with its states as events, and below it one for a block now and then."""

    def __init__(self, monitor: Monitor, resource: Resource, exporter: SpanExporter | None) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if exporter is not None:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ditto", __version__)
        self._config = monitor.config
        self._attempt: Any = None
        self._block_at = 0.0
        monitor.states.listeners.append(self._entered)
        monitor.counters.ack_s.listeners.append(self._acknowledged)

    def _entered(self, change: Change) -> None:
        at_ns = int(change.at * _NS)
        if change.state == "connecting":
            self._attempt = self._tracer.start_span(
                "ditto.attempt",
                attributes={"ditto.slot": self._config.postgres.slot, "ditto.stream": self._config.nats.stream},
                start_time=at_ns,
            )
        elif self._attempt is not None:
            self._attempt.add_event(change.state, {"reason": change.reason}, timestamp=at_ns)
            if change.state in {"waiting", "stopped"}:
                if change.is_failure:
                    self._attempt.set_status(StatusCode.ERROR, change.reason)
                self._attempt.end(at_ns)
                self._attempt = None

    def _acknowledged(self, seconds: float) -> None:
        now = time.time()
        if self._attempt is None or now - self._block_at < _BLOCK_PERIOD_S:
            return
        self._block_at = now
        parent = set_span_in_context(self._attempt)
        span = self._tracer.start_span("ditto.block", parent, start_time=int((now - seconds) * _NS))
        span.end(int(now * _NS))

    def close(self) -> None:
        """End what runs, export it, and end."""
        if isinstance(self._attempt, Span):
            self._attempt.end()
        self._provider.shutdown()


def _name(name: str) -> str:
    return name.removesuffix("_total").replace("_", ".", 1)


def _unit(name: str) -> str:
    return _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "1")
