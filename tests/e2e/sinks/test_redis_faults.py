"""What a Redis server refuses, loses and is set to: each ends in one sentence with a hint, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import redis

from ditto.testing.redis_server import RedisServer
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.sinks.redis_world import RedisWorld


async def test_the_memory_is_full(own_redis_world: RedisWorld) -> None:
    world = own_redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    ditto = await world.streaming()
    with world.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 2_000_000)
        world.sql("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 30000) AS n")
        failure = await ditto.logged("session.failed", kind="NotNow", count=2)
        assert "memory is full (maxmemory)" in failure["error"]
        assert "redis.max_length" in failure["hint"]
        assert ditto.is_running
        client.config_set("maxmemory", 0)
    await world.fence()
    await world.matches_tables(event_count=30_000)
    assert await ditto.stop() == 0


async def test_the_server_takes_no_writes(own_redis_world: RedisWorld) -> None:
    world = own_redis_world
    ditto = await world.streaming()
    with world.client() as client, Ledger(world, seed=3) as ledger:
        await ledger.goes_on(20)
        client.config_set("min-replicas-to-write", 1)
        failure = await ditto.logged("session.failed", kind="NotNow")
        assert "too few replicas" in failure["error"]
        client.config_set("min-replicas-to-write", 0)
        await ditto.streaming(count=2)
        await ledger.goes_on(20)
        client.replicaof("127.0.0.1", 1)  # of nobody
        failure = await ditto.logged("session.failed", kind="SinkLost")
        assert "is a replica, and takes no writes" in failure["error"]
        client.replicaof("NO", "ONE")
        await ditto.streaming(count=3)
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert await ditto.stop() == 0


async def test_a_failover_to_a_replica(own_redis_world: RedisWorld, tmp_path: Path) -> None:
    """The new master has what was replicated; Ditto goes on there once the address leads to it."""
    world = own_redis_world
    with world.client() as client:
        client.config_set("repl-diskless-sync-delay", 0)
    first = await world.streaming()
    with RedisServer(tmp_path / "replica", settings={"replicaof": f"127.0.0.1 {world.server.port}"}) as replica:
        with Ledger(world, seed=4) as ledger, redis.Redis.from_url(replica.url) as other:
            await ledger.goes_on(20)
            await eventually(lambda: other.info("replication")["master_link_status"] == "up", "it replicates")
            assert await first.stop() == 0
            with world.client() as client:
                assert client.wait(1, 10_000) == 1
            world.server.kill()
            other.replicaof("NO", "ONE")
            world.server = replica
            world.settings["DITTO_REDIS_URL"] = replica.url
            await world.streaming()
            await ledger.goes_on(20)
        await matches_ledger(world)


@pytest.mark.long
async def test_a_server_that_is_loading(own_redis_world: RedisWorld) -> None:
    world = own_redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 8000)")
    await world.fence()
    assert await ditto.stop() == 0
    world.server.stop()
    world.server.settings["key-load-delay"] = "1000"  # microseconds a key, or a command
    starting = asyncio.create_task(asyncio.to_thread(world.server.start))
    ditto = world.ditto()
    failure = await ditto.logged("session.failed", kind="NotNow")
    assert "is loading its data" in failure["error"]
    with world.client() as client:
        client.config_set("key-load-delay", 0)
    await starting
    await ditto.streaming()
    await world.fence()
    await world.matches_tables(event_count=8000)


async def test_keys_in_the_way(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    with world.client() as client:
        client.set(f"{world.name}_public_t", "x")
        client.xadd(f"{world.name}_public_u", {"x": "y"})
        ditto = await world.streaming()
        world.sql("INSERT INTO t VALUES (1)")
        assert await ditto.ended() == 4
        assert f"key {world.name}_public_t holds something else than a stream" in ditto.sentence()
        client.delete(f"{world.name}_public_t")
        ditto = await world.streaming()
        world.sql("INSERT INTO t VALUES (2)", "INSERT INTO u VALUES (1)")
        assert await ditto.ended() == 4
        assert f"stream {world.name}_public_u has an entry with this id, or a newer one" in ditto.sentence()
        client.delete(f"{world.name}_public_u")
    await world.streaming()
    await world.fence()
    await world.matches_tables(event_count=3)


async def test_the_place_is_deleted_or_damaged(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    with world.client() as client:
        kept = client.dump(world.state_key)
        client.delete(world.state_key)
        world.sql("INSERT INTO t VALUES (2)")
        failure = await ditto.logged("session.failed", kind="ChainBroken")
        assert "their state is gone" in failure["error"]
        assert await ditto.ended() == 4
        assert "StreamGap" in ditto.output, "nothing is stored after a hole"
        client.restore(world.state_key, 0, kept)
        ditto = await world.streaming()
        await world.fence()
        await world.matches_tables(event_count=2)
        assert await ditto.stop() == 0
        client.hset(world.state_key, "tail", "nonsense")
        ditto = world.ditto()
        assert await ditto.ended() == 4
        assert "field tail of key" in ditto.sentence()


async def test_streams_of_another_slot_are_refused(redis_world: RedisWorld) -> None:
    world = redis_world
    ditto = await world.streaming()
    await world.fence()
    assert await ditto.stop() == 0
    other = world.ditto(postgres_slot=f"{world.name}_other")
    assert await other.ended() == 4
    assert f"belong to slot {world.name}" in other.sentence()
    assert "redis.key_prefix" in other.sentence()


async def test_a_server_that_would_evict(own_redis_world: RedisWorld) -> None:
    world = own_redis_world
    with world.client() as client:
        client.config_set("maxmemory", 100_000_000)
        client.config_set("maxmemory-policy", "allkeys-lru")
        ditto = world.ditto()
        assert await ditto.ended() == 4
        assert "maxmemory-policy allkeys-lru" in ditto.sentence()
        assert "CONFIG SET maxmemory-policy noeviction" in ditto.sentence()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://127.0.0.1:1", "Connection refused"),
        ("unix:///nowhere/redis.sock", "No such file or directory"),
        ("redis://nowhere.test:6379", "cannot be resolved"),
    ],
)
async def test_nobody_answers(redis_world: RedisWorld, url: str, why: str) -> None:
    failure = await redis_world.ditto(redis_url=url).logged("session.failed", kind="SinkLost")
    assert why in failure["error"]
    assert failure["error"].startswith("Redis at ")
    assert "redis.url" in failure["hint"]


async def test_the_oldest_entries_are_trimmed(redis_world: RedisWorld) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(redis_max_length=1000)
    world.sql("INSERT INTO t SELECT generate_series(1, 5000)")
    await world.fence()
    with world.client() as client:
        length = client.xlen(f"{world.name}_public_t")
        assert 1000 <= length <= 1200
        (last,) = client.xrevrange(f"{world.name}_public_t", count=1)
        assert b'"data":{"id":5000}' in last[1][b"data"]
        assert await ditto.stop() == 0
        client.xtrim(f"{world.name}_public_t", maxlen=0)
        client.delete(world.fence_subject)
        ditto = await world.streaming(redis_max_length=1000)
        world.sql("INSERT INTO t VALUES (5001)")
        await world.fence()
        assert client.xlen(f"{world.name}_public_t") == 1, "the tail is not in the streams: nothing comes twice"


async def test_an_event_that_is_too_large(own_redis_world: RedisWorld) -> None:
    world = own_redis_world
    with world.client() as client:
        client.config_set("proto-max-bulk-len", 1_048_576)
    world.sql("CREATE TABLE t (id int PRIMARY KEY, s text, u text)")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1, 'small', ''), (2, repeat('x', 1100000), '')")
    assert await ditto.ended() == 4
    assert "public.t" in ditto.sentence()
    assert "proto-max-bulk-len" in ditto.sentence()
    assert len(await world.messages()) == 1, "what was before it"
    ditto = await world.streaming(events_oversize="strip")
    await world.fence()
    stripped = [event.event for event in await world.events()][1]
    assert stripped["data"] == {"id": 2, "u": ""}
    assert await ditto.stop() == 0
