"""What the messages of a stream of RabbitMQ hold: all types, rules, headers and keys, groups, snapshots."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ditto.formats.own_headers import ID

if TYPE_CHECKING:
    from e2e.sinks.rabbitmq_world import RabbitMQWorld

FENCE = {"fence": ["insert"]}


async def test_subject_headers_and_key_come_from_the_row(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, customer_id int, tenant text)")
    given = {
        "subject": "{prefix}.{schema}.{table}.{data.customer_id}",
        "headers": {"tenant": "{data.tenant}"},
        "key": ["id"],
        "when": "data.id < 100",
    }
    await world.streaming(events_tables={"orders": {"actions": ["insert", "update"], **given}} | FENCE)
    long = "x" * 300
    world.sql(f"INSERT INTO orders VALUES (1, 7, 'acme'), (2, NULL, 'Zürich'), (100, 7, 'out'), (3, 7, '{long}')")
    found = []
    for each in await world.events():
        headers = dict(each.headers)
        assert headers.pop("Ditto-Position") == str(each.position)
        subject = each.subject.removeprefix(f"{world.name}.public.")
        found.append((subject, headers, json.loads(each.payload)["data"]["id"]))
    assert found == [
        ("orders.7", {"tenant": "acme", "Ditto-Key": "1"}, 1),
        ("orders.%null", {"tenant": "Z%C3%BCrich", "Ditto-Key": "2"}, 2),
        ("orders.7", {"tenant": long, "Ditto-Key": "3"}, 3),
    ]
    shown = world.run("tail", "--no-follow", "--table", "orders")
    assert shown.stdout.count("INSERT") == 3, shown.stdout + shown.stderr


async def test_messages_outbox_and_traces(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    world.sql("CREATE TABLE t (id int PRIMARY KEY, traceparent text)")
    await world.streaming(
        events_messages={"orders.*": "{prefix}.{message.prefix}"}, events_traceparent_column="traceparent"
    )
    body = json.dumps({"ditto": {"headers": {"tenant": "acme"}, "key": "k", "id": "mine"}, "payload": {"n": 3}})
    world.transaction(
        f"INSERT INTO t VALUES (1, '{trace}')", f"SELECT pg_logical_emit_message(true, 'orders.a', '{body}')"
    )
    (row, message) = await world.events()
    assert row.headers["traceparent"] == trace
    assert (message.subject, json.loads(message.payload)) == (f"{world.name}.orders.a", {"n": 3})
    assert message.headers["tenant"] == "acme"
    assert (message.headers["Ditto-Key"], message.headers[ID]) == ("k", "mine")


async def test_groups(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(events_group_by="transaction")
    world.sql("INSERT INTO t SELECT generate_series(1, 100)", "INSERT INTO t SELECT generate_series(101, 150)")
    while len(groups := await world.messages()) < 2:
        assert ditto.is_running
    assert [len(json.loads(each.payload)) for each in groups] == [100, 50]
    assert {each.subject for each in groups} == {f"{world.name}.transactions"}
    assert await ditto.stop() == 0
    ditto = await world.streaming(events_group_by="transaction")
    verified = world.run("verify", events_group_by="transaction")
    assert verified.returncode == 0, verified.stdout
    assert await ditto.stop() == 0
