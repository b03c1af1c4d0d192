"""OpenTelemetry's side of the counters; no collector."""

from __future__ import annotations

import asyncio

from opentelemetry.sdk.resources import Resource

from ditto.config import Config, Postgres
from ditto.monitoring import otel
from ditto.monitoring.counters import Histogram
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.pipeline.pipeline import Pipeline


async def test_a_fault_of_the_sdk_does_not_reach_the_one_who_counts() -> None:
    seen = list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(str(context["exception"])))

    def broken(_seconds: float) -> None:
        raise RuntimeError("a fault of the exporter")

    histogram = Histogram([1])
    histogram.listeners.append(otel._deferred(broken))
    histogram.observe(0.5)
    assert histogram.count == 1
    await asyncio.sleep(0)
    assert seen == ["a fault of the exporter"]


async def test_each_pipeline_has_samples_of_its_own() -> None:
    monitors = [PipelineMonitor(Pipeline(config=Config(postgres=Postgres(slot=slot)))) for slot in ("a", "b")]
    metrics = otel.Metrics(Resource.create(), None)
    for monitor in monitors:
        metrics.add(monitor)
    monitors[0].counters.events = 3
    metrics.snapshot()
    assert metrics._samples["ditto_events_sent_total"] == [("a", ((), 3)), ("b", ((), 0))]
    metrics.remove(monitors[0])
    metrics.snapshot()
    assert metrics._samples["ditto_events_sent_total"] == [("b", ((), 0))]
    metrics.close()
