"""A file that is appended to by this process alone. Everything here may block."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Self

from ditto.errors import ChainBroken, FileUnusable, NotNow, SinkError, SinkLost
from ditto.sinks.base import PipelineId
from ditto.sinks.file.last_line import Tail, find_tail

_MODE: Final = 0o640
"""Of a file that Ditto creates, less what the umask takes: it holds the tables' rows."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def refused(error: OSError, path: str, doing: str) -> SinkError:
    """What the operating system refused."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return NotNow(
            f"cannot {doing} file {path}: {reason}",
            hint="make room on its file system: Ditto goes on by itself. The file's last line has to stay",
            file=path,
        )
    return FileUnusable(
        f"cannot {doing} file {path}: {reason}",
        hint="the directory has to exist and to be readable, and Ditto's user has to be able to create, read and write "
        "the file",
        file=path,
    )


def replaced(path: str) -> SinkLost:
    """Somebody took the file away."""
    return SinkLost(
        f"file {path} was removed or replaced while Ditto used it",
        hint="its last line is where Ditto goes on: to rotate it, stop Ditto, and let the new file begin with the last "
        "line of the old one",
        file=path,
    )


def look(path: str, pipeline: PipelineId, *, unsynced_bytes: int) -> Tail:
    """What the file holds, without changing anything; nothing where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return Tail(0, None, None)
    except OSError as error:
        raise refused(error, path, "open") from error
    try:
        return _tail(descriptor, path, pipeline, unsynced_bytes)
    finally:
        os.close(descriptor)


class AppendedFile:
    """Open, and locked where the file system knows locks: nobody else who asks for the lock appends to it.

    After a fault the file is as it was after the last `append` that succeeded.
    """

    def __init__(self, path: str, descriptor: int, *, is_locked: bool) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self.is_locked = is_locked

    @classmethod
    def open(cls, path: str) -> Self:
        """Create it where it is missing. Raises NotNow where another process has locked it."""
        os.close(_open_directory(path))  # `recover` synchronises it: without that, no file is created
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            descriptor = os.open(path, flags, _MODE)
        except OSError as error:
            raise refused(error, path, "open") from error
        try:
            check_regular(descriptor, path)
            file = cls(path, descriptor, is_locked=_lock(descriptor, path))
            file._check_unchanged()
        except BaseException:
            os.close(descriptor)
            raise
        return file

    def recover(self, pipeline: PipelineId, *, unsynced_bytes: int) -> Tail:
        """Cut off what was not written completely; what is left is on the disk, and is returned."""
        tail = _tail(self._descriptor, self._path, pipeline, unsynced_bytes)
        try:
            if tail.end < self._size:
                os.ftruncate(self._descriptor, tail.end)
                self._size = tail.end
            # A process that was killed may have left lines that were never synchronised.
            _sync(self._descriptor)
            _sync_directory(self._path)
        except OSError as error:
            raise refused(error, self._path, "synchronise") from error
        return tail

    def append(self, lines: Sequence[bytes | bytearray]) -> None:
        """Write the lines, which are on the disk on return."""
        self._check_unchanged()
        before = self._size
        try:
            for data in lines:
                self._write(data)
            _sync(self._descriptor)
        except OSError as error:
            # Pages that could not be written count as clean after this: what was not synchronised must not be found.
            self._cut_back(before)
            raise refused(error, self._path, "write to") from error
        try:
            self._check_unchanged()
        except SinkError:
            self._cut_back(before)
            raise

    def _write(self, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        while rest:
            written = os.write(self._descriptor, rest)
            self._size += written
            rest = rest[written:]

    def _cut_back(self, size: int) -> None:
        """To what was acknowledged, unless somebody else changed the file: what is theirs is left alone."""
        with suppress(OSError):
            if os.fstat(self._descriptor).st_size == self._size:
                os.ftruncate(self._descriptor, size)
        self._size = size

    def _check_unchanged(self) -> None:
        """Raise where the path is not this file's any more, or somebody else wrote to it or truncated it."""
        path, mine = self._path, os.fstat(self._descriptor)
        try:
            found = os.stat(path)  # noqa: PTH116  both by number
        except OSError:
            found = None
        if found is None or (found.st_ino, found.st_dev) != (mine.st_ino, mine.st_dev):
            raise replaced(path)
        if mine.st_size != self._size:
            raise ChainBroken(
                f"file {path} was changed by somebody else: it has {mine.st_size} bytes, and Ditto wrote {self._size}",
                hint="let nothing else write to the file or truncate it (logrotate's copytruncate does)",
                file=path,
            )

    def close(self) -> None:
        """Give up the lock too. Everything acknowledged is on the disk already."""
        with suppress(OSError):
            os.close(self._descriptor)


def _tail(descriptor: int, path: str, pipeline: PipelineId, unsynced_bytes: int) -> Tail:
    check_regular(descriptor, path)
    size = os.fstat(descriptor).st_size
    try:
        return find_tail(
            partial(os.pread, descriptor), size, pipeline=pipeline, path=path, unsynced_bytes=unsynced_bytes
        )
    except OSError as error:
        raise refused(error, path, "read") from error


def check_regular(descriptor: int, path: str) -> None:
    """Raise FileUnusable where it is a device, a pipe or a directory."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise FileUnusable(
            f"{path} is not a regular file: where it ends, and so where to go on, cannot be found again",
            hint='give the path of a file; file.path: "-" writes to standard output',
            file=path,
        )


def _lock(descriptor: int, path: str) -> bool:
    """Whether the file system knows locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotNow(
            f"file {path} is locked: another process writes to it",
            hint="end the other Ditto, or give this one a file of its own (file.path)",
            file=path,
        ) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise refused(error, path, "lock") from error
    return True


def _sync(descriptor: int) -> None:
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: fsync leaves it in the drive's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)  # with the size


def _open_directory(path: str) -> int:
    """To synchronise it, which makes the file's name durable: for that it has to be readable."""
    try:
        return os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH120
    except OSError as error:
        raise refused(error, path, "open the directory of") from error


def _sync_directory(path: str) -> None:
    descriptor = _open_directory(path)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
