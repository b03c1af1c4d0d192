"""A world whose events are posted to a receiver: no NATS anywhere."""

from __future__ import annotations

import asyncio
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from ditto.formats.msgpack import CONTENT_TYPE as MSGPACK
from ditto.testing.process import ServerProcess, free_port
from ditto.testing.webhook_receiver import Taken, read_taken
from e2e.sinks.file_world import LineWorld

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
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


class WebhookWorld(LineWorld):
    """Reads the requests that a receiver has taken."""

    def __init__(self, postgres: PostgresServer, *, name: str, folder: Path, url: str, taken: Path) -> None:
        settings = {"DITTO_WEBHOOK_URL": url, "DITTO_WEBHOOK_SECRET": SECRET, "DITTO_WEBHOOK_RETRY_FOR": "2s"}
        super().__init__(postgres, name=name, folder=folder, settings=settings)
        self.taken_file = taken
        self._seen = 0

    def taken(self) -> list[Taken]:
        return read_taken(self.taken_file)

    def raw(self) -> list[bytes]:
        """Every event that was taken, each as often as it was."""
        found: list[bytes] = []
        for taken in self.taken():
            is_msgpack = taken.headers["content-type"] == MSGPACK
            decode = msgspec.msgpack.decode if is_msgpack else msgspec.json.decode
            found += [bytes(each) for each in decode(taken.body, type=list[msgspec.Raw])]
        return found

    async def payloads(self) -> list[tuple[bytes, Mapping[str, str]]]:
        """The request says what MessagePack is."""
        found = await super().payloads()
        return [(each, headers if each.startswith(b"{") else {"Content-Type": MSGPACK}) for each, headers in found]

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

    async def message_count(self) -> int:
        return len(self.lines())

    async def fence(self, *, timeout_s: float = 30) -> None:
        self._seen = 0
        await super().fence(timeout_s=timeout_s)

    async def has_arrived(self, wanted: bytes) -> bool:
        """In what was taken since it was looked at last."""
        taken = self.taken()
        seen, self._seen = self._seen, len(taken)
        await asyncio.sleep(seen / 20_000)  # each look reads everything
        return any(wanted in each.body for each in taken[seen:])
