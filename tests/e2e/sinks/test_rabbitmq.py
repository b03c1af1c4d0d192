"""`ditto run` with RabbitMQ: what its stream holds, and what becomes of it when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.sinks.rabbitmq_world import RabbitMQWorld


async def test_the_stream_against_the_tables(rabbitmq_world: RabbitMQWorld) -> None:
    world = rabbitmq_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text, doc json)", "CREATE TABLE u (id int PRIMARY KEY)")
    ditto = await world.streaming(events_schemas=True)
    world.sql(
        "INSERT INTO t SELECT n, 'row ' || n, json_build_object('n', n) FROM generate_series(1, 500) AS n",
        "UPDATE t SET name = E'two\\nlines' WHERE id % 2 = 0",
        "DELETE FROM t WHERE id % 5 = 0",
    )
    world.transaction(*(f"INSERT INTO {'tu'[n % 2]} VALUES ({1000 + n})" for n in range(20)))
    await world.fence()
    await world.matches_tables(event_count=500 + 250 + 100 + 20)
    subjects = {message.subject for message in await world.messages()}
    assert {f"{world.name}_public_t", f"{world.name}_public_u", f"{world.name}._schema.public.t"} <= subjects
    assert await ditto.stop() == 0
    ditto = await world.streaming(events_schemas=True)
    world.sql("INSERT INTO t VALUES (5000, 'after', NULL)")
    await world.fence()
    await world.matches_tables(event_count=500 + 250 + 100 + 20 + 1)
    assert await ditto.stop() == 0
