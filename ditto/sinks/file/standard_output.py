"""The sink that writes events to standard output, where none can be found again: the slot says where to begin."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from ditto.decoding.event_id import event_key
from ditto.errors import FileUnusable, NotNow
from ditto.sinks.base import Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.file.line_sink import LineSink

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.lsn import Checkpoint

_CAPABILITIES: Final = Capabilities("file", "-", "file.path", keeps_tail=False)

_DESCRIPTOR: Final = 1

_in_use: Final = threading.Lock()
"""Held from `open` on, by a session whose last line may be written only in part: another one may not write yet."""


class StandardOutputSink(LineSink):
    """A sink (see `base.Sink`): one event a line, acknowledged once it is written. Checkpoints are for files."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        del config, clock
        super().__init__("ditto-output")
        self._holds = False

    @property
    def capabilities(self) -> Capabilities:
        """No limits, and nothing is found again."""
        return _CAPABILITIES

    async def connect(self) -> None:
        """Python finds out when it starts: descriptor 1 may be anything by now."""
        if sys.__stdout__ is None:
            raise FileUnusable(
                "standard output was closed when Ditto started",
                hint="let it go to a program or a file, or give file.path the path of a file",
            )

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        del pipeline
        return SinkState(None, None)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Nothing is needed."""

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """There is nothing to claim."""

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        if not _in_use.acquire(blocking=False):
            raise NotNow(
                "standard output still takes what the session before wrote",
                hint="its reader does not read: let it go on, or end it",
            )
        self._holds = True
        self._key = event_key(pipeline.system_identifier, pipeline.slot)
        return await self.inspect(pipeline)

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Nothing is written: a reader wants events, and cannot be asked for the last checkpoint."""
        del checkpoint
        self._accept(b"", number)

    def _store(self, lines: Sequence[bytes | bytearray]) -> None:
        try:
            for data in lines:
                _write(data)
        except BrokenPipeError as error:
            raise FileUnusable(
                "standard output is closed: nobody reads the events any more",
                hint="the program that read them has ended: start both again. The last transaction comes again, and "
                "with it everything that was not yet confirmed to PostgreSQL; events before that do not",
            ) from error
        except OSError as error:
            # Also where it is a file on a full disk: the next session could not go on in the middle of a line.
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise FileUnusable(
                f"cannot write to standard output: {reason}",
                hint="give file.path the path of a file: Ditto waits there until its disk has room",
            ) from error

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            _in_use.release()


def _write(data: bytes | bytearray) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(_DESCRIPTOR, rest) :]
        except BlockingIOError:  # another process that shares it has set O_NONBLOCK
            select.select([], [_DESCRIPTOR], [])
