"""Reads a file back for the commands that look at it, also while Ditto appends to it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

from ditto.errors import FileUnusable, SinkError, SinkLost
from ditto.sinks.base import Held, Part, ReadMessage, Start
from ditto.sinks.file.append_only_file import check_regular, refused
from ditto.sinks.file.offsets import Place, end_of_lines, last_place, offset_of_last, offset_since, whole_lines
from ditto.sinks.file.stored_lines import Lines, find_key
from ditto.sinks.io_thread import IoThread

if TYPE_CHECKING:
    from ditto.decoding.change import StoredObject

_PERIOD_S: Final = 0.1
"""How often the file is looked at for more."""


class FileReader:
    """A reader (see `base.Reader`). Only complete lines are read."""

    kind = "file"
    noun = "line at byte"

    def __init__(self, path: str) -> None:
        self._path = path
        self._thread = IoThread("ditto-reader")

    @property
    def name(self) -> str:
        """With the path as it was given."""
        return f"file {self._path}"

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def close(self) -> None:
        """End the thread."""
        self._thread.end()

    async def look(self) -> Held:
        """By its last lines."""
        return await self._thread.run(self._look)

    def _look(self) -> Held:
        try:
            file = OpenFile(self._path)
        except _Missing:
            return Held(exists=False)
        try:
            place = file.last_place()
            time = None if place is None else place.commit_time or file.written_at()
            return Held(exists=True, tail=None if place is None else place.position, tail_time=time, bytes=file.end)
        finally:
            file.close()

    async def read(self) -> AsyncGenerator[Part]:
        """In blocks of lines; how far it is counts in bytes."""
        file = await self._thread.run(partial(OpenFile, self._path))
        try:
            lines = Lines(await self._thread.run(file.find_key))
            offset, end = 0, file.end
            while offset < end:
                block = await self._thread.run(partial(file.lines, offset, end))
                messages = lines.messages(block, offset)
                offset += len(block)
                yield Part(messages, offset, end)
        finally:
            file.close()

    async def follow(
        self, start: Start, *, is_endless: bool, on_lost: Callable[[SinkError], None]
    ) -> AsyncGenerator[Sequence[ReadMessage]]:
        """Looks for more again and again. A file that takes its place is read from its first line on."""
        file = await self._thread.run(partial(OpenFile, self._path))
        try:
            offset = await self._thread.run(partial(file.begin, start, is_endless=is_endless))
            lines, last = Lines(await self._thread.run(file.find_key)), b""
            while True:
                while offset < file.end:
                    block = await self._thread.run(partial(file.lines, offset, file.end))
                    messages = lines.messages(block, offset)
                    if not offset and last and block.startswith(last):
                        del messages[0]  # a file that continues another one begins with that one's last line
                    last = block[block.rfind(b"\n", 0, -1) + 1 :]
                    offset += len(block)
                    if messages:
                        yield messages
                if not is_endless:
                    return
                await asyncio.sleep(_PERIOD_S)
                is_replaced = await self._thread.run(file.is_replaced)
                await self._thread.run(file.grown)
                # Lines that could not be synchronised are taken back, and written again.
                offset = await self._thread.run(partial(file.line_start, offset))
                if is_replaced and offset == file.end:
                    file.close()
                    file, offset = await self._next_file(on_lost), 0
                    lines = Lines(await self._thread.run(file.find_key))
        finally:
            file.close()

    async def _next_file(self, on_lost: Callable[[SinkError], None]) -> OpenFile:
        """The one that has taken the place of the one that was read to its end, once it is there."""
        has_said = False
        while True:
            try:
                return await self._thread.run(partial(OpenFile, self._path))
            except _Missing:
                if not has_said:
                    on_lost(SinkLost(f"file {self._path} was removed", file=self._path))
                    has_said = True
                await asyncio.sleep(_PERIOD_S)

    async def read_object(self, stored: StoredObject) -> None:
        """There are none: a line can be of any length."""


class _Missing(FileUnusable):
    """There is no such file."""


class OpenFile:
    """Open for reading. Everything here may block."""

    def __init__(self, path: str) -> None:
        """Raises FileUnusable."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError as error:
            raise _Missing(f"there is no file {path}", hint="has ditto run yet?", file=path) from error
        except OSError as error:
            raise refused(error, path, "open") from error
        self._size = 0
        self.end = 0
        """After the last complete line."""
        try:
            check_regular(self._descriptor, path)
            self.grown()
        except BaseException:
            self.close()
            raise

    def grown(self) -> int:
        """Look how long it is now; returns `end`."""
        size = os.fstat(self._descriptor).st_size
        if size != self._size:
            self._size, self.end = size, end_of_lines(self._read, size)
        return self.end

    def line_start(self, offset: int) -> int:
        """Where the line begins that has this offset: the file may have become shorter, and longer again."""
        offset = min(offset, self.end)
        return end_of_lines(self._read, offset)

    def lines(self, offset: int, end: int) -> bytes:
        """Some whole lines from there on."""
        block = whole_lines(self._read, offset, end)
        if not block:
            raise SinkLost(f"file {self._path} became shorter while it was read", file=self._path)
        return block

    def find_key(self) -> bytes | None:
        """See `stored_lines`."""
        return find_key(self._read, self.end)

    def begin(self, start: Start, *, is_endless: bool) -> int:
        """The offset of the first line that is wanted."""
        if start.since is not None:
            return offset_since(self._read, self.end, start.since)
        if start.last is not None:
            return offset_of_last(self._read, self.end, start.last)
        return self.end if is_endless else 0

    def last_place(self) -> Place | None:
        """Of the last line that has a position."""
        return last_place(self._read, self.end, self.find_key())

    def written_at(self) -> str:
        """When it was written to last."""
        at = datetime.fromtimestamp(os.fstat(self._descriptor).st_mtime, UTC)
        return at.isoformat(timespec="microseconds").replace("+00:00", "Z")

    def is_replaced(self) -> bool:
        """Whether the path leads elsewhere by now, or nowhere."""
        mine = os.fstat(self._descriptor)
        try:
            found = os.stat(self._path)  # noqa: PTH116  both by number
        except OSError:
            return True
        return (found.st_ino, found.st_dev) != (mine.st_ino, mine.st_dev)

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise refused(error, self._path, "read") from error

    def close(self) -> None:
        """Once or more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
