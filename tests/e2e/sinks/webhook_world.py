"""A world whose events are posted to a receiver: no NATS anywhere."""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from ditto.lsn import Position
from ditto.testing.process import ServerProcess, free_port
from ditto.testing.webhook_receiver import Taken, read_taken
from e2e.process import POLL_S
from e2e.sinks.file_world import FileWorld

if TYPE_CHECKING:
    import signal
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from e2e.world import Stored

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class ReceiverProcess:
    """A receiver as a process, which can be killed, and started again on the same port with the same file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/events"
        self._process: ServerProcess | None = None

    def start(self, *, last_signal: signal.Signals) -> None:
        self._process = ServerProcess(
            [sys.executable, "-m", "ditto.testing.webhook_receiver", str(self.port), self.file],
            name="receiver",
            log_path=self.file.with_suffix(".log"),
            last_signal=last_signal,
        )

    @property
    def process(self) -> ServerProcess:
        assert self._process is not None, "it was started"
        return self._process


class WebhookWorld(FileWorld):
    """Asks of the requests that a receiver has taken what a `FileWorld` asks of the lines of its file."""

    def __init__(self, postgres: PostgresServer, *, name: str, folder: Path, url: str, taken: Path) -> None:
        super().__init__(postgres, name=name, folder=folder)
        self.taken_file = taken
        del self.settings["DITTO_FILE_PATH"]
        self.settings |= {"DITTO_WEBHOOK_URL": url, "DITTO_WEBHOOK_SECRET": SECRET, "DITTO_WEBHOOK_RETRY_FOR": "2s"}

    def taken(self) -> list[Taken]:
        return read_taken(self.taken_file)

    def raw(self) -> list[bytes]:
        """Every event that was taken, each as often as it was."""
        return [
            bytes(each) for taken in self.taken() for each in msgspec.json.decode(taken.body, type=list[msgspec.Raw])
        ]

    def lines(self) -> list[bytes]:
        """Every event, where it was taken first."""
        return list(dict.fromkeys(self.raw()))

    def rewinds(self) -> int:
        """How often events came again."""
        positions = [message.position for message in self.stored(self.raw())]
        return sum(after <= before for before, after in pairwise(positions))

    async def messages(self) -> list[Stored]:
        """Once each. Their positions increase strictly, or the test fails: no event comes before an earlier one."""
        found = self.stored(self.lines())
        positions = [message.position for message in found if message.payload.startswith(b'{"id":')]
        assert positions == sorted(set(positions)), "positions increase strictly"
        return found

    async def tail(self) -> Position:
        return (await self.messages())[-1].position

    async def fence(self, *, timeout_s: float = 30) -> None:
        number = self.value("INSERT INTO fence DEFAULT VALUES RETURNING n")
        await self._came(b'"table":"fence","action":"INSERT","data":{"n":%d}' % number, timeout_s)

    async def _came(self, wanted: bytes, timeout_s: float) -> None:
        deadline, seen = time.monotonic() + timeout_s, 0
        while True:
            taken = self.taken()
            if any(wanted in each.body for each in taken[seen:]):
                return
            seen = len(taken)
            assert time.monotonic() < deadline, "\n".join(
                ["the fence has not arrived", *(process.output for process in self._processes)]
            )
            await asyncio.sleep(max(POLL_S, seen / 20_000))
