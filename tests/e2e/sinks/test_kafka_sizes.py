"""Topics of Kafka that take less than others, also from some moment on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

if TYPE_CHECKING:
    from e2e.sinks.kafka_world import KafkaWorld


def create_topic(world: KafkaWorld, name: str, **config: str) -> None:
    admin = AdminClient({"bootstrap.servers": world.kafka.brokers, "log_level": 0})
    named = {key.replace("_", "."): value for key, value in config.items()}
    admin.create_topics([NewTopic(name, 3, config=named)])[name].result()


def set_limit(world: KafkaWorld, name: str, max_bytes: int) -> None:
    """Of the largest batch of records that the topic takes."""
    admin = AdminClient({"bootstrap.servers": world.kafka.brokers, "log_level": 0})
    entry = ConfigEntry("max.message.bytes", str(max_bytes), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin.incremental_alter_configs([resource])[resource].result()


async def test_a_topic_that_takes_less_than_the_others(kafka_world: KafkaWorld) -> None:
    """What is gathered for one request is never larger than what a single message may be."""
    world = kafka_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text)")
    await asyncio.to_thread(create_topic, world, f"{world.name}_public_t", max_message_bytes="20000")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 3000) AS n")
    await world.fence()
    await world.matches_tables(event_count=3000)
    assert not ditto.logs("session.failed")
    assert await ditto.stop() == 0


async def test_a_limit_that_is_lowered_while_it_streams(kafka_world: KafkaWorld) -> None:
    """The session ends, and the next one goes by the new limit: `events.oversize` decides about a larger event."""
    world, topic = kafka_world, f"{kafka_world.name}_public_t"
    world.sql("CREATE TABLE t (id int PRIMARY KEY, note text, more text)")
    ditto = await world.streaming(events_oversize="strip")
    world.sql("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 1000) AS n")
    await world.fence()
    await asyncio.to_thread(set_limit, world, topic, 20_000)
    world.sql("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1001, 3000) AS n")
    await world.fence()
    await world.matches_tables(event_count=3000)
    world.sql("INSERT INTO t VALUES (3001, 'small', repeat('x', 30000))")
    last = (await world.events())[-1].event
    assert (last["data"], last["stripped"]) == ({"id": 3001, "note": "small"}, ["more"])
    assert ditto.is_running
    await asyncio.to_thread(set_limit, world, topic, 10_000)
    world.sql("INSERT INTO t VALUES (3002, 'small', repeat('x', 15000))")
    last = (await world.events())[-1].event
    assert (last["data"], last["stripped"]) == ({"id": 3002, "note": "small"}, ["more"])
    assert await ditto.stop() == 0
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (3003, 'small', repeat('x', 15000))")
    assert await ditto.ended() == 4
    assert "max.message.bytes" in ditto.sentence()
