"""Subjects, headers and keys that depend on the row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.rules.commands import ditto
from e2e.rules.sent import sent

if TYPE_CHECKING:
    from e2e.world import World

FENCE = {"fence": ["insert"]}
ROWS = ["insert", "update", "delete"]
TABLE = "CREATE TABLE orders (id int PRIMARY KEY, customer_id int, tenant text, total numeric, paid bool)"


def rules(**given: Any) -> dict[str, Any]:
    return {"orders": {"actions": ROWS, **given}} | FENCE


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_subject_header_and_key_come_from_the_row(world: World, impl: str) -> None:
    world.sql(TABLE, "ALTER TABLE orders REPLICA IDENTITY FULL")
    given = rules(
        subject="{prefix}.{schema}.{table}.{data.customer_id}",
        headers={"tenant": "{data.tenant}", "what": "{action} of {table}"},
        key=["id", "paid"],
    )
    await world.streaming(impl=impl, events_tables=given)
    world.sql(
        "INSERT INTO orders VALUES (1, 7, 'acme', 1.50, true), (2, NULL, 'a b\r\nNats-Rollup: all', NULL, NULL)",
        "UPDATE orders SET customer_id = 8, tenant = 'Zürich' WHERE id = 1",
        "DELETE FROM orders WHERE id = 1",
    )
    found = await sent(world)
    assert [(each.subject.removeprefix(f"{world.name}.public."), each.headers) for each in found] == [
        ("orders.7", {"tenant": "acme", "what": "insert of orders", "Ditto-Key": '{"id":1,"paid":true}'}),
        (
            "orders.%null",
            {
                "tenant": "a b%0D%0ANats-Rollup: all",
                "what": "insert of orders",
                "Ditto-Key": '{"id":2,"paid":null}',
            },
        ),
        ("orders.8", {"tenant": "Z%C3%BCrich", "what": "update of orders", "Ditto-Key": '{"id":1,"paid":true}'}),
        ("orders.8", {"tenant": "Z%C3%BCrich", "what": "delete of orders", "Ditto-Key": '{"id":1,"paid":true}'}),
    ]
    subjects = (await world.info()).config.subjects or []
    assert f"{world.name}.public.orders.>" in subjects


async def test_groups_of_a_regular_expression_are_placeholders(world: World) -> None:
    world.sql(
        *(f"CREATE SCHEMA tenant_{name}; CREATE TABLE tenant_{name}.orders (id int PRIMARY KEY)" for name in ("a", "b"))
    )
    world.sql("CREATE TABLE orders (id int PRIMARY KEY)")
    given = {r"re:tenant_(?P<t>\w+)\.orders": {"subject": "{prefix}.all.{t}", "headers": {"t": "{t}"}}}
    await world.streaming(events_tables=given | FENCE)
    world.sql(*(f"INSERT INTO {name}.orders VALUES (1)" for name in ("tenant_a", "public", "tenant_b")))
    found = [(each.subject, each.headers) for each in await sent(world)]
    assert found == [(f"{world.name}.all.a", {"t": "a"}), (f"{world.name}.all.b", {"t": "b"})]


async def test_a_value_that_was_not_sent_stops_keeps_or_drops(world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, big text, n int)")
    world.sql("ALTER TABLE orders ALTER big SET STORAGE EXTERNAL")
    given = rules(subject="{prefix}.orders.{data.big}", actions=["insert", "update"], on_error="keep")
    process = await world.streaming(events_tables=given)
    world.sql("INSERT INTO orders VALUES (1, repeat('x', 5000), 1), (2, 'small', 1)", "UPDATE orders SET n = 2")
    assert [each.subject.rpartition(".")[2] for each in await sent(world)] == ["%long", "small", "%unsent", "small"]
    assert await process.stop() == 0
    process = await world.streaming(events_tables=given | rules(**{**given["orders"], "on_error": "drop"}))
    world.sql("UPDATE orders SET n = 3")
    assert len(await sent(world)) == 5
    assert await process.stop() == 0
    process = await world.streaming(events_tables=given | rules(**{**given["orders"], "on_error": "stop"}))
    world.sql("INSERT INTO orders VALUES (3, 'before', 1)", "UPDATE orders SET n = 4")
    assert await process.ended() == 2
    assert "events.tables.orders.subject" in process.output
    assert "the value of column big was not sent" in process.output
    assert "xxxxx" not in process.output
    process = await world.streaming(events_tables=given)
    assert [each.subject.rpartition(".")[2] for each in await sent(world)][5:] == [
        "before", "%unsent", "small", "before",
    ]  # fmt: skip


async def test_hostile_values_stay_in_their_place(world: World) -> None:
    world.sql(TABLE)
    given = rules(subject="{prefix}.orders.{data.tenant}", headers={"t": "{data.tenant}"}, actions=["insert"])
    await world.streaming(events_tables=given)
    values = ["a.b", "*", ">", " ", "a\tb", "\r\nPUB x 0\r\n", "%null", "_checkpoint", "..", "$JS.API", "é", "\x7f"]
    with world.connect() as connection:
        for number, value in enumerate(values):
            connection.execute("INSERT INTO orders VALUES (%s, 1, %s)", (number, value))
    found = await sent(world)
    assert (
        len(found) == len(values) == len({each.subject for each in found}) == len({each.headers["t"] for each in found})
    )
    assert all(each.subject.startswith(f"{world.name}.orders.") for each in found)
    assert all(len(each.subject.split(".")) == 3 for each in found)
    assert all(list(each.headers) == ["t"] for each in found)


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_rows_of_a_snapshot_pass_through_rules(world: World, impl: str) -> None:
    world.sql(TABLE, "INSERT INTO orders VALUES (1, 7, 'acme', 1.50, true)")
    columns = {"exclude": ["total"], "mask": {"tenant": {"keep_first": 1}}}
    given = rules(subject="{prefix}.orders.{data.customer_id}", headers={"t": "{data.tenant}"}, key=["id"],
                  columns=columns, actions=["insert"])  # fmt: skip
    await world.streaming(impl=impl, events_tables=given, snapshot_mode="initial", snapshot_tables=["orders"])

    async def is_read() -> list[Any]:
        return [each for each in await sent(world) if b'"READ"' in each.payload]

    found = []
    for _ in range(50):
        if found := await is_read():
            break
    (read,) = found
    assert read.subject == f"{world.name}.orders.7"
    assert read.headers == {"t": "a***", "Ditto-Key": "1"}
    assert json.loads(read.payload)["data"] == {"id": 1, "customer_id": 7, "tenant": "a***", "paid": True}


async def test_many_subjects_are_warned_of(world: World) -> None:
    world.sql(TABLE, "INSERT INTO orders SELECT n, n, 'acme' FROM generate_series(1, 200000) AS n")
    given = json.dumps(
        rules(subject="{prefix}.orders.{data.customer_id}", headers={"t": "{data.tenant}"}, actions=["insert"])
    )

    async def finding() -> tuple[str, str, str | None]:
        result = await ditto(world, "check", "--json", DITTO_EVENTS_TABLES=given)
        return next(
            (each["level"], each["what"], each["fix"])
            for each in json.loads(result.stdout)
            if each["check"] == "rules.subjects"
        )

    world.sql("ANALYZE orders")
    level, what, _ = await finding()
    assert level == "warning"
    assert what.startswith("the rows of public.orders give about ")
    world.sql("UPDATE orders SET customer_id = 5", "ANALYZE orders")
    assert (await finding())[:2] == ("ok", "the rules give about 1 subject")


async def test_check_says_what_rules_will_not_find(world: World) -> None:
    world.sql(TABLE)
    given = rules(headers={"t": "{data.tenant}"}, skip_unchanged=True, actions=["insert", "update"])
    result = await ditto(world, "check", "--json", DITTO_EVENTS_TABLES=json.dumps(given))
    found = {each["check"]: each for each in json.loads(result.stdout)}
    statement = 'ALTER TABLE "public"."orders" REPLICA IDENTITY FULL;'
    assert (found["rules.unsent"]["level"], found["rules.unsent"]["fix"]) == ("warning", statement)
    assert (found["rules.skip_unchanged"]["level"], found["rules.skip_unchanged"]["fix"]) == ("warning", statement)
    world.sql(statement)
    result = await ditto(world, "check", "--json", DITTO_EVENTS_TABLES=json.dumps(given))
    found = {each["check"]: each for each in json.loads(result.stdout)}
    assert {"rules.unsent", "rules.skip_unchanged"}.isdisjoint(found)
    assert found["rules.tables"]["level"] == "ok"
