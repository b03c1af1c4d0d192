"""A world whose events go to topics of Kafka: no NATS anywhere."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from sinks.kafka_reading import Consumed, consume

from ditto.config import Types
from ditto.formats.stored_events import read_event
from ditto.formats.stored_groups import events_in
from ditto.lsn import Position
from ditto.source.sql import open_control
from ditto.verify import Replay, compare, read_publication, table_keys
from ditto.verify.tables import copy_for
from e2e.conftest import _drop_slots
from e2e.process import POLL_S
from e2e.world import Stored, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ditto.testing.kafka_server import KafkaServer
    from ditto.testing.servers import PostgresServer
    from ditto.verify import Unjudged


_numbers = itertools.count(1)


class _NoServer:
    url = ""


class KafkaWorld(World):
    """Asks of the topics of its prefix what a `World` asks of its stream, as a read_committed consumer sees them."""

    def __init__(self, postgres: PostgresServer, kafka: KafkaServer, *, name: str, folder: Path) -> None:
        super().__init__(postgres, _NoServer(), name=name, folder=folder)  # type: ignore[arg-type]
        self.kafka = kafka
        self.checkpoints = f"{name}.checkpoints"
        self.own = f"{name}._ditto"
        self.settings = {name: value for name, value in self.settings.items() if not name.startswith("DITTO_NATS_")} | {
            "DITTO_KAFKA_BROKERS": kafka.brokers,
            "DITTO_KAFKA_CHECKPOINT_TOPIC": self.checkpoints,
            "DITTO_KAFKA_ACK_TIMEOUT": "3s",
        }

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

    async def message_count(self) -> int:
        return len(await self.messages())

    async def holds(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until there are so many events."""
        deadline = time.monotonic() + timeout_s
        while await self.message_count() < count:
            assert time.monotonic() < deadline, f"fewer than {count} messages after {timeout_s:g} s"
            await asyncio.sleep(POLL_S)

    async def tail(self) -> Position:
        """As the last record in the topic of checkpoints says."""
        found = await asyncio.to_thread(consume, self.kafka.brokers, [self.checkpoints])
        return Position.parse(json.loads(found[-1].value)["position"]) if found else Position(0, 0)

    async def fence(self, *, timeout_s: float = 30) -> None:
        """Wait until everything that is committed now has arrived."""
        number = self.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        wanted = b'"table":"fence","action":"INSERT","data":{"n":%d}' % number
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                found = await asyncio.to_thread(consume, self.kafka.brokers, [self.fence_subject])
            except Exception:  # the broker is being started again
                if time.monotonic() > deadline:
                    raise
                found = []
            if any(wanted in each.value for each in found):
                return
            assert time.monotonic() < deadline, "\n".join(
                ["the fence has not arrived", *(process.output for process in self._processes)]
            )
            await asyncio.sleep(POLL_S)

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every event, once all that is committed now has arrived; without fences."""
        await self.fence(timeout_s=timeout_s)
        return [message for message in await self.messages() if message.subject != self.fence_subject]

    async def matches_tables(
        self,
        *,
        event_count: int | None = None,
        types: Types | None = None,
        unjudged: Iterable[Unjudged] = (),
        publication: str | None = None,
    ) -> None:
        """The events, replayed by position, give exactly the tables; there are `event_count` besides the fences."""
        async with open_control(self.dsn) as control:
            published = await read_publication(control, publication or self.name)
            keys = await table_keys(control, published.tables)
            copy = Replay(keys=keys)
            for message in await self.messages():
                event = read_event(message.payload, message.headers.get)
                name = (event.schema, event.table)
                table = copy.tables.setdefault(name, copy_for(keys.get(name, ())))
                table.apply(event, message.position.commit_lsn, f"offset {message.sequence}")
                copy.events += 1
            result = await compare(control, copy, publication=published, types=types or Types())
            assert result.differences == [], result.differences
            assert result.unjudged == list(unjudged)
        if event_count is not None:
            fence = copy.tables.get(("public", "fence"))
            assert copy.events - (len(fence) if fence else 0) == event_count


def _position(message: Stored) -> Position:
    return message.position


def _events_of(message: Consumed) -> Iterator[Stored]:
    position = Position.parse(message.headers["Ditto-Position"])
    payloads = events_in(message.value, message.headers.get)
    first = int(message.headers.get("Ditto-First", position.ordinal))
    for index, payload in enumerate(payloads):
        place = position._replace(ordinal=first + index) if len(payloads) > 1 else position
        yield Stored(message.offset, message.topic, place, payload, message.headers)


@contextmanager
def kafka_world_on(postgres: PostgresServer, kafka: KafkaServer, folder: Path) -> Iterator[KafkaWorld]:
    """A world on these servers."""
    world = KafkaWorld(postgres, kafka, name=f"k{next(_numbers)}", folder=folder)
    with ExitStack() as stack:
        stack.callback(_drop_slots, world)
        stack.callback(world.close)
        yield world


@contextmanager
def server_ends(server: KafkaServer) -> Iterator[None]:
    """Of one that was started elsewhere."""
    try:
        yield
    finally:
        server.__exit__()
