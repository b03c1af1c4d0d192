"""`ditto run` with Redis: what its streams hold, and what becomes of them when something goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.sinks.redis_world import RedisWorld


async def test_the_streams_against_the_tables(either_world: RedisWorld) -> None:
    world = either_world
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
    assert {f"{world.name}_public_t", f"{world.name}_public_u", f"{world.name}._schema.public.t"} <= set(
        world.streams()
    )
    assert await ditto.stop() == 0
    described = len([each for each in world.streams() if "._schema." in each])
    before = await world.message_count()
    ditto = await world.streaming(events_schemas=True)
    world.sql("INSERT INTO t VALUES (5000, 'after', NULL)")
    await world.fence()
    assert await world.message_count() == before + 2, "descriptions that are stored are not stored again"
    assert described == 3
    assert await ditto.stop() == 0
