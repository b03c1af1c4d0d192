"""The sink that appends to a file: the last line is the checkpoint, and what is acknowledged is on the disk."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from ditto.decoding.event_id import event_key
from ditto.formats.checkpoint import encode_checkpoint
from ditto.lsn import Checkpoint, Position
from ditto.sinks.base import Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.file.append_only_file import AppendedFile, look, refused, replaced
from ditto.sinks.file.last_line import Tail
from ditto.sinks.file.line_sink import LineSink

if TYPE_CHECKING:
    from ditto.config import PipelineConfig

T = TypeVar("T")

_LARGEST_BLOCK: Final = 32 << 20
"""Bytes of events that are given at once, apart from a larger single event: a window takes one more of them."""


class FileSink(LineSink):
    """A sink (see `base.Sink`): one message or checkpoint a line, each found again by its id."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        del clock
        if config.file is None:
            raise RuntimeError("there is no section file")
        super().__init__("ditto-file")
        self._path = _absolute(config.file.path)
        self._unsynced_bytes = config.delivery.max_in_flight_bytes + _LARGEST_BLOCK
        self._file: AppendedFile | None = None
        self._seen: Position | None = None
        """The tail when it was inspected: a file that is removed while this Ditto stands by is no new one."""

    @property
    def capabilities(self) -> Capabilities:
        """A line can be of any length. Where the file system knows locks, a second writer is refused."""
        is_fenced = self._file is not None and self._file.is_locked
        return Capabilities("file", self._path, "file.path", is_fenced=is_fenced, prefers_blocks=True)

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """See `base.Sink`."""
        looking = partial(look, self._path, pipeline, unsynced_bytes=self._unsynced_bytes)
        tail = await self._thread.run(looking)
        self._seen = tail.position
        return _state(tail)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Create the file. One that is claimed is left alone: another session may be writing to it."""
        if (await self.inspect(pipeline)).tail is None:
            await self._while_open(lambda file: self._recover(file, pipeline))

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Store the checkpoint that says: nothing before this was ever due. A file with a position is claimed."""

        def begin(file: AppendedFile) -> None:
            if self._recover(file, pipeline).position is None:
                key = event_key(pipeline.system_identifier, pipeline.slot)
                file.append([encode_checkpoint(Checkpoint(pipeline.start_lsn), key) + b"\n"])

        if self._seen is None:
            await self._while_open(begin)

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Lock the file until `close`, and cut off what was not written completely."""
        self._key = event_key(pipeline.system_identifier, pipeline.slot)

        def open_file() -> Tail:
            file = AppendedFile.open(self._path)
            try:
                tail = self._recover(file, pipeline)
                if self._seen is not None and (tail.position is None or tail.position < self._seen):
                    raise replaced(self._path)
            except BaseException:
                file.close()
                raise
            self._file = file
            return tail

        return _state(await self._thread.run(open_file))

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """A line of its own."""
        self._accept(encode_checkpoint(checkpoint, self._key) + b"\n", number)

    async def _while_open(self, do: Callable[[AppendedFile], T]) -> T:
        def open_and_do() -> T:
            file = AppendedFile.open(self._path)
            try:
                return do(file)
            finally:
                file.close()

        return await self._thread.run(open_and_do)

    def _recover(self, file: AppendedFile, pipeline: PipelineId) -> Tail:
        return file.recover(pipeline, unsynced_bytes=self._unsynced_bytes)

    def _store(self, lines: Sequence[bytes | bytearray]) -> None:
        if self._file is None:
            raise RuntimeError("open() comes first")
        self._file.append(lines)

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _absolute(path: str) -> str:
    """The path that messages name, the same from every directory. `..` is kept: it may follow a symbolic link."""
    try:
        return str(Path(path).absolute())
    except OSError as error:
        raise refused(error, path, "find the current directory for") from error


def _state(tail: Tail) -> SinkState:
    return SinkState(None, tail.position, tail.last, mark=tail.mark, snapshots=tail.snapshots)
