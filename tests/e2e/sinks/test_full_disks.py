"""The file system of a broker is full: nothing is lost and nothing comes twice, whatever the broker does then.

Needs the right to mount a file system. A file on a full one is in `test_file`, RabbitMQ's alarm for disk space, which
comes before its disk is full, in `test_rabbitmq_alarms`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest

from ditto.testing.kafka_server import KafkaServer
from ditto.testing.redis_server import RedisServer
from e2e.faults.test_disk_full import mount, small_disk
from e2e.process import eventually
from e2e.sinks.kafka_world import kafka_world_on
from e2e.sinks.redis_world import redis_world_on

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from e2e.sinks.replayed_world import ReplayedWorld

__all__ = ["small_disk"]
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

ROWS = 100_000


def write(world: ReplayedWorld) -> None:
    """40 MB, in a hundred transactions."""
    for first in range(1, ROWS, 1000):
        world.sql(f"INSERT INTO t SELECT n, repeat('x', 300) FROM generate_series({first}, {first + 999}) AS n")


async def test_the_disk_of_redis_is_full(shared_postgres: PostgresServer, small_disk: Path, tmp_path: Path) -> None:
    """Redis then refuses what is written; with appendfsync always it would end instead."""
    server = RedisServer(small_disk / "redis", settings={"appendfsync": "everysec", "save": '""'})
    with server, redis_world_on(shared_postgres, server, tmp_path) as world:
        world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
        ditto = await world.streaming()
        write(world)
        failure = await ditto.logged("session.failed", kind="NotNow", count=2, timeout_s=60)
        assert "disk" in failure["error"] + failure["hint"]
        assert ditto.is_running
        mount("-o", "remount,size=1g", small_disk)
        await world.fence(timeout_s=60)
        await world.matches_tables(event_count=ROWS)
        assert await ditto.stop() == 0


async def test_the_disk_of_kafka_is_full(shared_postgres: PostgresServer, small_disk: Path, tmp_path: Path) -> None:
    """The broker ends by itself, and is started again when there is room."""
    mount("-o", "remount,size=24m", small_disk)
    with (
        KafkaServer(small_disk / "kafka") as server,
        kafka_world_on(shared_postgres, server, tmp_path) as world,
    ):
        world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
        ditto, pid = await world.streaming(kafka_ack_timeout="2s"), server.pid
        write(world)
        await eventually(
            lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie",
            "the broker has ended",
            timeout_s=90,
        )
        await ditto.logged("session.failed", timeout_s=60)
        assert ditto.is_running
        mount("-o", "remount,size=1g", small_disk)
        server.kill()
        await asyncio.to_thread(server.start)
        await world.fence(timeout_s=120)
        await world.matches_tables(event_count=ROWS)
        assert await ditto.stop() == 0
