"""Waiting for a socket: one registration with the event loop for many waits."""

from __future__ import annotations

import asyncio
import math


class Readable:
    """Tells when a socket has something to read. One task waits at a time.

    The registration stays from wait to wait: to add and remove it for each one cost eight of the thirteen system calls
    that a lone transaction took. A socket that is readable while nobody waits, because the window is full, loses its
    registration until the next wait; otherwise the loop would spin. The same holds for the timer: it is set anew when
    it fires, not at each wait.
    """

    def __init__(self, descriptor: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._is_registered = False
        self._waiter: asyncio.Future[bool] | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def wait(self, timeout_s: float) -> asyncio.Future[bool]:
        """Whether the socket becomes readable in time; infinity waits for ever.

        True may come once more for what has just been read.
        """
        if not self._is_registered:
            self._loop.add_reader(self._descriptor, self._on_readable)
            self._is_registered = True
        self._waiter = self._loop.create_future()
        self._deadline = self._loop.time() + timeout_s
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and timeout_s != math.inf:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        return self._waiter

    def close(self) -> None:
        """Before the socket is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._unregister()

    def _unregister(self) -> None:
        if self._is_registered:
            self._loop.remove_reader(self._descriptor)
            self._is_registered = False

    def _on_readable(self) -> None:
        if self._waiter is None or self._waiter.done():
            self._unregister()
        else:
            self._waiter.set_result(True)

    def _on_timer(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done() or self._deadline == math.inf:
            return
        if self._loop.time() >= self._deadline:
            self._waiter.set_result(False)
        else:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
