"""A world whose events go to a stream of RabbitMQ: no NATS anywhere."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import aio_pika
from sinks.rabbitmq_reading import count_of, read_stream

from ditto.lsn import Position
from e2e.sinks.replayed_world import ReplayedWorld, ending
from e2e.world import Stored

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.testing.rabbitmq_server import RabbitMQServer
    from ditto.testing.servers import PostgresServer

_numbers = itertools.count(1)


class RabbitMQWorld(ReplayedWorld):
    """Reads the stream with rstream's client, in the order of its offsets."""

    def __init__(self, postgres: PostgresServer, server: RabbitMQServer, *, name: str, folder: Path) -> None:
        settings = {"DITTO_RABBITMQ_URL": server.url, "DITTO_RABBITMQ_STREAM_NAME": name}
        super().__init__(postgres, name=name, folder=folder, settings=settings)
        self.server = server
        self.vhost, self.stream = "/", name

    async def messages(self) -> list[Stored]:
        """All messages but the marks of sessions: in order of their positions, each once."""
        found = [
            Stored(each.offset, each.subject, Position.parse(each.headers["Ditto-Position"]), each.body, each.headers)
            for each in await read_stream(self.server.port, self.stream, vhost=self.vhost)
            if each.subject != f"{self.name}._checkpoint"
        ]
        positions = [message.position for message in found if "._schema." not in message.subject]
        assert positions == sorted(set(positions)), "each position once, in order"
        return found

    async def message_count(self) -> int:
        return await count_of(self.server.port, self.stream)

    async def has_arrived(self, wanted: bytes) -> bool:
        try:
            last = await read_stream(self.server.port, self.stream, vhost=self.vhost, last=True)
        except (OSError, TimeoutError):
            return False
        return any(wanted in each.body for each in last)

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every message, once all that is committed now has arrived; without fences."""
        await self.fence(timeout_s=timeout_s)
        return [message for message in await self.messages() if message.subject != self.fence_subject]


def rabbitmq_world_on(
    postgres: PostgresServer, server: RabbitMQServer, folder: Path
) -> AbstractContextManager[RabbitMQWorld]:
    """A world on these servers, with a stream of its own."""
    return ending(RabbitMQWorld(postgres, server, name=f"rmq{next(_numbers)}", folder=folder))


class ExchangeWorld(ReplayedWorld):
    """Its exchange has one queue, which is a stream: what was published can be read again and again.

    At least once: the first copies of the messages are in order, and all later ones are copies.
    """

    def __init__(self, postgres: PostgresServer, server: RabbitMQServer, *, name: str, folder: Path) -> None:
        settings = {"DITTO_RABBITMQ_URL": server.amqp_url, "DITTO_RABBITMQ_EXCHANGE_NAME": name}
        super().__init__(postgres, name=name, folder=folder, settings=settings)
        self.server = server
        self.copies = 0

    def is_event(self, message: Stored) -> bool:
        return super().is_event(message) and "._snapshot." not in message.subject

    async def bind(self) -> None:
        """Create exchange and queue."""
        connection = await aio_pika.connect(self.server.amqp_url)
        async with connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(self.name, aio_pika.ExchangeType.TOPIC, durable=True)
            queue = await channel.declare_queue(self.name, durable=True, arguments={"x-queue-type": "stream"})
            await queue.bind(exchange, "#")

    async def messages(self) -> list[Stored]:
        """The first copy of each."""
        found: dict[tuple[str, Position], Stored] = {}
        all_copies = await read_stream(self.server.port, self.name, publisher=None)
        for each in all_copies:
            position = Position.parse(each.headers["Ditto-Position"])
            stored = Stored(each.offset, each.subject, position, each.body, each.headers)
            found.setdefault((each.subject, position), stored)
        self.copies = len(all_copies) - len(found)
        positions = [message.position for message in found.values() if "._schema." not in message.subject]
        assert positions == sorted(set(positions)), "in order"
        return list(found.values())

    async def has_arrived(self, wanted: bytes) -> bool:
        try:
            last = await read_stream(self.server.port, self.name, publisher=None, last=True)
        except (OSError, TimeoutError):
            return False
        return any(wanted in each.body for each in last)

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every message, once all that is committed now has arrived; without fences."""
        await self.fence(timeout_s=timeout_s)
        return [message for message in await self.messages() if message.subject != self.fence_subject]


def exchange_world_on(
    postgres: PostgresServer, server: RabbitMQServer, folder: Path
) -> AbstractContextManager[ExchangeWorld]:
    """A world on these servers, with an exchange of its own."""
    world = ExchangeWorld(postgres, server, name=f"ex{next(_numbers)}", folder=folder)
    asyncio.run(world.bind())
    return ending(world)
