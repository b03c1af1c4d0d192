"""An outbox: a table whose inserted rows are stored as messages."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from e2e.kills import killed_at_random
from e2e.messages.reading import everything

if TYPE_CHECKING:
    from e2e.world import World

TABLE = (
    "CREATE TABLE outbox (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), topic text, aggregate_id bigint, "
    "payload {payload}, headers jsonb)"
)
OUTBOX = {
    "events_outbox_table": "public.outbox",
    "events_outbox_subject": "{prefix}.{data.topic}",
    "events_outbox_id": "id",
    "events_outbox_key": "aggregate_id",
    "events_outbox_headers": "headers",
}


@pytest.mark.parametrize(
    ("type_name", "value", "body", "content_type"),
    [
        ("jsonb", """'{"price": 1.50, "a":[1]}'""", b'{"a": [1], "price": 1.50}', "application/json"),
        ("json", """E'{"price":1.50,\\n "a":[1]}'""", b'{"price":1.50,\n "a":[1]}', "application/json"),
        ("json", "'null'", b"null", "application/json"),
        ("text", "'plain, é'", "plain, é".encode(), "text/plain; charset=utf-8"),
        ("text", """'{"a":1}'""", b'{"a":1}', "application/json"),
        ("varchar(20)", "''", b"", "text/plain; charset=utf-8"),
        ("bytea", r"'\x00ff'", b"\0\xff", "application/octet-stream"),
        ("bytea", "''", b"", "application/octet-stream"),
        ("jsonb", "NULL", b"", None),
        ("bytea", "NULL", b"", None),
    ],
)
async def test_the_payload_is_the_body(
    world: World, type_name: str, value: str, body: bytes, content_type: str | None
) -> None:
    world.sql(TABLE.format(payload=type_name))
    await world.streaming(**OUTBOX)
    world.sql(f"INSERT INTO outbox (topic, payload) VALUES ('order.paid', {value})")
    (found,) = await everything(world)
    assert found.body == body
    assert found.headers.get("Content-Type") == content_type
    assert found.subject == f"{world.name}.order.paid"


async def test_id_key_and_headers_are_columns(world: World) -> None:
    world.sql(TABLE.format(payload="jsonb"), "CREATE TABLE orders (id int PRIMARY KEY)")
    await world.streaming(**OUTBOX)
    headers = {
        "tenant": "a\nb",
        "attempt": 2,
        "is_new": True,
        "nothing": None,
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    world.transaction(
        "INSERT INTO orders VALUES (1)",
        "SELECT pg_logical_emit_message(true, 'traceparent', '00-" + "c" * 32 + "-" + "d" * 16 + "-01')",
        f"INSERT INTO outbox (topic, aggregate_id, payload, headers) VALUES ('a', 7, '{{}}', '{json.dumps(headers)}')",
        "UPDATE outbox SET topic = 'changed'",
        "DELETE FROM outbox",
        "INSERT INTO orders VALUES (2)",
    )
    world.sql("INSERT INTO outbox VALUES ('00000000-0000-0000-0000-000000000001')", "TRUNCATE outbox")
    first, message, second, empty = await everything(world)
    assert [json.loads(each.body)["data"]["id"] for each in (first, second)] == [1, 2]
    assert message.headers["Ditto-Key"] == "7"
    assert {name: message.headers.get(name) for name in headers} == {
        "tenant": "a%0Ab",
        "attempt": "2",
        "is_new": "true",
        "nothing": None,
        "traceparent": headers["traceparent"],
    }
    assert second.headers["traceparent"] != message.headers["traceparent"]
    assert message.headers["Ditto-Id"] != message.headers["Ditto-Event"]
    assert (empty.subject, empty.headers["Ditto-Id"]) == (
        f"{world.name}.%null",
        "00000000-0000-0000-0000-000000000001",
    )


async def test_a_subject_of_the_rows_own(world: World) -> None:
    """Nothing of it is known before the row comes."""
    world.sql(TABLE.format(payload="text"))
    await world.streaming(**{**OUTBOX, "events_outbox_subject": "{data.topic}"})
    topics = [f"{world.name}.a", f"{world.name}_b", f"$KV.{world.name}", f"{world.name}..c *", f"{world.name}%"]
    for topic in topics:
        world.sql(f"INSERT INTO outbox (topic) VALUES ('{topic}')")
    assert [each.subject for each in await everything(world)] == [
        f"{world.name}.a",
        f"{world.name}_b",
        f"%24KV.{world.name}",
        f"{world.name}.%empty.c%20%2A",
        f"{world.name}%25",
    ]


@pytest.mark.parametrize(
    ("outbox", "sentence"),
    [
        ({"payload": "body"}, "events.outbox.payload names the column body, which table public.outbox does not have"),
        ({"id": "idd"}, "did you mean id?"),
        ({"subject": "{data.tpic}"}, "events.outbox.subject names the column tpic"),
        ({"payload": "aggregate_id"}, "whose type is int8"),
        ({"headers": "aggregate_id"}, "events.outbox.headers names the column aggregate_id"),
        ({"table": "public.other"}, "events.outbox"),
    ],
)
async def test_what_the_table_does_not_have_is_an_error_at_start(
    world: World, outbox: dict[str, str], sentence: str
) -> None:
    world.sql(TABLE.format(payload="jsonb"))
    ditto = world.ditto(**{**OUTBOX, **{f"events_outbox_{name}": value for name, value in outbox.items()}})
    assert await ditto.ended() in {2, 3}
    assert sentence in ditto.sentence()
    assert await world.message_count() == 0


async def test_a_column_of_the_outbox_is_renamed_while_ditto_is_down(world: World) -> None:
    world.sql(TABLE.format(payload="text"))
    ditto = await world.streaming(**OUTBOX)
    world.sql("INSERT INTO outbox (topic, payload) VALUES ('a', 'one')")
    await world.fence()
    assert await ditto.stop() == 0
    world.sql("INSERT INTO outbox (topic, payload) VALUES ('a', 'two')")
    world.sql("ALTER TABLE outbox RENAME COLUMN payload TO body", "ALTER TABLE outbox RENAME COLUMN topic TO queue")
    world.sql("INSERT INTO outbox (queue, body) VALUES ('a', 'three')")
    renamed = {
        **OUTBOX,
        "events_outbox_payload": "body",
        "events_outbox_subject": OUTBOX["events_outbox_subject"].replace("data.topic", "data.queue"),
    }
    refused = world.ditto(**renamed)
    assert await refused.ended() == 2
    assert "events.outbox.former" in refused.output
    await world.streaming(**renamed, events_outbox_former={"body": ["payload"], "queue": ["topic"]})
    assert [each.body for each in await everything(world)] == [b"one", b"two", b"three"]


async def test_rows_that_cannot_be_sent_stop_or_are_dropped(world: World) -> None:
    world.sql(TABLE.format(payload="text"))
    ditto = await world.streaming(**OUTBOX)
    world.sql(
        "INSERT INTO outbox (topic, payload) VALUES ('a', 'before')",
        """INSERT INTO outbox (topic, headers) VALUES ('a', '{"secret": {"value": 1}}')""",
        "INSERT INTO outbox (topic, payload) VALUES ('a', 'after')",
    )
    assert await ditto.ended() == 2
    assert "events.outbox" in ditto.sentence()
    assert "secret" not in ditto.output
    await world.streaming(**OUTBOX, events_outbox_on_error="drop")
    assert [each.body for each in await everything(world)] == [b"before", b"after"]


async def test_rows_that_a_snapshot_finds_are_messages(world: World) -> None:
    world.sql(TABLE.format(payload="text"), "CREATE TABLE t (id int PRIMARY KEY)")
    world.sql(
        "INSERT INTO outbox (topic, payload) SELECT 'pending', 'n' || n FROM generate_series(1, 20) AS n",
        "INSERT INTO t VALUES (1)",
    )
    ditto = await world.streaming(**OUTBOX, snapshot_mode="initial")
    await ditto.logged("snapshot.finished", timeout_s=30)
    found = [each for each in await everything(world) if "._snapshot." not in each.subject]
    pending = [each for each in found if each.subject == f"{world.name}.pending"]
    assert sorted(each.body for each in pending) == sorted(b"n%d" % n for n in range(1, 21))
    assert all(each.headers["Ditto-Snapshot"] for each in pending)
    assert [json.loads(each.body)["data"] for each in found if each not in pending] == [{"id": 1}]


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_every_row_comes_once_and_in_order(world: World, kills: int) -> None:
    world.sql(TABLE.format(payload="text"), "CREATE TABLE t (n int PRIMARY KEY)")
    chance, settings = random.Random(kills), OUTBOX
    ditto = await world.streaming(**settings)
    expected: list[Any] = []

    async def goes_on(_: object) -> None:
        before = await world.message_count()
        for _ in range(chance.randint(3, 12)):
            with world.connect() as connection:
                for _ in range(chance.randint(1, 300)):
                    number = len(expected)
                    if chance.random() < 0.5:
                        connection.execute("INSERT INTO t VALUES (%s)", [number])
                        expected.append(number)
                    else:
                        connection.execute("INSERT INTO outbox (topic, payload) VALUES ('a', %s)", [f"m{number}"])
                        expected.append(f"m{number}")
                connection.execute("DELETE FROM outbox")
        await world.holds(before + chance.randint(1, 20))

    ditto = await killed_at_random(world, ditto, goes_on, count=kills, chance=chance, **settings)
    found = [
        json.loads(each.body)["data"]["n"] if each.is_event else each.body.decode() for each in await everything(world)
    ]
    assert found == expected
    assert await ditto.stop() == 0
