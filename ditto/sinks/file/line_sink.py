"""What the sinks have in common that write lines: a thread that writes, and the numbers of what it has written."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from ditto.sinks.file.records import as_lines
from ditto.sinks.io_thread import IoThread
from ditto.sinks.messages_only import MessagesOnly
from ditto.sinks.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ditto.lsn import Checkpoint
    from ditto.sinks.base import Batch, Capabilities

log = structlog.get_logger()

_CLOSE_TIMEOUT_S: Final = 5.0


class LineSink(MessagesOnly, ABC):
    """Base class: takes lines at once, and writes them in a thread: all that has come since the last write in the next.

    The window of the pipeline bounds how much that is.
    """

    def __init__(self, name: str) -> None:
        self._thread = IoThread(name)
        self._key = b""  # `event_key(…)`, once the sink is open
        self._waiting: list[bytes | bytearray] = []
        self._is_writing = False
        self._is_closed = False
        self._sent = 0
        self._progress = Progress()

    @property
    @abstractmethod
    def capabilities(self) -> Capabilities:
        """See `base.Sink`."""

    @abstractmethod
    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """See `base.CheckpointStore`."""

    @abstractmethod
    def _store(self, lines: Sequence[bytes | bytearray]) -> None:
        """Write these and make them durable. Runs in the thread; raises what ends the session."""

    @abstractmethod
    def _release(self) -> None:
        """Give up what is open. Runs in the thread, after everything else."""

    async def send(self, batch: Batch) -> None:
        """Take the messages; they are written as soon as what came before is durable."""
        self._accept(as_lines(batch, self._key), batch.first + batch.size - 1)

    def _accept(self, lines: bytes | bytearray, number: int) -> None:
        self._progress.check()
        self._waiting.append(lines)
        self._sent = number
        if not self._is_writing:
            self._write()

    def _write(self) -> None:
        lines, self._waiting, number = self._waiting, [], self._sent
        self._is_writing = True
        self._thread.run(partial(self._store, lines)).add_done_callback(partial(self._on_stored, number))

    def _on_stored(self, number: int, stored: asyncio.Future[None]) -> None:
        self._is_writing = False
        if (error := stored.exception()) is not None:
            self._waiting.clear()
            self._progress.fail(error)
            return
        self._progress.move(number)
        if self._waiting:
            self._write()

    async def flush(self) -> None:
        """Nothing is kept open: all that was sent will be acknowledged."""
        self._progress.check()

    async def acknowledged(self) -> int:
        """See `base.Sink`."""
        return await self._progress.acknowledged()

    async def close(self) -> None:
        """Let what is being written be written, and give up what is open. What waits is not written any more."""
        self._waiting.clear()
        if self._is_closed:
            return
        self._is_closed = True
        closing = self._thread.run(self._release)
        self._thread.end()
        await asyncio.wait({closing}, timeout=_CLOSE_TIMEOUT_S)
        if not closing.done():
            log.warning("sink.still_writing", waited_s=_CLOSE_TIMEOUT_S, **self.capabilities.context)
