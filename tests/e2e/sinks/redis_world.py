"""A world whose events go to streams of Redis: no NATS anywhere."""

from __future__ import annotations

import itertools
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import redis

from ditto.lsn import Position
from e2e.sinks.replayed_world import ReplayedWorld, ending
from e2e.world import Stored

if TYPE_CHECKING:
    from pathlib import Path

    from ditto.testing.redis_server import RedisServer
    from ditto.testing.servers import PostgresServer

COUNT = 5000
_numbers = itertools.count(1)


class RedisWorld(ReplayedWorld):
    """Reads the streams as a consumer does: XREAD from 0."""

    def __init__(self, postgres: PostgresServer, server: RedisServer, *, name: str, folder: Path) -> None:
        super().__init__(postgres, name=name, folder=folder, settings={"DITTO_REDIS_URL": server.url})
        self.server = server
        self.password: str | None = None
        self.key_prefix = ""

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url, password=self.password)

    @property
    def state_key(self) -> str:
        return f"ditto:{self.name}:checkpoint"

    def streams(self) -> list[str]:
        with self.client() as client:
            return sorted(
                key.decode()
                for key in client.scan_iter(match=f"{self.key_prefix}{self.name}[_.]*", _type="stream", count=1000)
            )

    async def messages(self) -> list[Stored]:
        """All entries, in order of their ids, which are unique but for descriptions of tables."""
        found: list[Stored] = []
        with self.client() as client:
            for stream in self.streams():
                after = "0"
                while answer := client.xread({stream: after}, count=COUNT):
                    for raw, fields in answer[0][1]:
                        after = raw.decode()
                        lsn, ordinal = map(int, after.split("-"))
                        headers = {name.decode(): value.decode() for name, value in fields.items() if name != b"data"}
                        found.append(Stored(0, stream, Position(lsn, ordinal), fields[b"data"], headers))
        found.sort(key=lambda message: message.position)
        positions = [message.position for message in found if "._schema." not in message.subject]
        assert positions == sorted(set(positions)), "each position once"
        return found

    async def message_count(self) -> int:
        with self.client() as client:
            return sum(client.xlen(stream) for stream in self.streams())

    async def has_arrived(self, wanted: bytes) -> bool:
        try:
            with self.client() as client:
                last = client.xrevrange(f"{self.key_prefix}{self.fence_subject}", count=10)
        except redis.RedisError:
            return False
        return any(wanted in fields[b"data"] for _, fields in last)

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every message, once all that is committed now has arrived; without fences."""
        await self.fence(timeout_s=timeout_s)
        return [message for message in await self.messages() if not message.subject.endswith(self.fence_subject)]


def redis_world_on(postgres: PostgresServer, server: RedisServer, folder: Path) -> AbstractContextManager[RedisWorld]:
    """A world on these servers."""
    return ending(RedisWorld(postgres, server, name=f"r{next(_numbers)}", folder=folder))
