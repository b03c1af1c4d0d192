"""A world whose events go elsewhere than to NATS, and what every such world asks."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from abc import abstractmethod
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import ditto
from ditto.check.run import run_checks
from ditto.config import Types, load
from ditto.formats.stored_events import read_event
from ditto.sinks.choose import choose_reader
from ditto.source.sql import open_control
from ditto.verify import Replay, compare, read_publication, table_keys
from ditto.verify.tables import copy_for
from e2e.conftest import drop
from e2e.process import POLL_S, eventually
from e2e.world import Stored, World

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ditto.check.finding import Finding
    from ditto.errors import SinkError
    from ditto.lsn import Position
    from ditto.sinks.base import ReadMessage, Start
    from ditto.testing.servers import PostgresServer
    from ditto.verify import Unjudged


class _NoServer:
    url = ""


class ReplayedWorld(World):
    """Asks of another sink what a `World` asks of its stream. `settings` are the sink's own.

    A subclass says how its sink is read: `messages` and `has_arrived`.
    """

    def __init__(self, postgres: PostgresServer, *, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        super().__init__(postgres, _NoServer(), name=name, folder=folder)  # type: ignore[arg-type]
        own = {name: value for name, value in self.settings.items() if not name.startswith("DITTO_NATS_")}
        self.settings = {**own, **settings}

    # ------------------------------------------------------------------------------------ the sink

    @abstractmethod
    async def messages(self) -> list[Stored]:
        """Everything that a consumer sees, in order."""

    @abstractmethod
    async def has_arrived(self, wanted: bytes) -> bool:
        """Whether a message of the table `fence` holds that."""

    def is_event(self, message: Stored) -> bool:
        """Whether it is that of a row."""
        return message.payload.startswith(b'{"id":')

    async def payloads(self) -> list[tuple[bytes, Mapping[str, str]]]:
        """Events of every format as they were sent, with their headers; without fences and what is Ditto's own."""
        return [
            (message.payload, message.headers)
            for message in await self.messages()
            if message.subject != self.fence_subject and "._" not in message.subject
        ]

    async def message_count(self) -> int:
        return len(await self.messages())

    async def holds(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until there are so many messages."""
        deadline = time.monotonic() + timeout_s
        while await self.message_count() < count:
            assert time.monotonic() < deadline, f"fewer than {count} messages after {timeout_s:g} s"
            await asyncio.sleep(POLL_S)

    async def tail(self) -> Position:
        """The position of the last message."""
        return (await self.messages())[-1].position

    async def fence(self, *, timeout_s: float = 30) -> None:
        """Wait until everything that is committed now has arrived."""
        number = self.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        wanted = b'"table":"fence","action":"INSERT","data":{"n":%d}' % number
        deadline = time.monotonic() + timeout_s
        while not await self.has_arrived(wanted):
            assert time.monotonic() < deadline, "\n".join(
                ["the fence has not arrived", *(process.output for process in self._processes)]
            )
            await asyncio.sleep(POLL_S)

    async def catches_up(self, *, timeout_s: float = 60) -> None:
        """Wait until everything that is committed now is stored and confirmed, while others may write on."""
        lsn = int(self.value("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))
        await eventually(lambda: self.confirmed_lsn >= lsn, "everything is confirmed", timeout_s=timeout_s)

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every event, once all that is committed now has arrived; without checkpoints and fences."""
        await self.fence(timeout_s=timeout_s)
        found = [message for message in await self.messages() if self.is_event(message)]
        return [message for message in found if b'"table":"fence"' not in message.payload]

    async def matches_tables(
        self,
        *,
        event_count: int | None = None,
        types: Types | None = None,
        unjudged: Iterable[Unjudged] = (),
        publication: str | None = None,
    ) -> None:
        """The events, replayed, give exactly the tables; there are `event_count` besides the fences."""
        async with open_control(self.dsn) as control:
            published = await read_publication(control, publication or self.name)
            keys = await table_keys(control, published.tables)
            copy = Replay(keys=keys)
            for message in await self.messages():
                if self.is_event(message):
                    event = read_event(message.payload, message.headers.get)
                    name = (event.schema, event.table)
                    table = copy.tables.setdefault(name, copy_for(keys.get(name, ())))
                    table.apply(event, message.position.commit_lsn, f"message {message.position}")
                    copy.events += 1
            result = await compare(control, copy, publication=published, types=types or Types())
            assert result.differences == [], result.differences
            assert result.unjudged == list(unjudged)
        if event_count is not None:
            fence = copy.tables.get(("public", "fence"))
            assert copy.events - (len(fence) if fence else 0) == event_count

    # ------------------------------------------------------------------------------------ commands

    def given(self, settings: Mapping[str, object]) -> dict[str, str]:
        """The environment of a command: `redis_user="ditto"` sets the key `redis.user`, a dict is given as JSON."""
        return self.settings | {
            f"DITTO_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in settings.items()
        }

    def run(self, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
        """A command of Ditto."""
        other = ("DITTO_", "PG", "PYTHON")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(other)}
        return subprocess.run(
            [sys.executable, "-m", "ditto", *arguments],
            env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **self.given(settings)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    async def ends_walsender(self) -> None:
        """End the walsender that serves the slot, whose reader may be frozen.

        Where the connection's buffers are full, PostgreSQL waits for room for its last words, and ends when it is asked
        again. A standby asks again as long as the lease is not renewed.
        """
        pid = self.value(f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{self.name}'")
        query = f"SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE pid = {pid}"
        await eventually(lambda: not self.sql(query), "the walsender ends")

    async def checked(self, **settings: object) -> dict[str, Finding]:
        """What `ditto check` finds: the worst finding of each check."""
        order = {"ok": 0, "warning": 1, "error": 2}
        found = await run_checks(load(None, {}, self.given(settings)))
        return {each.check: each for each in sorted(found, key=lambda each: order[each.level])}

    async def read_from(self, start: Start, **settings: object) -> list[ReadMessage]:
        """What `ditto tail --no-follow` reads."""
        reader = choose_reader(load(None, {}, self.given(settings)))

        def on_lost(error: SinkError) -> None:
            raise error

        async with aclosing(reader.follow(start, is_endless=False, on_lost=on_lost)) as parts:
            return [message async for part in parts for message in part]


AnyWorld = TypeVar("AnyWorld", bound=ReplayedWorld)


@contextmanager
def ending(world: AnyWorld) -> Iterator[AnyWorld]:
    """Its Dittos end afterwards, and its slots are dropped."""
    with ExitStack() as stack:
        stack.callback(drop, world)
        stack.callback(world.close)
        yield world
