"""The metrics of several processes as one text."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from ditto.config import Config
from ditto.fleet.metrics import Metrics, merge
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.pipeline.pipeline import Pipeline


def monitor(name: str) -> PipelineMonitor:
    return PipelineMonitor(Pipeline(config=Config(name=name)))


def test_families_stay_together_and_processes_are_told_apart() -> None:
    first, second = Metrics([monitor("a"), monitor("b")]), Metrics([monitor("c")])
    text = merge({"1": first.render(), "2": second.render()}).decode()
    families = list(text_string_to_metric_families(text))
    assert len({each.name for each in families}) == len(families)
    events = next(each for each in families if each.name == "ditto_skipped_duplicates")
    assert {each.labels["pipeline"] for each in events.samples} == {"a", "b", "c"}
    memory = next(each for each in families if each.name == "process_resident_memory_bytes")
    assert {each.labels["worker"] for each in memory.samples} == {"1", "2"}
    buckets = next(each for each in families if each.name == "ditto_acknowledgement_seconds")
    assert {each.labels["pipeline"] for each in buckets.samples} == {"a", "b", "c"}


def test_no_worker_at_all() -> None:
    assert merge({}) == b""
