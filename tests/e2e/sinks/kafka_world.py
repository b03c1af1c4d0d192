"""A world whose events go to topics of Kafka: no NATS anywhere."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from sinks.kafka_reading import Consumed, consume

from ditto.formats.payload_prefixes import DESCRIPTION
from ditto.formats.stored_groups import events_in
from ditto.lsn import Position
from e2e.sinks.replayed_world import ReplayedWorld, ending
from e2e.world import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.testing.kafka_server import KafkaServer
    from ditto.testing.servers import PostgresServer


_numbers = itertools.count(1)


class KafkaWorld(ReplayedWorld):
    """Reads the topics of its prefix as a read_committed consumer sees them."""

    def __init__(self, postgres: PostgresServer, kafka: KafkaServer, *, name: str, folder: Path) -> None:
        self.kafka = kafka
        self.checkpoints = f"{name}.checkpoints"
        self.own = f"{name}._ditto"
        settings = {
            "DITTO_KAFKA_BROKERS": kafka.brokers,
            "DITTO_KAFKA_CHECKPOINT_TOPIC": self.checkpoints,
            "DITTO_KAFKA_ACK_TIMEOUT": "3s",
        }
        super().__init__(postgres, name=name, folder=folder, settings=settings)

    async def consumed(self, *, isolation: str = "read_committed") -> list[Consumed]:
        """Events, partition by partition: in each one positions increase strictly, or the test fails."""
        names = [f"{self.name}_public_{table}" for table in self.tables()]
        found = await asyncio.to_thread(consume, self.kafka.brokers, names, isolation=isolation)
        last: dict[tuple[str, int], Position] = {}
        for each in found:
            place, position = each[:2], Position.parse(each.headers["Ditto-Position"])
            assert position > last.get(place, Position(0, 0)), f"{place}: {position} after {last[place]}"
            last[place] = position
        return found

    def tables(self) -> list[str]:
        query = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        return [name for (name,) in self.sql(f"{query} WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')")]

    async def messages(self) -> list[Stored]:
        """All events of all partitions, by position: strictly increasing, or the test fails."""
        found = sorted((stored for each in await self.consumed() for stored in _events_of(each)), key=_position)
        positions = [message.position for message in found]
        assert positions == sorted(set(positions)), "nothing twice"
        return found

    def is_event(self, message: Stored) -> bool:
        """Topics of tables hold nothing else; in other formats an event begins otherwise."""
        return True

    async def descriptions(self) -> list[bytes]:
        found = await asyncio.to_thread(consume, self.kafka.brokers, [self.own])
        return [each.value for each in found if each.value.startswith(DESCRIPTION)]

    async def tail(self) -> Position:
        """As the last record in the topic of checkpoints says."""
        found = await asyncio.to_thread(consume, self.kafka.brokers, [self.checkpoints])
        return Position.parse(json.loads(found[-1].value)["position"]) if found else Position(0, 0)

    async def has_arrived(self, wanted: bytes) -> bool:
        try:
            found = await asyncio.to_thread(consume, self.kafka.brokers, [self.fence_subject])
        except Exception:  # noqa: BLE001  the broker is being started again
            return False
        return any(wanted in each.value for each in found)


def _position(message: Stored) -> Position:
    return message.position


def _events_of(message: Consumed) -> Iterator[Stored]:
    position = Position.parse(message.headers["Ditto-Position"])
    payloads = events_in(message.value, message.headers.get)
    first = int(message.headers.get("Ditto-First", position.ordinal))
    for index, payload in enumerate(payloads):
        place = position._replace(ordinal=first + index) if len(payloads) > 1 else position
        yield Stored(message.offset, message.topic, place, payload, message.headers)


def kafka_world_on(postgres: PostgresServer, kafka: KafkaServer, folder: Path) -> AbstractContextManager[KafkaWorld]:
    """A world on these servers."""
    return ending(KafkaWorld(postgres, kafka, name=f"k{next(_numbers)}", folder=folder))


@contextmanager
def server_ends(server: KafkaServer) -> Iterator[None]:
    """Of one that was started elsewhere."""
    try:
        yield
    finally:
        server.close()
