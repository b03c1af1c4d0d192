"""Reads what Ditto stores in Redis, Kafka and RabbitMQ while it stores it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import KafkaException
from sinks.kafka_reading import consume
from sinks.rabbitmq_reading import read_stream

from ditto.lsn import Position
from e2e.sinks.file_world import FileWorld
from e2e.sinks.kafka_world import KafkaWorld
from e2e.sinks.rabbitmq_world import RabbitMQWorld
from e2e.sinks.redis_world import RedisWorld
from e2e.snapshots.oracle import Message
from e2e.snapshots.recording import FileRecording, Recording

if TYPE_CHECKING:
    from e2e.sinks.replayed_world import ReplayedWorld


def recording_of(world: ReplayedWorld) -> Recording:
    """The one for its sink."""
    if isinstance(world, KafkaWorld):
        return KafkaRecording(world)
    if isinstance(world, RedisWorld):
        return RedisRecording(world)
    if isinstance(world, RabbitMQWorld):
        return RabbitMQRecording(world)
    assert isinstance(world, FileWorld)
    return FileRecording(world)


class RedisRecording(Recording):
    """Of the streams of a world."""

    def __init__(self, world: RedisWorld) -> None:
        super().__init__()
        self._world = world
        self._last = (0, 0)

    async def read_on(self) -> None:
        """Up to the tail; as far as it comes when the server goes away."""
        found = []
        with self._world.client() as client:
            state: Any = client.hget(self._world.state_key, "tail")
            if state is None:
                return
            lsn, ordinal = map(int, json.loads(state)["id"].split("-"))
            end = lsn, ordinal
            if end <= self._last:
                return
            for stream in self._world.streams():
                if "._schema." in stream:
                    continue
                after = "{}-{}".format(*self._last)
                for raw, fields in client.xrange(stream, f"({after}", "{}-{}".format(*end)):
                    lsn, ordinal = map(int, raw.split(b"-"))
                    found.append((lsn, ordinal, fields))
        self._last = end
        for lsn, ordinal, fields in sorted(found, key=lambda each: each[:2]):
            run = fields.get(b"Ditto-Snapshot")
            event = msgspec.json.decode(fields[b"data"])
            number = len(self.messages) + 1
            self.add(Message(number, Position(lsn, ordinal), event, run.decode() if run else None))


class KafkaRecording(Recording):
    """Of the topics of a world, as a read_committed consumer sees them.

    Partitions come one after the other: the messages are in order once everything has been read.
    """

    def __init__(self, world: KafkaWorld) -> None:
        super().__init__()
        self._world = world
        self._next: dict[tuple[str, int], int] = {}

    async def read_on(self) -> None:
        """Up to the end of each partition; as far as it comes when the broker goes away."""
        topics = [self._world.own, *(f"{self._world.name}_public_{table}" for table in self._world.tables())]
        with suppress(KafkaException):
            for each in await asyncio.to_thread(consume, self._world.kafka.brokers, topics, after=self._next):
                self._next[each.topic, each.partition] = each.offset + 1
                if (position := each.headers.get("Ditto-Position")) is not None:
                    event, run = msgspec.json.decode(each.value), each.headers.get("Ditto-Snapshot")
                    self.add(Message(each.offset, Position.parse(position), event, run))
        self.messages.sort(key=lambda message: message.position)


class RabbitMQRecording(Recording):
    """Of the stream of a world."""

    def __init__(self, world: RabbitMQWorld) -> None:
        super().__init__()
        self._world = world
        self._offset = 0

    async def read_on(self) -> None:
        """Up to the last message."""
        world = self._world
        for each in await read_stream(world.server.port, world.name, begin=self._offset):
            self._offset = each.offset + 1
            position = each.headers.get("Ditto-Position")
            if position is None or "._schema." in each.subject:
                continue
            number, event = len(self.messages) + 1, msgspec.json.decode(each.body)
            self.add(Message(number, Position.parse(position), event, each.headers.get("Ditto-Snapshot")))
