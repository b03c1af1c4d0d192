"""OpenTelemetry: the same metrics, and traces of sessions and of one block a second at most.

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
from typing import Any, Final, Literal, TypeVar

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter
from opentelemetry.trace import StatusCode, Tracer, set_span_in_context

from ditto import __version__
from ditto.monitoring.metrics import DISTRIBUTIONS, METRICS, PIPELINE, Metric, Sample
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.state import Transition
from ditto.tasks import end

log = structlog.get_logger()

_SNAPSHOT_PERIOD_S: Final = 5.0
_BLOCK_PERIOD_S: Final = 1.0
_CLOSE_TIMEOUT_MS: Final = 5000
_NS: Final = 1_000_000_000
_UNITS: Final = {"seconds": "s", "bytes": "By"}

_EXPORTERS: Final = frozenset({"otlp", "console", "none"})

T = TypeVar("T")

Signal = Literal["TRACES", "METRICS"]
_SIGNALS: Final[tuple[Signal, ...]] = ("TRACES", "METRICS")


class Telemetry:
    """What a process exports: of the pipelines that it has at the time."""

    def __init__(self, metrics: Metrics, traces: Traces) -> None:
        self._metrics = metrics
        self._traces = traces

    def add(self, monitor: PipelineMonitor) -> None:
        """Export those of this pipeline too."""
        self._metrics.add(monitor)
        self._traces.add(monitor)

    def remove(self, monitor: PipelineMonitor) -> None:
        """It has ended."""
        self._metrics.remove(monitor)
        self._traces.remove(monitor)


@asynccontextmanager
async def run_opentelemetry(environ: Mapping[str, str], *, instance: str) -> AsyncIterator[Telemetry]:
    """Export while the body runs, and the rest at its end. `instance` names the process."""
    attributes = {"service.version": __version__, "service.instance.id": instance}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes[SERVICE_NAME] = "ditto"
    resource = Resource.create(attributes)
    metrics = Metrics(resource, _metric_exporter(environ))
    traces = Traces(resource, _span_exporter(environ))
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
        yield Telemetry(metrics, traces)
    finally:
        await asyncio.sleep(0)  # the last states
        await end(snapshots)
        # They send the rest, and wait for that; the collector may be away.
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
    """Mirrors `ditto.monitoring.metrics`. The SDK asks from a thread of its own, and gets the last snapshot."""

    def __init__(self, resource: Resource, exporter: MetricExporter | None) -> None:
        self._monitors: list[PipelineMonitor] = []
        self._samples: dict[str, list[tuple[str, Sample]]] = {}
        readers = [] if exporter is None else [PeriodicExportingMetricReader(exporter)]
        self._provider = MeterProvider(readers, resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("ditto", __version__)
        for metric in METRICS:
            make = meter.create_observable_counter if metric.kind == "counter" else meter.create_observable_gauge
            make(_name(metric.name), [partial(self._observe, metric)], _unit(metric.name), metric.about)
        self._instruments = {
            each.name: meter.create_histogram(
                _name(each.name), "s", each.about, explicit_bucket_boundaries_advisory=each.bounds_s
            )
            for each in DISTRIBUTIONS
        }

    def add(self, monitor: PipelineMonitor) -> None:
        """Another pipeline."""
        self._monitors.append(monitor)
        for each in DISTRIBUTIONS:
            record = partial(self._instruments[each.name].record, attributes={PIPELINE: monitor.label})
            each.read(monitor).listeners.append(_deferred(record))

    def remove(self, monitor: PipelineMonitor) -> None:
        """A pipeline that has ended: its numbers are not exported any more."""
        self._monitors.remove(monitor)

    def snapshot(self) -> None:
        """Read all samples."""
        for monitor in self._monitors:
            monitor.counters.refresh()
        self._samples = {
            metric.name: [(monitor.label, sample) for monitor in self._monitors for sample in metric.read(monitor)]
            for metric in METRICS
        }

    async def keep_snapshots(self) -> None:
        """Every few seconds, until cancelled."""
        while True:
            self.snapshot()
            await asyncio.sleep(_SNAPSHOT_PERIOD_S)

    def _observe(self, metric: Metric, _options: CallbackOptions) -> Iterable[Observation]:
        for pipeline, (labels, value) in self._samples.get(metric.name, ()):
            yield Observation(value, {PIPELINE: pipeline, **dict(zip(metric.labels, labels, strict=True))})

    def close(self) -> None:
        """Export once more, and end."""
        self.snapshot()
        self._provider.shutdown(timeout_millis=_CLOSE_TIMEOUT_MS)


class Traces:
    """A span for each session, with its states as events, and below it one for a block now and then."""

    def __init__(self, resource: Resource, exporter: SpanExporter | None) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        if exporter is not None:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("ditto", __version__)
        self._pipelines: dict[PipelineMonitor, _PipelineTraces] = {}

    def add(self, monitor: PipelineMonitor) -> None:
        """Another pipeline."""
        self._pipelines[monitor] = _PipelineTraces(monitor, self._tracer)

    def remove(self, monitor: PipelineMonitor) -> None:
        """A pipeline that has ended, after its last state was told of."""
        asyncio.get_running_loop().call_soon(self._pipelines.pop(monitor).close)

    def close(self) -> None:
        """End the spans that are open, export them, and end."""
        for each in self._pipelines.values():
            each.close()
        self._provider.shutdown()


class _PipelineTraces:
    def __init__(self, monitor: PipelineMonitor, tracer: Tracer) -> None:
        self._tracer = tracer
        self._attributes = {
            "ditto.pipeline": monitor.label,
            "ditto.slot": monitor.config.postgres.slot,
            "ditto.stream": monitor.config.nats.stream,
        }
        self._session: Any = None
        self._block_at = 0.0
        monitor.states.listeners.append(_deferred(self._entered))
        monitor.counters.ack_s.listeners.append(_deferred(self._acknowledged))

    def _entered(self, entered: Transition) -> None:
        at_ns = int(entered.at * _NS)
        if entered.state == "connecting":
            self._session = self._tracer.start_span("ditto.session", attributes=self._attributes, start_time=at_ns)
        elif self._session is not None:
            self._session.add_event(entered.state, {"reason": entered.reason}, timestamp=at_ns)
            if entered.state in {"waiting", "stopped"}:
                if entered.is_failure:
                    self._session.set_status(StatusCode.ERROR, entered.reason)
                self._session.end(at_ns)
                self._session = None

    def _acknowledged(self, seconds: float) -> None:
        now = time.time()
        if self._session is None or now - self._block_at < _BLOCK_PERIOD_S:
            return
        self._block_at = now
        parent = set_span_in_context(self._session)
        span = self._tracer.start_span("ditto.block", parent, start_time=int((now - seconds) * _NS))
        span.end(int(now * _NS))

    def close(self) -> None:
        """End the span of the session that runs."""
        if isinstance(self._session, Span):
            self._session.end()


def _deferred(call: Callable[[T], None]) -> Callable[[T], None]:
    """`call` in the event loop's next turn: a fault of the SDK is no fault of the session that is measured."""
    loop = asyncio.get_running_loop()

    def call_later(value: T) -> None:
        loop.call_soon(call, value)

    return call_later


def _name(name: str) -> str:
    return name.removesuffix("_total").replace("_", ".", 1)


def _unit(name: str) -> str:
    return _UNITS.get(name.removesuffix("_total").rpartition("_")[2], "1")
