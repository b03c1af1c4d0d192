"""Changes that a rule drops, or cannot be worked out for: what becomes of positions, counters and snapshots."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ditto.testing.process import free_port
from e2e.operations.test_http import samples
from e2e.process import eventually
from e2e.rules.sent import sent
from e2e.snapshots.finished import snapshot_finished

if TYPE_CHECKING:
    from e2e.world import World

FENCE = {"fence": ["insert"]}


def rules(**given: Any) -> dict[str, Any]:
    return {"orders": given} | FENCE


async def test_what_is_dropped_leaves_nothing_and_the_slot_goes_on(world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, n int)")
    port = free_port()
    process = await world.streaming(events_tables=rules(when="row.n > 0"), http_listen=f"127.0.0.1:{port}")
    world.sql("INSERT INTO orders SELECT n, 0 FROM generate_series(1, 50) AS n", "INSERT INTO orders VALUES (100, 1)")
    world.sql("UPDATE orders SET n = 2 WHERE id = 100", "UPDATE orders SET n = 0")
    found = [json.loads(each.payload) for each in await sent(world)]
    assert [(each["action"], each["data"]) for each in found] == [
        ("INSERT", {"id": 100, "n": 1}),
        ("UPDATE", {"id": 100, "n": 2}),
    ]
    found_samples = samples(port)
    assert found_samples['ditto_dropped_events_total{schema="public",table="orders"}'] == 101
    assert found_samples["ditto_filtered_events_total"] == 101
    assert found_samples['ditto_events_total{action="insert",schema="public",table="orders"}'] == 1
    assert await process.stop() == 0
    await world.streaming(events_tables=rules(when="row.n > 0"))
    assert len(await sent(world)) == 2, "nothing comes twice"


async def test_a_row_that_fails_ends_the_snapshot_of_its_table_and_a_change_the_process(world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, n int)", "INSERT INTO orders VALUES (1, 5), (2, 0)")
    given = rules(when="10 / data.n > 1")
    process = await world.streaming(events_tables=given, snapshot_mode="initial", snapshot_tables=["orders"])
    await eventually(lambda: bool(process.logs("snapshot.failed")), "the snapshot of the table fails")
    (failed,) = process.logs("snapshot.failed")
    assert failed["reason"].startswith(
        "events.tables.orders.when cannot be worked out for a row of table public.orders"
    )
    assert "on_error" in failed["hint"]
    world.sql("INSERT INTO orders VALUES (3, 4)")
    assert json.loads((await sent(world))[-1].payload)["data"] == {"id": 3, "n": 4}, "the stream goes on"
    world.sql("INSERT INTO orders VALUES (4, 3), (5, 0), (6, 2)")
    assert await process.ended() == 2
    assert "RuleError" in process.output
    assert "cannot be worked out for the INSERT at" in process.output
    process = await world.streaming(events_tables=rules(when="10 / data.n > 1", on_error="drop"))
    inserted = [each.payload for each in await sent(world) if b'"INSERT"' in each.payload]
    assert [json.loads(each)["data"]["id"] for each in inserted] == [3, 4, 6]


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
async def test_a_snapshot_counts_what_it_has_stored_and_what_a_rule_has_left_out(
    world: World, key: str, impl: str
) -> None:
    """Also with the description of the table before the first row; the cursor says how far the table was read."""
    world.sql(
        f"CREATE TABLE t (id int {key}, n int)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t SELECT i, i % 5 FROM generate_series(1, 99) AS i",
    )
    process = await world.streaming(
        impl=impl,
        events_tables={"t": {"when": "row.n == 0"}},
        events_schemas=True,
        snapshot_mode="initial",
        snapshot_tables=["t"],
        snapshot_chunk_rows=10,
    )
    done = await process.logged("snapshot.done")
    assert (done["rows"], done["left_out"]) == (19, 80)
    await snapshot_finished(world)
    stored = [json.loads(each.payload) for each in await world.messages()]
    assert sum(each.get("action") == "READ" for each in stored) == 19
    (told,) = [each["snapshot"] for each in stored if each.get("snapshot", {}).get("state") == "done"]
    assert (told["rows"], told["leftOut"], told.get("cursor")) == (19, 80, ["99"] if key else None)
