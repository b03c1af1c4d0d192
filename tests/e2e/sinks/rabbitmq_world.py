"""A world whose events go to a stream of RabbitMQ: no NATS anywhere."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

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
