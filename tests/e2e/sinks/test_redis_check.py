"""`ditto check` with Redis: each fault is found, and what it prints fixes it."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from ditto.testing.redis_server import RedisServer

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.check.finding import Finding
    from e2e.sinks.redis_world import RedisWorld

POINTS = {
    *(f"redis.{each}" for each in ("connect", "credentials", "version", "role", "cluster", "maxmemory_policy")),
    *(f"redis.{each}" for each in ("memory", "persistence", "permissions", "streams")),
    "keyspace.tail",
}


async def test_nothing_is_found_where_all_is_well_and_nothing_is_changed(either_world: RedisWorld) -> None:
    world = either_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert "both new" in (await world.checked())["keyspace.tail"].what
    with world.client() as client:
        assert client.keys() == [], "nothing is changed"
    ditto = await world.streaming()
    await world.fence()
    found = await world.checked()
    levels = {name: each.level for name, each in found.items() if name.startswith("redis") and each.level != "ok"}
    assert levels == {}
    assert await ditto.stop() == 0
    found = await world.checked()
    assert set(found) >= POINTS, POINTS - set(found)
    assert found["keyspace.tail"].what.startswith("the slot is not after the keyspace's tail (")
    assert not [check for check in found if check.startswith(("nats", "stream"))]


async def test_a_server_that_cannot_be_reached(redis_world: RedisWorld) -> None:
    found = await redis_world.checked(redis_url="redis://:hushhush@127.0.0.1:1")
    assert found["redis.connect"].level == "error"
    assert "Connection refused" in found["redis.connect"].what


def fix(finding: Finding) -> None:
    """Enter what is printed."""
    assert finding.fix_in == "shell"
    assert finding.fix is not None
    subprocess.run(shlex.split(finding.fix), check=True, capture_output=True)


async def test_settings_that_lose_events(own_redis_world: RedisWorld, tmp_path: Path) -> None:
    world = own_redis_world
    with world.client() as client:
        for setting, value, check, level in (
            ("appendonly", "no", "redis.persistence", "error"),
            ("appendfsync", "no", "redis.persistence", "warning"),
            ("maxmemory-policy", "allkeys-lru", "redis.maxmemory_policy", "warning"),
        ):
            client.config_set(setting, value)
            found = await world.checked()
            assert found[check].level == level, setting
            fix(found[check])
            assert (await world.checked())[check].level == "ok", setting
        client.config_set("appendfsync", "everysec")
        finding = (await world.checked())["redis.persistence"]
        assert (finding.level, finding.fix) == ("warning", "delivery: {confirm_delay: 2s}")
        assert (await world.checked(delivery_confirm_delay="2s"))["redis.persistence"].level == "ok"
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", 50_000_000)
        finding = (await world.checked())["redis.maxmemory_policy"]
        assert finding.level == "error"
        fix(finding)
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.1))
        finding = (await world.checked())["redis.memory"]
        assert finding.level == "warning"
        fix(finding)
        assert (await world.checked())["redis.memory"].level == "ok"
        with RedisServer(tmp_path / "replica", settings={"replicaof": f"127.0.0.1 {world.server.port}"}) as replica:
            finding = (await world.checked(redis_url=replica.url))["redis.role"]
            assert f"is a replica of 127.0.0.1:{world.server.port}" in finding.what
            assert finding.fix == f"redis: {{url: redis://127.0.0.1:{world.server.port}}}"


@pytest.mark.parametrize("kind", ["another type", "another stream", "entries of others"])
async def test_keys_in_the_way(redis_world: RedisWorld, kind: str) -> None:
    world = redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    stream = f"{world.name}_public_t"
    with world.client() as client:
        if kind == "another type":
            client.set(stream, "x")
        elif kind == "another stream":
            client.xadd(stream, {"x": "y"})
        else:
            ditto = await world.streaming()
            world.sql("INSERT INTO t VALUES (1)")
            await world.fence()
            assert await ditto.stop() == 0
            client.xadd(stream, {"x": "y"})
    found = (await world.checked())["redis.streams"]
    assert found.level == "error"
    assert stream in found.what
