"""What the workers of a node export."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.fleet.fleet import Fleet, document
from e2e.otel_collector import collecting

if TYPE_CHECKING:
    from e2e.conftest import OpenWorld


@pytest.mark.long
async def test_traces_and_metrics_of_every_pipeline_of_a_worker_arrive(fleet: Fleet, open_world: OpenWorld) -> None:
    worlds = {name: open_world("") for name in ("first", "second")}
    with collecting() as (collector, url):
        async with fleet.watching():
            node = fleet.start(
                "n1",
                environment={
                    "OTEL_EXPORTER_OTLP_ENDPOINT": url,
                    "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
                    "OTEL_METRIC_EXPORT_INTERVAL": "300",
                },
            )
            await fleet.live("n1")
            for name, world in worlds.items():
                world.sql("CREATE TABLE trades (id int PRIMARY KEY)")
                await fleet.apply(name, document(world))
                await fleet.streams(name)
                world.sql("INSERT INTO trades SELECT generate_series(1, 300)")
                await world.fence()

            def counted() -> dict[str, float]:
                events = collector.metrics.get("ditto.events")
                points = [] if events is None else events.sum.data_points
                labels = [({each.key: each.value.string_value for each in point.attributes}, point) for point in points]
                return {
                    of["pipeline"]: point.as_int or point.as_double
                    for of, point in labels
                    if (of["table"], of["action"]) == ("trades", "insert")
                }

            await fleet.until(lambda: counted() == {"first": 300, "second": 300}, lambda: f"counted: {counted()}")
            stored = await fleet.store.get("first")
            assert stored is not None
            await fleet.store.delete("first", after=stored.revision)
            await fleet.until(lambda: counted() == {"second": 300}, lambda: f"counted: {counted()}")
            assert await node.stop() == 0
            assert not node.logs(level="error")
            assert "Traceback" not in node.output
    sessions = [span for span in collector.spans if span.name == "ditto.session"]
    of = [{each.key: each.value.string_value for each in span.attributes}["ditto.pipeline"] for span in sessions]
    assert sorted(of) == ["first", "second"]
    assert all("stopped" in [event.name for event in span.events] for span in sessions)
    assert collector.services == {"ditto"}
