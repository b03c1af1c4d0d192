"""What RabbitMQ refuses, loses and is set to: each ends in one sentence with a hint, and nothing is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sinks.rabbitmq_reading import client_of

from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.sinks.rabbitmq_world import RabbitMQWorld


async def test_the_stream_is_deleted(rabbitmq_world: RabbitMQWorld) -> None:
    """Alone, or with the other one; while Ditto streams, or is down. The record alone is not believed."""
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    first = (await world.events())[0].position.commit_lsn
    await eventually(lambda: world.confirmed_lsn > first, "PostgreSQL has given the event up")
    async with client_of(world.server.port) as client:
        await client.delete_stream(world.name)
    failure = await ditto.logged("session.failed", kind="SinkLost")
    assert f"stream {world.name} is no longer available there" in failure["error"]
    assert await ditto.ended() == 4
    assert "StreamGap" in ditto.output, "nothing is stored after a hole"
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert "StreamGap" in ditto.output, "nor at the next start"
    async with client_of(world.server.port) as client:
        await client.delete_stream(f"{world.name}.ditto")
    ditto = world.ditto()
    assert await ditto.ended() == 4
    assert "StreamGap" in ditto.output
    ditto = await world.streaming(delivery_on_gap="continue")
    world.sql("INSERT INTO t VALUES (2)")
    assert [event.change[2] for event in await world.events()] == [2]
    assert await ditto.stop() == 0


async def test_the_stream_of_another_slot_is_refused(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0
    other = world.ditto(postgres_slot=f"{world.name}_other")
    assert await other.ended() == 4
    assert f"belong to slot {world.name}" in other.sentence()
    assert "rabbitmq.stream.name" in other.sentence()


async def test_an_event_that_is_too_large(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, s text, u text)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1, 'small', ''), (2, repeat('x', 1100000), '')")
    assert await ditto.ended() == 4
    assert "public.t" in ditto.sentence()
    assert "stream.frame_max" in ditto.sentence()
    assert len(await world.messages()) == 1, "what was before it"
    ditto = await world.streaming(events_oversize="strip")
    world.sql("INSERT INTO t VALUES (3, repeat('y', 1000000), '')")
    _, stripped, large = [event.event for event in await world.events()]
    assert stripped["data"] == {"id": 2, "u": ""}
    assert len(large["data"]["s"]) == 1_000_000, "it fits"
    assert await ditto.stop() == 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("rabbitmq-stream://127.0.0.1:1", "Connection refused"),
        ("rabbitmq-stream://nowhere.test", "has no TLS: Ditto does not show it the password"),
        ("rabbitmq-stream+tls://nowhere.test", "cannot be resolved"),
    ],
)
async def test_nobody_answers(rabbitmq_world: RabbitMQWorld, url: str, why: str) -> None:
    ditto = rabbitmq_world.ditto(rabbitmq_url=url)
    if "password" in why:
        assert await ditto.ended() == 4
        assert why in ditto.sentence()
        return
    failure = await ditto.logged("session.failed", kind="SinkLost")
    assert why in failure["error"]
    assert failure["error"].startswith("RabbitMQ at ")
    assert "rabbitmq.url" in failure["hint"]


async def test_another_node_of_a_list(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    ditto = await world.streaming(rabbitmq_url=["rabbitmq-stream://127.0.0.1:1", world.server.url])
    await world.fence()
    assert await ditto.stop() == 0


@pytest.mark.long
async def test_old_segments_are_removed(rabbitmq_world: RabbitMQWorld) -> None:
    """With the events in them, and the record of the control events is not in them."""
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    async with client_of(world.server.port) as client:
        given = {"max-length-bytes": "2000000", "stream-max-segment-size-bytes": "1000000"}
        await client.create_stream(world.name, given)
    for begin in (0, 20_000):
        ditto = await world.streaming()
        world.sql(f"INSERT INTO t SELECT {begin} + n, repeat('x', 200) FROM generate_series(1, 20000) AS n")
        await world.fence()
        assert await ditto.stop() == 0
    found = [event.change[2] for event in await world.messages() if event.subject != world.fence_subject]
    assert len(found) < 20_000
    assert found == list(range(40_001 - len(found), 40_001))
