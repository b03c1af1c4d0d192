"""Somebody deletes topics of Kafka, or keys of Redis: what Ditto cannot make up for stops it, and is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from sinks.kafka_reading import Consumed, consume, delete_topics

from e2e.ledger import Ledger
from e2e.process import DittoProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.sinks.kafka_world import KafkaWorld
    from e2e.sinks.redis_world import RedisWorld
    from e2e.sinks.replayed_world import ReplayedWorld


async def after_deletion(world: ReplayedWorld, delete: Callable[[], object], *, is_down: bool) -> DittoProcess:
    """Rows 1 to 10 are stored and confirmed; then that is deleted, and rows 11 to 20 follow."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 10)")
    await world.fence()
    await world.confirms_tail()
    if is_down:
        assert await ditto.stop() == 0
    await asyncio.to_thread(delete)
    world.sql("INSERT INTO t SELECT generate_series(11, 20)")
    return world.ditto() if is_down else ditto


async def stops(ditto: DittoProcess) -> None:
    """With a gap: PostgreSQL has given up what was confirmed."""
    assert await ditto.ended(timeout_s=60) == 4
    assert ditto.logs("run.failed")[0]["kind"] == "StreamGap"
    assert "delivery.on_gap" in ditto.sentence()


async def rows(world: ReplayedWorld) -> list[int]:
    return [message.change[2] for message in await world.messages() if b'"table":"t"' in message.payload]


@pytest.mark.parametrize(
    ("which", "is_down"),
    [
        ("checkpoints", True),
        *(
            pytest.param(which, is_down, marks=pytest.mark.long)
            for which, is_down in (
                ("checkpoints", False),
                ("all", True),
                ("all", False),
                ("both", False),
                ("both", True),
            )
        ),
    ],
)
async def test_kafka(kafka_world: KafkaWorld, which: str, *, is_down: bool) -> None:
    world = kafka_world
    own = {"checkpoints": {world.checkpoints}, "both": {world.checkpoints, world.own}}.get(which)

    def is_wanted(name: str) -> bool:
        return name in own if own is not None else name.startswith(world.name)

    ditto = await after_deletion(world, lambda: delete_topics(world.kafka.brokers, is_wanted), is_down=is_down)
    await stops(ditto)
    assert await rows(world) == ([] if which == "all" else list(range(1, 11))), "nothing comes twice"


@pytest.mark.long
async def test_the_topic_by_which_readers_find_the_others(kafka_world: KafkaWorld) -> None:
    """It takes part in few transactions: Ditto looks for it now and then."""
    world = kafka_world
    ditto = await after_deletion(world, lambda: delete_topics(world.kafka.brokers, world.own.__eq__), is_down=False)
    await world.fence()
    failure = await ditto.logged("session.failed", timeout_s=60)
    assert failure["error"] == f"topic {world.own} was deleted"
    await ditto.streaming(count=2)
    world.sql("INSERT INTO t VALUES (21)")
    await world.fence()
    assert await rows(world) == list(range(1, 22))
    verified = await asyncio.to_thread(world.run, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert await ditto.stop() == 0


@pytest.mark.parametrize("is_down", [pytest.param(True, marks=pytest.mark.long), False])
async def test_a_topic_of_events_under_load(kafka_world: KafkaWorld, *, is_down: bool) -> None:
    """What was in it is lost with it; Ditto goes on."""
    world = kafka_world
    ditto = await world.streaming()
    topic = f"{world.name}_public_entry"
    with Ledger(world, seed=4, pause_s=0.02) as ledger:
        await ledger.goes_on(20)
        await world.fence()
        if is_down:
            ditto.kill()
        await asyncio.to_thread(delete_topics, world.kafka.brokers, topic.__eq__)
        if is_down:
            ditto = world.ditto()
        await ledger.goes_on(40)
    await world.fence(timeout_s=60)
    last = world.value("SELECT max(id) FROM entry")
    stored = {
        message.event["data"]["id"] for message in await world.messages() if b'"table":"entry"' in message.payload
    }
    assert last in stored
    assert await ditto.stop() == 0


@pytest.mark.parametrize("is_down", [pytest.param(True, marks=pytest.mark.long), False])
@pytest.mark.parametrize(
    "which", ["everything", *(pytest.param(each, marks=pytest.mark.long) for each in ("state", "stream"))]
)
async def test_redis(own_redis_world: RedisWorld, which: str, *, is_down: bool) -> None:
    world = own_redis_world

    def delete() -> None:
        with world.client() as client:
            if which == "everything":
                client.flushall()
            else:
                client.delete(world.state_key if which == "state" else f"{world.name}_public_t")

    ditto = await after_deletion(world, delete, is_down=is_down)
    if which == "stream":
        await world.fence()
        assert await rows(world) == list(range(11, 21))
        assert await ditto.stop() == 0
        return
    await stops(ditto)
    assert await rows(world) == ([] if which == "everything" else list(range(1, 11))), "nothing comes twice"


async def test_a_state_of_redis_that_is_older_than_the_streams(own_redis_world: RedisWorld) -> None:
    """As of a backup, while PostgreSQL still keeps all: the server refuses what would come twice."""
    world = own_redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(delivery_confirm_delay="60s")
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    with world.client() as client:
        older = client.hgetall(world.state_key)
        world.sql("INSERT INTO t VALUES (2)")
        await world.fence()
        ditto.kill()
        client.hset(world.state_key, mapping=older)
    ditto = world.ditto(delivery_confirm_delay="60s")
    assert await ditto.ended() == 4
    assert "of which Ditto's state does not know" in ditto.sentence()
    assert "Restore both from one" in ditto.sentence()
    assert await rows(world) == [1, 2]


async def test_a_record_of_kafka_that_is_older_than_what_is_confirmed(kafka_world: KafkaWorld) -> None:
    """As of a backup: PostgreSQL has given up what the record does not know, and nothing comes twice."""
    world = kafka_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    older = (await asyncio.to_thread(consume, world.kafka.brokers, [world.checkpoints]))[-1]
    world.sql("INSERT INTO t VALUES (2)")
    await world.fence()
    await world.confirms_tail()
    ditto.kill()
    await asyncio.to_thread(delete_topics, world.kafka.brokers, world.checkpoints.__eq__)
    await asyncio.to_thread(restore, world, older)
    await stops(world.ditto())
    assert await rows(world) == [1, 2]


def restore(world: KafkaWorld, record: Consumed) -> None:
    """A topic of checkpoints with that record alone."""
    admin = AdminClient({"bootstrap.servers": world.kafka.brokers, "log_level": 0})
    topic = NewTopic(record.topic, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([topic])[record.topic].result()
    producer: Any = Producer({"bootstrap.servers": world.kafka.brokers, "log_level": 0})
    producer.produce(record.topic, record.value, record.key)
    assert producer.flush(30) == 0
