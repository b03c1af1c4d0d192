"""`ditto run` into places other than JetStream, each draining a slot as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import redis.asyncio
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.contenders import Drain, Ending, Task, WrongCount, stop
from benchmarks.metering import Meter, peak_rss_bytes
from benchmarks.servers import ReplicationLog
from ditto.testing.kafka_server import KafkaServer
from ditto.testing.redis_server import RedisServer

_DEADLINE_S: Final = 600.0
_POLL_S: Final = 0.01
_CHUNK: Final = 1 << 22


class Place(Protocol):
    """Where events go, seen from outside."""

    @property
    def name(self) -> str: ...

    @property
    def pid(self) -> int | None:
        """Of the server; None where there is none."""

    def environment(self, prefix: str) -> Mapping[str, str]:
        """What leads Ditto there."""

    async def count(self, prefix: str) -> int:
        """How many events are there by now; cheap where many are."""

    async def empty(self, prefix: str) -> None:
        """Remove them."""


class DittoInto:
    """Into one of them; the last moment is when the last event is seen there, within 10 ms."""

    def __init__(self, place: Place) -> None:
        self.name = place.name
        self._place = place

    async def drain(self, task: Task) -> Drain:
        """See `contenders.Contender`."""
        place, prefix = self._place, task.slot
        log = ReplicationLog(task.transport.server.log_path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ditto", "run", "--log-level", "warning"),
            *("--dsn", task.transport.dsn, "--slot", task.slot, "--publication", task.publication),
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "DITTO_EVENTS_PREFIX": prefix, **place.environment(prefix)},
            stdout=DEVNULL,
        )
        async with Ending(process):
            started_at, walsender_pid = await log.started(task.slot)
            client, walsender = Meter(process.pid), Meter(walsender_pid)
            server = None if place.pid is None else Meter(place.pid)
            async with asyncio.timeout(_DEADLINE_S):
                while await place.count(prefix) < task.events:
                    _check_runs(process)
                    await asyncio.sleep(_POLL_S)
            ended_at = time.time()
            cpu_s = client.read(), walsender.read(), 0.0 if server is None else server.read()
            peak = peak_rss_bytes(process.pid)
            await stop(process)
        count = await place.count(prefix)
        if count != task.events:
            raise WrongCount(f"{place.name} holds {count} events where {task.events} were written")
        await place.empty(prefix)
        return Drain(ended_at - started_at, *cpu_s, peak)


def _check_runs(process: Process) -> None:
    if process.returncode is not None:
        raise RuntimeError(f"ditto ended with exit code {process.returncode}")


class File:
    """A file that is synchronised before its lines are acknowledged, as ever."""

    name = "file"
    pid = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] = {}

    def environment(self, prefix: str) -> Mapping[str, str]:
        """See `Place`."""
        return {"DITTO_FILE_PATH": str(self._path(prefix))}

    async def count(self, prefix: str) -> int:
        """Lines that are no checkpoints."""
        offset, found = self._seen.get(prefix, (0, 0))
        if self._path(prefix).exists():
            with self._path(prefix).open("rb") as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK):
                    whole = chunk[: chunk.rfind(b"\n") + 1]
                    if not whole:
                        break
                    found += whole.count(b"\n") - whole.count(b'\n{"lsn":') - whole.startswith(b'{"lsn":')
                    offset += len(whole)
                    file.seek(offset)
        self._seen[prefix] = offset, found
        return found

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        self._path(prefix).unlink()
        del self._seen[prefix]

    def _path(self, prefix: str) -> Path:
        return self._folder / f"{prefix}.jsonl"


class Redis:
    """Streams of a server with the append-only file, synchronised every second."""

    name = "redis"

    def __init__(self, server: RedisServer) -> None:
        self._server = server

    @property
    def pid(self) -> int:
        """See `Place`."""
        return self._server.pid

    def environment(self, prefix: str) -> Mapping[str, str]:
        """See `Place`."""
        del prefix
        return {"DITTO_REDIS_URL": self._server.url}

    async def count(self, prefix: str) -> int:
        """Entries of the tables' streams."""
        async with redis.asyncio.Redis.from_url(self._server.url) as client:
            streams = await client.smembers(f"ditto:{prefix}:streams")
            return sum([await client.xlen(stream) for stream in streams])

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        del prefix
        async with redis.asyncio.Redis.from_url(self._server.url) as client:
            await client.flushall()


class Kafka:
    """Topics with 3 partitions on one broker, counted by a consumer that reads committed messages."""

    name = "kafka"

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        self._consumers: dict[str, tuple[Any, set[str]]] = {}
        self._counts: dict[str, int] = {}

    @property
    def pid(self) -> int:
        """See `Place`."""
        return self._server.pid

    def environment(self, prefix: str) -> Mapping[str, str]:
        """See `Place`."""
        del prefix
        return {"DITTO_KAFKA_BROKERS": self._server.brokers}

    async def count(self, prefix: str) -> int:
        """What the consumer has seen so far."""
        return await asyncio.to_thread(self._count, prefix)

    def _count(self, prefix: str) -> int:
        given = {"bootstrap.servers": self._server.brokers, "group.id": "bench", "log_level": 0}
        if prefix not in self._consumers:
            self._consumers[prefix] = Consumer({**given, "enable.auto.commit": False}), set()
        consumer, seen = self._consumers[prefix]
        if not seen:
            known = consumer.list_topics(timeout=10).topics
            seen |= {name for name in known if name.startswith(f"{prefix}_")}
            consumer.assign([TopicPartition(name, number, 0) for name in seen for number in known[name].partitions])
        if seen:
            found = sum(1 for each in consumer.consume(10_000, 0.01) if each.error() is None)
            self._counts[prefix] = self._counts.get(prefix, 0) + found
        return self._counts.get(prefix, 0)

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        consumer, _ = self._consumers.pop(prefix)
        del self._counts[prefix]
        consumer.close()
        admin = AdminClient({"bootstrap.servers": self._server.brokers})
        names = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
        for future in admin.delete_topics(names).values():
            await asyncio.to_thread(future.result)
