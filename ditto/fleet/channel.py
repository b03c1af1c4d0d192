"""What a node and its worker processes say to each other: JSON, a message a line, over a pair of sockets."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from ditto.fleet.records import Running
from ditto.fleet.requests import Ask, Fault

_LONGEST_LINE: Final = 1 << 26


class Configure(Struct, frozen=True, tag=True):
    """The first message to a worker."""

    node: str
    worker: str
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "pretty", "json"]


class Start(Struct, frozen=True, tag=True):
    """Run a pipeline."""

    name: str
    document: dict[str, Any]
    revision: int
    attempt: int
    suspects_holder: bool = False
    """The node that ran it before is dead: its walsender need not be waited for as long."""


class Reload(Struct, frozen=True, tag=True):
    """Take another document, which a running pipeline can take."""

    name: str
    document: dict[str, Any]
    revision: int
    attempt: int


class Stop(Struct, frozen=True, tag=True):
    """End a pipeline in order, and in whatever way after so many seconds."""

    name: str
    within_s: float = 10.0


class Question(Struct, frozen=True, tag=True):
    """Something about one pipeline, or the metrics of all (without `ask`)."""

    id: int
    ask: Ask | None = None


class Alive(Struct, frozen=True, tag=True):
    """The node's event loop runs: every second. A worker that does not hear it ends its pipelines."""


class Report(Struct, frozen=True, tag=True):
    """How all pipelines of the worker are: every two seconds. Also says that its event loop runs."""

    pipelines: list[Running]


class Ended(Struct, frozen=True, tag=True):
    """A pipeline has ended: as asked, or by an error that is not retried."""

    name: str
    fault: Fault | None = None


class Reply(Struct, frozen=True, tag=True):
    """The answer to a question: an `Answer` as JSON, or metrics."""

    id: int
    body: bytes


ToWorker = Configure | Start | Reload | Stop | Question | Alive
FromWorker = Report | Ended | Reply


class Channel:
    """One end. `send` never waits: messages are few and small beside what the socket's buffer grows to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Channel:
        """Takes the socket over."""
        reader, writer = await asyncio.open_connection(sock=end, limit=_LONGEST_LINE)
        return cls(reader, writer)

    def send(self, message: ToWorker | FromWorker) -> None:
        """To an end that is gone nothing is sent."""
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def read(self) -> bytes:
        """One message; empty where the other end is gone."""
        try:
            return await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, OSError):
            return b""

    def close(self) -> None:
        """The other end sees it."""
        self._writer.close()
