"""Logical messages that are stored as messages: `events.messages`."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from e2e.kills import killed_at_random
from e2e.messages.reading import everything

if TYPE_CHECKING:
    from e2e.world import World

MESSAGES = {"orders.*": "{prefix}.{message.prefix}", "audit": "{prefix}.audit"}


def emit(prefix: str, content: str, *, is_transactional: bool = True) -> str:
    quoted = content.replace("'", "''")
    return f"SELECT pg_logical_emit_message({str(is_transactional).lower()}, '{prefix}', '{quoted}')"


async def test_in_order_with_the_rows(world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, state text)")
    await world.streaming(events_messages=MESSAGES)
    world.transaction(
        "INSERT INTO orders VALUES (1, 'new')",
        emit("orders.created", '{"order": 1, "price": 12.50}'),
        "UPDATE orders SET state = 'paid'",
        emit("other", "nobody has selected this"),
        emit("audit", "paid by card"),
    )
    with world.connect() as connection:
        connection.execute(emit("orders.created", '{"order": 2}').encode())
        connection.rollback()
    inserted, created, updated, audit = await everything(world)
    assert [json.loads(each.body)["action"] for each in (inserted, updated)] == ["INSERT", "UPDATE"]
    assert created.subject == f"{world.name}.orders.created"
    assert created.body == b'{"order": 1, "price": 12.50}'
    assert created.headers["Content-Type"] == "application/json"
    assert json.loads(inserted.body)["commitTime"] == created.headers["Ditto-Commit-Time"]
    assert len({each.position.commit_lsn for each in (inserted, created, updated, audit)}) == 1
    assert (audit.subject, audit.body) == (f"{world.name}.audit", b"paid by card")
    assert audit.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_an_envelope_carries_headers_key_and_id(world: World) -> None:
    await world.streaming(events_messages=MESSAGES)
    about = {"headers": {"tenant": "Café\r\nNats-TTL: 1s", "Content-Type": "application/x"}, "key": "o-1", "id": "i-1"}
    world.sql(
        emit("orders.a", json.dumps({"ditto": about, "payload": {"order": 1}})),
        emit("orders.b", json.dumps({"ditto": {}, "payloadBase64": base64.b64encode(b"\0\xff").decode()})),
        emit("orders.c", '{"ditto": {}, "payload": 1, "more": 2}'),
        emit("orders.d", '{"ditto": 7, "payload": 1}'),
        "SELECT pg_logical_emit_message(true, 'orders.e', '\\x00ff'::bytea)",
    )
    a, b, c, d, e = await everything(world)
    assert a.body == b'{"order": 1}'
    assert a.headers["tenant"] == "Caf%C3%A9%0D%0ANats-TTL: 1s"
    assert (a.headers["Content-Type"], a.headers["Ditto-Id"], a.headers["Ditto-Key"]) == ("application/x", "i-1", "o-1")
    assert a.headers["Ditto-Event"]
    assert (b.body, b.headers["Content-Type"]) == (b"\0\xff", "application/octet-stream")
    assert c.body == b'{"ditto": {}, "payload": 1, "more": 2}', "not an envelope"
    assert d.body == b'{"ditto": 7, "payload": 1}', "not an envelope"
    assert (e.body, e.headers["Content-Type"]) == (b"\0\xff", "application/octet-stream")


async def test_messages_of_no_transaction(world: World) -> None:
    """They are stored at once, also those of a transaction that is rolled back, before the transaction's own."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(events_messages=MESSAGES)
    world.transaction("INSERT INTO t VALUES (1)", emit("orders.now", "1", is_transactional=False))
    with world.connect() as connection:
        connection.execute(emit("orders.now", "2", is_transactional=False).encode())
        connection.rollback()
    found = await everything(world)
    assert [each.body for each in found if not each.is_event] == [b"1", b"2"]
    assert found[0].body == b"1", "before the commit of its transaction"
    assert "Ditto-Commit-Time" not in found[0].headers
    for _ in range(3):
        world.sql(emit("orders.now", "3", is_transactional=False))
        ditto.kill()
        ditto = await world.streaming(events_messages=MESSAGES)
    assert [each.body for each in await everything(world) if not each.is_event] == [b"1", b"2", *[b"3"] * 3]


async def test_a_message_that_cannot_be_sent_stops_or_is_dropped(world: World) -> None:
    wrong = '{"ditto": {"headers": {"Nats-Rollup": "all"}}, "payload": 1}'
    ditto = await world.streaming(events_messages=MESSAGES)
    world.sql(emit("orders.a", "before"), emit("orders.a", wrong), emit("orders.a", "after"))
    assert await ditto.ended() == 2
    assert "a header has the name of one that Ditto, nats-server or a NATS client uses itself" in ditto.sentence()
    assert "events.messages.orders.*" in ditto.sentence()
    assert "all" not in ditto.sentence().split()
    ditto = await world.streaming(
        events_messages={"orders.*": {"subject": "{prefix}.{message.prefix}", "on_error": "drop"}}
    )
    assert [each.body for each in await everything(world)] == [b"before", b"after"]
    await ditto.logged("message.dropped")


@pytest.mark.parametrize(
    ("prefix", "subject"),
    [
        ("{name}.orders", "{name}.orders"),
        ("$JS.API.STREAM.DELETE.{stream}", "%24JS.API.STREAM.DELETE.{stream}"),
        ("{name}..b *>", "{name}.%empty.b%20%2A%3E"),
    ],
)
async def test_subjects_of_any_prefix(world: World, prefix: str, subject: str) -> None:
    """Which are known only when the message comes."""
    names = {"name": world.name, "stream": world.stream}
    await world.streaming(events_messages={"*": "{message.prefix}"})
    world.sql(emit(prefix.format(**names), "x"))
    (found,) = await everything(world)
    assert found.subject == subject.format(**names)


async def test_nothing_else_is_on_dittos_own_subjects(world: World) -> None:
    ditto = await world.streaming(events_messages={"*": "{message.prefix}"})
    world.sql(emit(f"{world.name}._checkpoint", "x"))
    assert await ditto.ended() == 2
    assert "is one that Ditto uses itself" in ditto.sentence()


@pytest.mark.parametrize("on_error", ["stop", "drop"])
async def test_no_message_gets_into_a_group(world: World, on_error: str) -> None:
    """Nor one whose prefix no header holds into the stream."""
    world.fence_subject = f"{world.name}.transactions"
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    settings: dict[str, Any] = {
        "events_messages": {"*": {"subject": "{prefix}.{message.prefix}", "on_error": on_error}},
        "events_group_by": "transaction",
        "events_metadata": "ordinal",
    }
    ditto = await world.streaming(**settings)
    if on_error == "stop":
        world.transaction("INSERT INTO t VALUES (1)", emit("transactions", "x"))
        assert await ditto.ended() == 2
        assert "is one that Ditto uses itself" in ditto.sentence()
        return
    world.transaction("INSERT INTO t VALUES (1)", emit("transactions", "x"), "INSERT INTO t VALUES (2)")
    world.sql("SELECT pg_logical_emit_message(true, repeat('p', 100000), 'x')")
    await world.fence()
    assert [each.change for each in await world.messages() if each.event.get("table") == "t"] == [
        ("t", "INSERT", 1),
        ("t", "INSERT", 2),
    ]
    await ditto.logged("message.dropped")
    assert len(ditto.logs("message.dropped")) == 1


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_every_message_comes_once_and_in_order(world: World, kills: int) -> None:
    """Rows and messages by turns, in transactions of many; those that roll back leave nothing."""
    world.sql("CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int)")
    chance, settings = random.Random(kills), {"events_messages": MESSAGES}
    ditto = await world.streaming(**settings)
    expected: list[Any] = []

    async def goes_on(_: object) -> None:
        before = await world.message_count()
        for _ in range(chance.randint(3, 12)):
            with world.connect() as connection:
                written: list[Any] = []
                for offset in range(chance.randint(1, 300)):
                    number = 1000 * len(expected) + offset
                    connection.execute("INSERT INTO t (n) VALUES (%s)", [number])
                    written.append(number)
                    if chance.random() < 0.7:
                        content = json.dumps({"n": number}) if chance.random() < 0.5 else f"n{number}"
                        connection.execute("SELECT pg_logical_emit_message(true, 'orders.x', %s)", [content])
                        written.append(content)
                if chance.random() < 0.3:
                    connection.rollback()
                else:
                    connection.commit()
                    expected.extend(written)
        reached = before + chance.randint(1, 20)
        await world.holds(reached)

    ditto = await killed_at_random(world, ditto, goes_on, count=kills, chance=chance, **settings)
    found = [
        json.loads(each.body)["data"]["n"] if each.is_event else each.body.decode() for each in await everything(world)
    ]
    assert found == expected
    assert await ditto.stop() == 0


async def test_between_groups(world: World) -> None:
    """A message has its own place: what comes before it is one group, and what comes after it another."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(events_messages=MESSAGES, events_group_max_events="100")
    world.transaction(
        "INSERT INTO t VALUES (1), (2)", emit("orders.a", "[3]"), "INSERT INTO t VALUES (4)", emit("orders.a", "[5]")
    )
    world.sql("INSERT INTO t VALUES (6)")
    world.fence_subject = f"{world.name}.transactions"
    await world.fence()
    assert await ditto.stop() == 0
    async with world.jetstream() as jetstream:
        subscription = await jetstream.subscribe(">", stream=world.stream, ordered_consumer=True)
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        found = []
        for _ in range(last):
            message = await subscription.next_msg(timeout=20)
            if not message.subject.endswith("._checkpoint"):
                found.append(json.loads(message.data))
    assert found.pop()[0]["table"] == "fence"
    ids = [each if isinstance(each, int) else each["data"]["id"] for group in found for each in group]
    assert ids == [1, 2, 3, 4, 5, 6]
    assert [len(group) for group in found] == [2, 1, 1, 1, 1]
