"""`ditto run` into places other than JetStream, each draining a slot as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self

import redis.asyncio
from confluent_kafka import Consumer, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.contenders import Drain, Ending, Task, WrongCount, stop
from benchmarks.metering import Meter, peak_rss_bytes
from benchmarks.servers import ReplicationLog
from ditto.testing.kafka_server import KafkaServer
from ditto.testing.process import ServerProcess, free_port
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
        """About how many events are there by now; cheap where many are."""

    async def exact_count(self, prefix: str) -> int:
        """How many events are there, now that Ditto has ended."""

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
        count = await place.exact_count(prefix)
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

    exact_count = count

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

    exact_count = count

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        del prefix
        async with redis.asyncio.Redis.from_url(self._server.url) as client:
            await client.flushall()


class Kafka:
    """Topics with 3 partitions on one broker."""

    name = "kafka"

    def __init__(self, server: KafkaServer) -> None:
        self._server = server
        self._admin = AdminClient({"bootstrap.servers": server.brokers, "log_level": 0})

    @property
    def pid(self) -> int:
        """See `Place`."""
        return self._server.pid

    def environment(self, prefix: str) -> Mapping[str, str]:
        """See `Place`."""
        del prefix
        return {"DITTO_KAFKA_BROKERS": self._server.brokers}

    async def count(self, prefix: str) -> int:
        """How many offsets below `read_committed` ends: the marks of transactions too, 3 for some 4,000 events."""
        return await asyncio.to_thread(self._count, prefix)

    def _count(self, prefix: str) -> int:
        known = self._admin.list_topics(timeout=10).topics
        places = [
            TopicPartition(name, number)
            for name in known
            if name.startswith(f"{prefix}_")
            for number in known[name].partitions
        ]
        if not places:
            return 0
        asked = {place: OffsetSpec.latest() for place in places}
        found = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
        return sum(each.result().offset for each in found.values())

    async def exact_count(self, prefix: str) -> int:
        """What a consumer reads that reads committed messages."""
        return await asyncio.to_thread(self._consume, prefix)

    def _consume(self, prefix: str) -> int:
        given = {"bootstrap.servers": self._server.brokers, "group.id": "bench", "log_level": 0}
        consumer: Any = Consumer({**given, "enable.auto.commit": False, "enable.partition.eof": True})
        known = consumer.list_topics(timeout=10).topics
        left = {(name, number) for name in known if name.startswith(f"{prefix}_") for number in known[name].partitions}
        consumer.assign([TopicPartition(*place, 0) for place in left])
        found = 0
        while left:
            for each in consumer.consume(10_000, 0.1):
                if each.error() is None:
                    found += 1
                else:
                    left.discard((each.topic(), each.partition()))
        consumer.close()
        return found

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        del prefix
        names = [name for name in self._admin.list_topics(timeout=10).topics if not name.startswith("__")]
        for future in self._admin.delete_topics(names).values():
            await asyncio.to_thread(future.result)


class Webhook:
    """A receiver in a process of its own, which counts the events of each request (`webhook_receiver`)."""

    name = "webhook"

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        self._path = folder / "webhook"
        self._process = ServerProcess(
            [sys.executable, "-m", "benchmarks.webhook_receiver", str(self._port), self._path],
            name="the receiver",
            log_path=folder / "webhook.log",
            last_signal=signal.SIGKILL,
        )
        self._before = 0

    def __enter__(self) -> Self:
        self._process.wait_until(self._path.exists, timeout_s=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.end(signal.SIGKILL)

    @property
    def pid(self) -> int:
        """See `Place`."""
        return self._process.pid

    def environment(self, prefix: str) -> Mapping[str, str]:
        """See `Place`."""
        del prefix
        url = f"http://127.0.0.1:{self._port}/events"
        return {"DITTO_WEBHOOK_URL": url, "DITTO_WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}

    async def count(self, prefix: str) -> int:
        """Of the requests since the last `empty`."""
        del prefix
        return int(self._path.read_text() or 0) - self._before

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        self._before += await self.count(prefix)

    exact_count = count
