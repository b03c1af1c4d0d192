"""Standard error as a stream that never raises and never blocks: a thread writes, and lost lines are counted.

The event loop does all the work of a running Ditto. A log that cannot take a line (a full disk, a pipe that nobody
reads or that is closed) must neither stop nor delay it. Lines wait in a bounded queue; those that find it full, and
those whose write fails, are lost. Their number is a metric, and the next line that can be written says it too.
"""

from __future__ import annotations

import atexit
import io
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

QUEUE_BYTES: Final = 1024 * 1024
"""How much may wait for the thread: more than a reader that is alive lets pile up."""
_CLOSE_TIMEOUT_S: Final = 1.0
"""At the end, for a reader that takes nothing."""
_CLOSE_LIMIT_S: Final = 5.0
"""At the end, where the reader would take more: on a busy machine the last line, which says why, took a second."""
_STANDARD_ERROR: Final = 2


def _plain_notice(count: int) -> str:
    return f"ditto: log lines that could not be written: {count}"


class LogStream(io.BufferedIOBase):
    """Writes to a file descriptor from a thread of its own, which the first write starts."""

    def __init__(self, descriptor: int) -> None:
        self.lost_lines = 0
        """All that could not be written so far."""
        self.notice: Callable[[int], str] = _plain_notice
        """Makes the line that says how many lines were lost."""
        self._descriptor = descriptor
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._unsaid = 0
        self._is_idle = True
        self._is_torn = False
        """The file ends with a part of a line."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """The descriptor that it writes to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Take whole lines, and return at once."""
        line = bytes(data)
        with self._changed:
            if self._queued_bytes + len(line) > QUEUE_BYTES:
                self._lose(line)
                return len(line)
            self._queue.append(line)
            self._queued_bytes += len(line)
            self._is_idle = False
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return len(line)

    def drain(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Wait until everything is written; no longer than that where nobody takes it."""
        deadline = time.monotonic() + _CLOSE_LIMIT_S
        with self._changed:
            while not self._changed.wait_for(lambda: self._is_idle, timeout_s):
                if not self._takes_more() or time.monotonic() > deadline:
                    return

    def _takes_more(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return any(happened & select.POLLOUT for _, happened in poll.poll(0))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    self._is_idle = True
                    self._changed.notify_all()
                    self._changed.wait()
                line = self._queue[0]
            self._say_losses()
            is_written = self._put(line)
            with self._changed:
                self._queue.popleft()
                self._queued_bytes -= len(line)
                if not is_written:
                    self._lose(line)
                has_more = bool(self._queue)
            if is_written and not has_more:
                self._say_losses()  # of the lines that found the queue full: maybe none follows for long

    def _say_losses(self) -> None:
        with self._changed:
            unsaid = self._unsaid
        if unsaid and self._put(f"{self.notice(unsaid)}\n".encode()):
            with self._changed:
                self._unsaid -= unsaid

    def _lose(self, line: bytes) -> None:
        count = max(1, line.count(b"\n"))
        self.lost_lines += count
        self._unsaid += count

    def _put(self, line: bytes) -> bool:
        """Whether all of it is written. May take as long as the reader likes."""
        rest = memoryview(b"\n" + line if self._is_torn else line)
        is_begun = False
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
                is_begun = True
        except OSError:
            self._is_torn = self._is_torn or is_begun
            return False
        self._is_torn = False
        return True


_stream: LogStream | None = None


def replace_standard_error() -> None:
    """Let everything that this process writes to `sys.stderr` go through a LogStream from now on."""
    global _stream  # noqa: PLW0603  there is one standard error
    _occupy_closed_descriptors()
    _stream = LogStream(_STANDARD_ERROR)
    sys.stderr = io.TextIOWrapper(
        _stream, encoding="utf-8", errors="backslashreplace", newline="\n", line_buffering=True
    )
    atexit.register(_stream.drain)


def current() -> LogStream | None:
    """The stream of this process, if its standard error was replaced."""
    return _stream


def lost_lines() -> int:
    """How many lines of this process's log could not be written."""
    return _stream.lost_lines if _stream is not None else 0


def _occupy_closed_descriptors() -> None:
    """A descriptor from 0 to 2 that is closed would be given to the next socket, and the log written into that."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free: this one
