"""Redis as a cluster of one node."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from e2e.sinks.redis_world import RedisWorld


async def test_a_cluster(own_redis_world: RedisWorld) -> None:
    """Two nodes: events go to the node that has the keys, whichever is named; without a hash tag it is refused."""
    world = own_redis_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    world.server.stop()
    world.server.settings |= {"cluster-enabled": "yes", "appendonly": "no"}
    world.server.start()
    with world.client() as client:
        refused = world.ditto()
        failure = await _cluster_is_down(refused)
        assert "cluster" in failure
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        deadline = time.monotonic() + 20
        while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < deadline
    refused.kill()
    refused = world.ditto()
    assert await refused.ended() == 4
    assert "redis.key_prefix is ''" in refused.sentence()
    assert 'redis.key_prefix: "{shop}:"' in refused.sentence()
    ditto = await world.streaming(redis_key_prefix="{x}:")
    world.transaction("INSERT INTO t VALUES (1)", "INSERT INTO u VALUES (2)", "INSERT INTO fence DEFAULT VALUES")
    assert world.run("wait", world.value("SELECT pg_current_wal_lsn()::text"), redis_key_prefix="{x}:").returncode == 0
    verified = world.run("verify", redis_key_prefix="{x}:")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert (await world.checked(redis_key_prefix="{x}:"))["redis.cluster"].level == "ok"
    assert await ditto.stop() == 0
    assert (await world.checked())["redis.cluster"].level == "error"


async def _cluster_is_down(ditto: Any) -> str:
    failure = await ditto.logged("session.failed")
    return str(failure["error"])
