"""Conditions of tables, with what else an entry says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from e2e.process import eventually
from e2e.rules.commands import ditto
from e2e.rules.sent import sent

if TYPE_CHECKING:
    from e2e.world import World

FENCE = {"fence": ["insert"]}
ROWS = ["insert", "update", "delete"]
TABLE = "CREATE TABLE orders (id int PRIMARY KEY, status text, total numeric, email text)"


def rules(**given: Any) -> dict[str, Any]:
    return {"orders": given} | FENCE


async def changes(world: World) -> list[Any]:
    return [event.change[1:] for event in await world.events()]


async def test_changes_for_which_the_condition_is_false_are_no_events(world: World) -> None:
    world.sql(
        TABLE, "ALTER TABLE orders REPLICA IDENTITY FULL", "INSERT INTO orders VALUES (1, 'old', 0), (2, 'paid', 5)"
    )
    when = "action in ['DELETE', 'TRUNCATE'] || data.total > 1.5 && (action != 'UPDATE' || changed('status'))"
    process = await world.streaming(events_tables=rules(when=when), snapshot_mode="initial", snapshot_tables=["orders"])
    await eventually(lambda: '"snapshot.finished"' in process.output, "the snapshot is done")
    world.sql(
        "INSERT INTO orders VALUES (3, 'new', 1.5), (4, 'new', 1.50001)",
        "UPDATE orders SET email = 'x' WHERE id = 4",
        "UPDATE orders SET status = 'paid' WHERE id = 4",
        "DELETE FROM orders WHERE id = 3",
        "TRUNCATE orders",
    )
    events = [event for event in await world.events() if not event.subject.startswith(f"{world.name}._")]
    assert [event.change[1:] for event in events] == [
        ("READ", 2), ("INSERT", 4), ("UPDATE", 4), ("DELETE", 3), ("TRUNCATE", None),
    ]  # fmt: skip


async def test_a_condition_may_read_what_events_hide(world: World) -> None:
    world.sql(TABLE)
    given = rules(
        when="data.email.endsWith('@example.com')",
        columns={"exclude": ["total"], "mask": {"email": {"constant": "***"}}},
        subject="{prefix}.orders.{data.status}",
        headers={"e": "{data.email}"},
        actions=["insert"],
    )
    await world.streaming(events_tables=given)
    world.sql("INSERT INTO orders VALUES (1, 'a', 1, 'x@example.com'), (2, 'b', 1, 'y@example.org')")
    (event,) = await sent(world)
    assert (event.subject, event.headers) == (f"{world.name}.orders.a", {"e": "***"})
    assert json.loads(event.payload)["data"] == {"id": 1, "status": "a", "email": "***"}


async def test_a_condition_without_a_value_stops_keeps_or_drops(world: World) -> None:
    world.sql(TABLE)
    given = rules(when="data.total > 1", actions=["insert"], on_error="drop")
    process = await world.streaming(events_tables=given)
    world.sql("INSERT INTO orders VALUES (1, 'a', NULL), (2, 'b', 2)")
    assert await changes(world) == [("INSERT", 2)]
    assert await process.stop() == 0
    process = await world.streaming(events_tables=rules(when="data.total > 1", actions=["insert"], on_error="keep"))
    world.sql("INSERT INTO orders VALUES (3, 'a', NULL)")
    assert await changes(world) == [("INSERT", 2), ("INSERT", 3)]
    assert await process.stop() == 0
    process = await world.streaming(events_tables=rules(when="data.total > 1", actions=["insert"]))
    world.sql("INSERT INTO orders VALUES (4, 'secret', 5)", "INSERT INTO orders VALUES (5, 'secret', NULL)")
    assert await process.ended() == 2
    assert "events.tables.orders.when" in process.output
    assert "secret" not in process.output
    process = await world.streaming(
        events_tables=rules(when="data.total != null && data.total > 1", actions=["insert"])
    )
    assert await changes(world) == [("INSERT", 2), ("INSERT", 3), ("INSERT", 4)]


async def test_a_condition_that_does_not_fit_is_said_with_its_place(world: World) -> None:
    world.sql(TABLE)
    tables = rules(when="action != 'UPDATE' ||\n  data.statsu == 'paid'")
    process = world.ditto(events_tables=tables)
    assert await process.ended() == 2
    (failed,) = process.logs("run.failed")
    assert failed["error"].startswith("events.tables.orders.when does not fit table public.orders: ")
    assert failed["error"].endswith(", at line 2, column 8")
    assert "  data.statsu == 'paid'\n       ^" in failed["hint"]
    result = await ditto(world, "check", DITTO_EVENTS_TABLES=json.dumps(tables))
    assert "data.statsu == 'paid'" in result.output
    process = await world.streaming(events_tables=rules(when="data.status == 'paid'", actions=["insert", "delete"]))
    result = await ditto(world, "check", DITTO_EVENTS_TABLES=json.dumps(rules(when="data.status == 'paid'")))
    assert "the condition of public.orders has no value for a DELETE and a TRUNCATE" in result.output
    world.sql("INSERT INTO orders VALUES (1)", "DELETE FROM orders")
    assert await process.ended() == 2
    assert "begin the condition with action == 'DELETE' ||" in process.logs("run.failed")[0]["hint"]


async def test_check_shows_the_row_filter_that_does_the_same(world: World) -> None:
    world.sql(TABLE, "CREATE DOMAIN whole AS int", "ALTER TABLE orders ADD n whole")
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE fence, orders")

    async def shown(when: str) -> list[dict[str, Any]]:
        tables = rules(when=when, actions=["insert"])
        result = await ditto(world, "check", "--json", DITTO_EVENTS_TABLES=json.dumps(tables))
        return [each for each in json.loads(result.stdout) if each["check"] == "rules.filter"]

    if world.major < 15:
        assert not await shown("data.id in [1, 2]")
        return
    assert not await shown("data.status == 'a'"), "PostgreSQL would refuse the application's updates"
    (finding,) = await shown("data.id in [1, 2]")
    assert finding["level"] == "ok"
    where = finding["what"].partition(" WHERE ")[2]
    await world.streaming()
    world.sql("INSERT INTO orders VALUES (3)")
    world.transaction(
        "LOCK TABLE orders IN SHARE MODE",
        f"ALTER PUBLICATION {world.name} DROP TABLE orders",
        f"ALTER PUBLICATION {world.name} ADD TABLE orders WHERE {where}",
    )
    world.sql("INSERT INTO orders VALUES (1), (2), (4)", "UPDATE orders SET status = 'b'")
    assert await changes(world) == [("INSERT", n) for n in (3, 1, 2)] + [("UPDATE", 1), ("UPDATE", 2)]
    world.sql("ALTER TABLE orders REPLICA IDENTITY FULL", f"ALTER PUBLICATION {world.name} SET TABLE fence, orders")
    assert await shown("data.status == 'a'")
    assert not await shown("data.n == 1"), "PostgreSQL takes no types of one's own in a filter"


async def test_verify_finds_no_difference_in_what_a_condition_drops(world: World) -> None:
    world.sql(TABLE)
    tables = rules(when="data.id > 1", actions=["insert", "update"])
    await world.streaming(events_tables=tables)
    world.sql("INSERT INTO orders VALUES (1), (2)")
    result = await ditto(world, "verify", "--json", DITTO_EVENTS_TABLES=json.dumps(tables))
    report = json.loads(result.stdout)
    assert report["differences"] == []
    reasons = {each["table"]: each["reason"] for each in report["unjudged"]}
    assert reasons["public.orders"] == "some actions are filtered out"
