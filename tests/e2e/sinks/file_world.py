"""A world whose events go to a file: no NATS anywhere."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ditto.config import Types
from ditto.decoding.event_id import event_key, position_of
from ditto.formats.checkpoint import decode_checkpoint
from ditto.formats.stored_events import read_event
from ditto.lsn import Position
from ditto.source.sql import open_control
from ditto.verify import Replay, compare, read_publication, table_keys
from ditto.verify.tables import copy_for
from e2e.process import POLL_S, eventually
from e2e.world import Stored, World

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from ditto.verify import Unjudged


class _NoServer:
    url = ""


class FileWorld(World):
    """Asks of the file `path` what a `World` asks of its stream."""

    def __init__(self, postgres: PostgresServer, *, name: str, folder: Path) -> None:
        super().__init__(postgres, _NoServer(), name=name, folder=folder)  # type: ignore[arg-type]
        self.path = folder / "events.jsonl"
        self.settings = {name: value for name, value in self.settings.items() if not name.startswith("DITTO_NATS_")} | {
            "DITTO_FILE_PATH": str(self.path)
        }
        system = self.value("SELECT system_identifier FROM pg_control_system()")
        self.key = event_key(str(system), self.name)

    def lines(self) -> list[bytes]:
        """The complete ones."""
        content = self.path.read_bytes() if self.path.exists() else b""
        return content.split(b"\n")[:-1]

    def stored(self, lines: Iterable[bytes]) -> list[Stored]:
        """With the positions that their ids give."""
        found: list[Stored] = []
        position = Position(0, 0)
        for number, line in enumerate(lines, 1):
            if line.startswith(b'{"lsn":'):
                position = decode_checkpoint(line).checkpoint.position
            elif line.startswith(b'{"id":"'):
                given = position_of(line[7:43], self.key)
                assert given is not None, line[:60]
                position = given
            found.append(Stored(number, "", position, line))
        return found

    async def messages(self) -> list[Stored]:
        """All lines, checkpoints included. Their positions increase strictly, or the test fails."""
        found = self.stored(self.lines())
        positions = [message.position for message in found if not message.payload.startswith(b'{"schema":')]
        assert positions == sorted(set(positions)), "positions increase strictly"
        return found

    async def message_count(self) -> int:
        return len(self.lines())

    async def holds(self, count: int, *, timeout_s: float = 30) -> None:
        """Wait until the file has `count` lines."""
        await eventually(lambda: len(self.lines()) >= count, f"the file has {count} lines", timeout_s=timeout_s)

    async def tail(self) -> Position:
        """The position of the last line."""
        return (await self.messages())[-1].position

    async def fence(self, *, timeout_s: float = 30) -> None:
        """Wait until everything that is committed now has arrived."""
        number = self.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        wanted = b'"table":"fence","action":"INSERT","data":{"n":%d}' % number
        deadline = time.monotonic() + timeout_s
        offset = 0
        while True:
            if self.path.exists():
                with self.path.open("rb") as file:
                    file.seek(max(0, offset - len(wanted)))
                    content = file.read()
                if wanted in content:
                    return
                offset = max(0, offset - len(wanted)) + len(content)
            assert time.monotonic() < deadline, "\n".join(
                ["the fence has not arrived", *(process.output for process in self._processes)]
            )
            await asyncio.sleep(POLL_S)

    async def events(self, *, timeout_s: float = 30) -> list[Stored]:
        """Every event, once all that is committed now has arrived; without checkpoints and fences."""
        await self.fence(timeout_s=timeout_s)
        found = [message for message in await self.messages() if message.payload.startswith(b'{"id":')]
        return [message for message in found if message.event["table"] != "fence"]

    async def matches_tables(
        self,
        *,
        event_count: int | None = None,
        types: Types | None = None,
        unjudged: Iterable[Unjudged] = (),
        publication: str | None = None,
    ) -> None:
        """The lines, replayed, give exactly the tables; and they hold `event_count` events besides the fences."""
        async with open_control(self.dsn) as control:
            published = await read_publication(control, publication or self.name)
            keys = await table_keys(control, published.tables)
            copy = Replay(keys=keys)
            for message in await self.messages():
                if message.payload.startswith(b'{"id":'):
                    event = read_event(message.payload)
                    name = (event.schema, event.table)
                    table = copy.tables.setdefault(name, copy_for(keys.get(name, ())))
                    table.apply(event, message.position.commit_lsn, f"line {message.sequence}")
                    copy.events += 1
            result = await compare(control, copy, publication=published, types=types or Types())
            assert result.differences == [], result.differences
            assert result.unjudged == list(unjudged)
        if event_count is not None:
            fence = copy.tables.get(("public", "fence"))
            assert copy.events - (len(fence) if fence else 0) == event_count
