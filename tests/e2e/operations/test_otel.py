"""Traces and metrics by OTLP, as a collector gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from e2e.otel_collector import collecting
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


async def test_sessions_blocks_and_metrics_arrive(world: World) -> None:
    world.sql("CREATE TABLE trades (id int PRIMARY KEY)")
    with collecting() as (collector, url):
        world.settings |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "300",
        }
        ditto = await world.streaming()
        world.sql("INSERT INTO trades SELECT generate_series(1, 300)")
        await world.fence()
        await world.confirms_tail()
        await eventually(lambda: "ditto.lag_seconds" in collector.metrics, "metrics come while it runs")
        assert await ditto.stop() == 0
        assert not ditto.logs(level="error")
        assert "Traceback" not in ditto.output

    assert collector.services == {"ditto"}
    (events,) = (
        point.as_int or point.as_double
        for point in collector.metrics["ditto.events"].sum.data_points
        if {each.key: each.value.string_value for each in point.attributes}
        == {"pipeline": world.name, "schema": "public", "table": "trades", "action": "insert"}
    )
    assert events == 300, "the last export has the last numbers"
    (latency,) = collector.metrics["ditto.commit_to_stored_seconds"].histogram.data_points
    assert latency.count >= 1
    for name, metric in collector.metrics.items():
        points = [*metric.sum.data_points, *metric.gauge.data_points, *metric.histogram.data_points]
        labels = [{each.key: each.value.string_value for each in point.attributes} for point in points]
        assert {each.get("pipeline") for each in labels} <= {world.name}, name
    (session,) = [span for span in collector.spans if span.name == "ditto.session"]
    assert [event.name for event in session.events] == ["streaming", "draining", "stopped"]
    blocks = [span for span in collector.spans if span.name == "ditto.block"]
    assert blocks
    assert {span.parent_span_id for span in blocks} == {session.span_id}


async def test_without_a_collector_it_streams_and_stops_all_the_same(world: World) -> None:
    world.settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0
    assert "Traceback" not in ditto.output


async def test_a_traceparent_becomes_a_header(world: World) -> None:
    message, column = f"00-{'a' * 32}-{'1' * 16}-01", f"00-{'b' * 32}-{'2' * 16}-01"
    world.sql("CREATE TABLE trades (id int PRIMARY KEY, trace text)")
    ditto = await world.streaming(events_traceparent_column="trace")
    world.transaction(
        "INSERT INTO trades VALUES (1)",
        f"SELECT pg_logical_emit_message(true, 'traceparent', '{message}')",
        f"INSERT INTO trades VALUES (2, NULL), (3, NULL), (4, '{column}'), (5, 'not one')",
    )
    world.sql("INSERT INTO trades VALUES (6)")
    stored = await world.events()
    async with world.jetstream() as jetstream:
        found = [await jetstream.get_msg(world.stream, each.sequence) for each in stored]
    headers = [(each.headers or {}).get("traceparent") for each in found]
    assert headers == [None, message, message, column, message, None]
    assert await ditto.stop() == 0
