"""The metrics in Prometheus' notation; no server."""

from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ditto.config import Config, Postgres
from ditto.monitoring.metrics import MAX_TABLES, METRICS
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.prometheus import registry
from ditto.monitoring.snapshot_status import RunState, RunStatus, TableStatus
from ditto.pipeline.pipeline import Pipeline


def monitor(slot: str = "ditto") -> PipelineMonitor:
    return PipelineMonitor(Pipeline(config=Config(postgres=Postgres(slot=slot))))


def test_tables_beyond_the_limit_count_together() -> None:
    watched = monitor()
    for number in range(MAX_TABLES + 5):
        watched.counters.passed["public", f"t{number}", "insert"] = 2
    (events,) = (metric for metric in METRICS if metric.name == "ditto_events_total")
    samples = dict(events.read(watched))
    assert len(samples) == MAX_TABLES + 1
    assert samples["other", "other", "insert"] == 10


def test_snapshots() -> None:
    watched = monitor()
    for number in range(MAX_TABLES + 5):
        watched.counters.passed["public", f"t{number}", "insert"] = 7
        watched.counters.passed["public", f"t{number}", "read"] = 3
    left = [
        TableStatus(schema="public", table="a", state="reading", rows=10, estimated_rows=25),
        TableStatus(schema="public", table="b", state="failed", rows=10, estimated_rows=25),
        TableStatus(schema="public", table="c", estimated_rows=7),
        TableStatus(schema="public", table="d", state="reading", rows=9, estimated_rows=7),
    ]
    states: tuple[RunState, ...] = ("reading", "waiting", "paused", "done", "failed", "cancelled")
    watched.counters.snapshots.runs += [
        RunStatus(run=state, kind="request", state=state, requested_at="2026-01-02T03:04:05Z", tables=left)
        for state in states
    ]
    samples = {metric.name: dict(metric.read(watched)) for metric in METRICS}
    assert len(samples["ditto_snapshot_rows_total"]) == MAX_TABLES + 1
    assert samples["ditto_snapshot_rows_total"]["other", "other"] == 15
    assert samples["ditto_snapshot_running"] == {(): 2}
    assert samples["ditto_snapshot_paused"] == {(): 1}
    assert samples["ditto_snapshot_rows_remaining_estimate"] == {(): 3 * (15 + 7)}


def test_every_metric_can_be_read_at_once_and_is_named_as_prometheus_asks() -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition(monitor()))}
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert families[metric.name.removesuffix("_total")].type == metric.kind
    assert "ditto_lag_seconds" in families
    assert not families["ditto_lag_seconds"].samples, "unknown is absent, not 0"


def exposition(*watched: PipelineMonitor) -> str:
    return generate_latest(registry(watched)).decode()


def test_what_every_sink_counts_is_not_said_of_a_stream() -> None:
    of_a_stream = ("ditto_stream_", "ditto_lag_seconds", "ditto_survey_problems")
    for metric in METRICS:
        assert "NATS" not in metric.about, metric.name
        assert "the stream" not in metric.about or metric.name.startswith(of_a_stream), metric.name


def test_every_metric_says_of_which_pipeline_it_is() -> None:
    first, second = monitor("a"), monitor("b")
    first.counters.events = 3
    first.counters.passed["public", "t", "insert"] = 1
    first.counters.ack_s.observe(1)
    families = [
        family
        for family in text_string_to_metric_families(exposition(first, second))
        if family.name.startswith("ditto_")
    ]
    unlabelled = [sample for family in families for sample in family.samples if "pipeline" not in sample.labels]
    assert (len(families) > len(METRICS), unlabelled) == (True, [])
    (sent,) = [family for family in families if family.name == "ditto_events_sent"]
    assert {sample.labels["pipeline"]: sample.value for sample in sent.samples} == {"a": 3, "b": 0}


def test_names_of_tables_cannot_break_the_exposition() -> None:
    watched = monitor()
    name = 'a"b\\c\nd{}'
    watched.counters.passed["public", name, "insert"] = 1
    (family,) = (each for each in text_string_to_metric_families(exposition(watched)) if each.name == "ditto_events")
    assert [sample.labels["table"] for sample in family.samples] == [name]
