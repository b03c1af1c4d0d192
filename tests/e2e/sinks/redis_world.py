"""A world whose events go to streams of Redis: no NATS anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

import redis

from ditto.check.run import run_checks
from ditto.config import Types, load
from ditto.formats.stored_events import read_event
from ditto.lsn import Position
from ditto.sinks.choose import choose_reader
from ditto.source.sql import open_control
from ditto.verify import Replay, compare, read_publication, table_keys
from ditto.verify.tables import copy_for
from e2e.process import POLL_S
from e2e.world import Stored, World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ditto.check.finding import Finding
    from ditto.errors import SinkError
    from ditto.sinks.base import ReadMessage, Start
    from ditto.testing.redis_server import RedisServer
    from ditto.testing.servers import PostgresServer
    from ditto.verify import Unjudged

COUNT = 5000


class _NoServer:
    url = ""


class RedisWorld(World):
    """Asks of the streams what a `World` asks of its stream, as a consumer reads them: XREAD from 0."""

    def __init__(self, postgres: PostgresServer, server: RedisServer, *, name: str, folder: Path) -> None:
        super().__init__(postgres, _NoServer(), name=name, folder=folder)  # type: ignore[arg-type]
        self.server = server
        self.password: str | None = None
        self.settings = {name: value for name, value in self.settings.items() if not name.startswith("DITTO_NATS_")} | {
            "DITTO_REDIS_URL": server.url
        }

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url, password=self.password)

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """A command of Ditto."""
        given = {
            f"DITTO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in settings.items()
        }
        return subprocess.run(
            [sys.executable, "-m", "ditto", *arguments],
            env={**os.environ, **self.settings, **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    async def checked(self, **settings: object) -> dict[str, Finding]:
        """What `ditto check` finds: the worst finding of each check."""
        given = {
            f"DITTO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in settings.items()
        }
        order = {"ok": 0, "warning": 1, "error": 2}
        found = await run_checks(load(None, {}, {**self.settings, **given}))
        return {each.check: each for each in sorted(found, key=lambda each: order[each.level])}

    async def read_from(self, start: Start) -> list[ReadMessage]:
        """What `ditto tail --no-follow` reads."""
        reader = choose_reader(load(None, {}, self.settings))

        def on_lost(error: SinkError) -> None:
            raise error

        async with aclosing(reader.follow(start, is_endless=False, on_lost=on_lost)) as parts:
            return [message async for part in parts for message in part]

    @property
    def state_key(self) -> str:
        return f"ditto:{self.name}:checkpoint"

    def streams(self) -> list[str]:
        with self.client() as client:
            return sorted(
                key.decode() for key in client.scan_iter(match=f"{self.name}[_.]*", _type="stream", count=1000)
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

    async def holds(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until the streams have `count` entries together."""
        deadline = time.monotonic() + timeout_s
        while await self.message_count() < count:
            assert time.monotonic() < deadline, f"the streams do not hold {count} after {timeout_s:g} s"
            await asyncio.sleep(POLL_S)

    async def tail(self) -> Position:
        """The position of the last entry."""
        return (await self.messages())[-1].position

    async def fence(self, *, timeout_s: float = 30) -> None:
        """Wait until everything that is committed now has arrived."""
        number = self.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        wanted = b'"table":"fence","action":"INSERT","data":{"n":%d}' % number

        def has_arrived() -> bool:
            try:
                with self.client() as client:
                    last = client.xrevrange(self.fence_subject, count=10)
            except redis.RedisError:
                return False
            return any(wanted in fields[b"data"] for _, fields in last)

        deadline = time.monotonic() + timeout_s
        while not has_arrived():
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
        """The entries, replayed, give exactly the tables; and they hold `event_count` events besides the fences."""
        async with open_control(self.dsn) as control:
            published = await read_publication(control, publication or self.name)
            keys = await table_keys(control, published.tables)
            copy = Replay(keys=keys)
            for message in await self.messages():
                if message.payload.startswith(b'{"id":'):
                    event = read_event(message.payload)
                    name = (event.schema, event.table)
                    table = copy.tables.setdefault(name, copy_for(keys.get(name, ())))
                    table.apply(event, message.position.commit_lsn, f"entry {message.position}")
                    copy.events += 1
            result = await compare(control, copy, publication=published, types=types or Types())
            assert result.differences == [], result.differences
            assert result.unjudged == list(unjudged)
        if event_count is not None:
            fence = copy.tables.get(("public", "fence"))
            assert copy.events - (len(fence) if fence else 0) == event_count
