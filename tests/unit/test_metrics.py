"""Counting, latency, states and what the metrics make of them; no server."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from ditto.config import Config, Postgres
from ditto.config.checks import split_address
from ditto.monitoring.counters import Counters, DecoderCounts, Histogram
from ditto.monitoring.exporters import is_otel_asked
from ditto.monitoring.latency import LatencySampler
from ditto.monitoring.metrics import MAX_TABLES, METRICS
from ditto.monitoring.pipeline_monitor import PipelineMonitor, Rate, lag_by_servers
from ditto.monitoring.prometheus import registry
from ditto.monitoring.state import ProcessState, States, Transition
from ditto.monitoring.status import Servers, Slot, Stream
from ditto.pipeline.scope import PipelineScope


class Clock:
    """Both clocks of a sampler; 0 is 2026-01-01."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic(self) -> float:
        return 1000 + self.at

    def now(self) -> float:
        return 1_767_225_600 + self.at


def test_an_observation_on_a_bound_belongs_to_it() -> None:
    histogram = Histogram([1, 2])
    for value in (0.5, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert (histogram.counts, histogram.count, histogram.sum_s) == ([2, 2, 1], 5, 8)


def test_the_decoders_counts_are_carried_over_once() -> None:
    counters = Counters()
    first, second = DecoderCounts(counters), DecoderCounts(counters)
    first.take({("public", "a"): (1, 0, 0, 0)}, filtered_count=2, skipped_count=3)
    first.take({("public", "a"): (4, 1, 0, 0)}, filtered_count=2, skipped_count=4)
    second.take({("public", "a"): (1, 0, 0, 1)}, filtered_count=1, skipped_count=0)
    assert counters.passed == {
        ("public", "a", "insert"): 5,
        ("public", "a", "update"): 1,
        ("public", "a", "truncate"): 1,
    }
    assert (counters.filtered, counters.skipped) == (3, 4)


def test_one_block_at_a_time_is_followed_from_commit_to_acknowledgement() -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    clock.at = 2
    sampler.sent(10, "2026-01-01T00:00:00.500000Z")
    sampler.sent(20, "2026-01-01T00:00:01.000000Z")
    clock.at = 3
    sampler.stored(9)
    assert counters.ack_s.count == 0, "not all of it is stored"
    assert sampler.lag_s() == 2.5
    sampler.stored(20)
    assert (counters.ack_s.sum_s, counters.stored_s.sum_s, counters.stored_s.count) == (1, 2.5, 1)
    assert sampler.lag_s() == 2.5, "what was stored last"
    clock.at = 14
    assert sampler.lag_s() == 0, "nothing comes any more"


def test_a_database_whose_clock_is_ahead_gives_no_negative_latency() -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    sampler.sent(1, "2026-01-01T00:00:09.000000Z")
    sampler.stored(1)
    assert counters.stored_s.sum_s == 0


@pytest.mark.parametrize("commit_time", ["294276-12-31T23:59:59.000000Z", "10000-01-01T00:00:00Z", ""])
def test_a_commit_time_that_no_calendar_has_is_no_error(commit_time: str) -> None:
    counters, clock = Counters(), Clock()
    sampler = LatencySampler(counters, clock=clock.monotonic, now=clock.now)
    sampler.sent(1, commit_time)
    assert sampler.lag_s() == 0
    sampler.stored(1)
    assert (counters.stored_s.count, counters.stored_s.sum_s) == (1, 0)


def test_states_are_kept_told_and_free_of_secrets() -> None:
    states, told = States(now=lambda: 5.0), list[Transition]()
    states.listeners.append(told.append)
    states.enter("connecting", reason="x")
    states.enter("connecting", reason="again")
    states.enter("waiting", reason="cannot connect to postgres://u:secret@h/d", is_failure=True)
    assert [change.state for change in states.transitions] == ["starting", "connecting", "waiting"]
    assert told == list(states.transitions)[1:]
    assert "secret" not in told[-1].reason


def test_a_process_is_ready_when_all_of_its_pipelines_are() -> None:
    first, second = States(), States()
    process = ProcessState([first, second])
    assert (process.state, process.is_ready) == ("starting", False)
    first.enter("streaming", reason="a")
    second.enter("waiting", reason="b")
    assert (process.state, process.reason, process.is_ready) == ("waiting", "b", False)
    second.enter("standby", reason="c")
    assert (process.state, process.reason, process.is_ready) == ("streaming", "a", True)


def monitor(slot: str = "ditto") -> PipelineMonitor:
    return PipelineMonitor(PipelineScope(config=Config(postgres=Postgres(slot=slot))))


def test_tables_beyond_the_limit_count_together() -> None:
    watched = monitor()
    for number in range(MAX_TABLES + 5):
        watched.counters.passed["public", f"t{number}", "insert"] = 2
    (events,) = (metric for metric in METRICS if metric.name == "ditto_events_total")
    samples = dict(events.read(watched))
    assert len(samples) == MAX_TABLES + 1
    assert samples["other", "other", "insert"] == 10


def test_every_metric_can_be_read_at_once_and_is_named_as_prometheus_asks() -> None:
    families = {family.name: family for family in text_string_to_metric_families(exposition(monitor()))}
    for metric in METRICS:
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert families[metric.name.removesuffix("_total")].type == metric.kind
    assert "ditto_lag_seconds" in families
    assert not families["ditto_lag_seconds"].samples, "unknown is absent, not 0"


def exposition(*watched: PipelineMonitor) -> str:
    return generate_latest(registry(watched)).decode()


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
    clock = Clock()
    rate = Rate(clock.monotonic)
    assert rate.note(100) is None
    clock.at = 4
    assert rate.note(300) == 50


@pytest.mark.parametrize(
    ("text", "address"),
    [(":8080", ("", 8080)), ("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:80", ("::1", 80)), ("h:0", ("h", 0))],
)
def test_addresses_to_listen_on(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "h", "h:", "h:x", "::1:80", "h:65536", "http://h:80", "a b:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  it is the text itself
        split_address(text)


@pytest.mark.parametrize(
    ("environ", "is_asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "x"}, False),
    ],
)
def test_opentelemetry_is_used_where_the_variables_ask_for_it(environ: dict[str, str], is_asked: bool) -> None:
    assert is_otel_asked(environ) == is_asked
