"""Rows of an outbox, as a consumer of Kafka and of Redis gets them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from sinks.kafka_reading import consume

if TYPE_CHECKING:
    from e2e.sinks.kafka_world import KafkaWorld
    from e2e.sinks.redis_world import RedisWorld
    from e2e.sinks.replayed_world import ReplayedWorld

SETTINGS: dict[str, Any] = {
    "events_outbox_table": "public.outbox",
    "events_outbox_subject": "{prefix}.{data.topic}",
    "events_outbox_payload": "payload",
    "events_outbox_id": "id",
    "events_outbox_key": "key",
    "events_outbox_headers": "headers",
    "events_tables": {"fence": ["insert"], "t": ["insert"]},
}
EXPECTED_HEADERS = {
    "Ditto-Id": "7",
    "Ditto-Outbox": "public.outbox",
    "Content-Type": "application/octet-stream",
    "tenant": "a%0Ab",
}


async def write(world: ReplayedWorld) -> None:
    """A row of the outbox between others, and one after a restart."""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE outbox (id int PRIMARY KEY, topic text, key text, payload bytea, headers jsonb)",
    )
    ditto = await world.streaming(**SETTINGS)
    world.transaction(
        "INSERT INTO t VALUES (1)",
        r"""INSERT INTO outbox VALUES (7, 'paid', 'k', '\x00ff0a', '{"tenant": "a\nb"}')""",
        "INSERT INTO t VALUES (2)",
        "DELETE FROM outbox",
    )
    await world.fence()
    ditto.kill()
    await world.streaming(**SETTINGS)
    world.sql(r"INSERT INTO outbox VALUES (8, 'paid', NULL, 'second', NULL)")
    await world.fence()


async def test_redis(redis_world: RedisWorld) -> None:
    world = redis_world
    await write(world)
    first, second = [each for each in await world.messages() if each.subject == f"{world.name}.paid"]
    assert (first.payload, second.payload) == (b"\x00\xff\n", b"second")
    headers = dict(first.headers)
    assert headers.pop("Ditto-Key") == "k"
    assert {name: headers.get(name) for name in EXPECTED_HEADERS} == EXPECTED_HEADERS
    assert (second.headers["Ditto-Id"], "Ditto-Key" in second.headers) == ("8", False)


async def test_kafka(kafka_world: KafkaWorld) -> None:
    world = kafka_world
    await write(world)
    found = await asyncio.to_thread(consume, world.kafka.brokers, [f"{world.name}.paid"])
    by_id = {each.headers["Ditto-Id"]: each for each in found}
    assert len(by_id) == len(found) == 2
    first, second = by_id["7"], by_id["8"]
    assert (first.key, first.value, second.value) == (b"k", b"\x00\xff\n", b"second")
    assert {name: first.headers.get(name) for name in EXPECTED_HEADERS} == EXPECTED_HEADERS
    assert [each.change[2] for each in await world.events()] == [1, 2]
