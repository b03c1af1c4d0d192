"""What the messages of Redis and of a stream of RabbitMQ hold: rules, headers and keys, messages, traces, groups.

Every type is in `test_every_type`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ditto.formats.own_headers import ID

if TYPE_CHECKING:
    from e2e.sinks.replayed_world import ReplayedWorld

DATA_HEADERS = {"redis": "%64ata", "rabbitmq": "data"}
"""What each sink makes of a header `data`: an entry of Redis has a field of that name."""
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(params=DATA_HEADERS)
def sink(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def any_world(request: pytest.FixtureRequest, sink: str) -> ReplayedWorld:
    """On each sink."""
    world: ReplayedWorld = request.getfixturevalue(f"{sink}_world")
    return world


async def test_what_comes_from_the_row_and_messages(any_world: ReplayedWorld, sink: str) -> None:
    world, data = any_world, DATA_HEADERS[sink]
    world.sql(
        "CREATE TABLE orders (id int PRIMARY KEY, customer_id int, tenant text)",
        "CREATE TABLE t (id int PRIMARY KEY, traceparent text)",
    )
    orders = {
        "actions": ["insert", "update"],
        "subject": "{prefix}.{schema}.{table}.{data.customer_id}",
        "headers": {"tenant": "{data.tenant}", "data": "{action}"},
        "key": ["id"],
        "when": "data.id < 100",
    }
    await world.streaming(
        events_tables={"orders": orders, "t": {}, "fence": ["insert"]},
        events_messages={"orders.*": "{prefix}.{message.prefix}"},
        events_traceparent_column="traceparent",
    )
    long = "x" * 300
    world.sql(
        "INSERT INTO orders VALUES (1, 7, 'acme'), (2, NULL, 'Zürich'), (100, 7, 'left out'), "
        f"(3, 7, E'a\\r\\nb: c'), (4, 7, '{long}')"
    )
    body = json.dumps({"ditto": {"headers": {"tenant": "acme"}, "key": "k", "id": "mine"}, "payload": {"n": 3}})
    world.transaction(
        f"INSERT INTO t VALUES (1, '{TRACE}')", f"SELECT pg_logical_emit_message(true, 'orders.a', '{body}')"
    )
    *events, row, message = await world.events()
    found = []
    for each in events:
        headers = {name: value for name, value in each.headers.items() if name != "Ditto-Position"}
        found.append((each.subject.removeprefix(f"{world.name}.public."), headers, each.change[2]))
    assert found == [
        ("orders.7", {"tenant": "acme", data: "insert", "Ditto-Key": "1"}, 1),
        ("orders.%null", {"tenant": "Z%C3%BCrich", data: "insert", "Ditto-Key": "2"}, 2),
        ("orders.7", {"tenant": "a%0D%0Ab: c", data: "insert", "Ditto-Key": "3"}, 3),
        ("orders.7", {"tenant": long, data: "insert", "Ditto-Key": "4"}, 4),
    ]
    assert all(each.headers.get("Ditto-Position", str(each.position)) == str(each.position) for each in events)
    assert row.headers["traceparent"] == TRACE
    assert set(row.headers) <= {"traceparent", "Ditto-Position"}
    assert (message.subject, json.loads(message.payload)) == (f"{world.name}.orders.a", {"n": 3})
    assert message.headers["tenant"] == "acme"
    assert (message.headers["Ditto-Key"], message.headers[ID]) == ("k", "mine")
    shown = world.run("tail", "--no-follow", "--table", "orders")
    assert shown.stdout.count("INSERT") == 4, shown.stdout + shown.stderr


async def test_groups(any_world: ReplayedWorld) -> None:
    world = any_world
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
