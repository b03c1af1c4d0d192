"""Limits: the number of connections, and the time that each may wait.

uvicorn limits neither: it counts only requests, and its one time-out begins after a first answer. Without limits,
clients that connect and send nothing take every file descriptor of the process, and Ditto cannot connect to its servers
again.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 100
"""One more closes the connection that has waited longest for a request: a probe always gets through."""
REQUEST_TIMEOUT_S: Final = 10.0
"""From connecting to the answer of the first request."""
IDLE_TIMEOUT_S: Final = 75.0
"""From an answer to the next one: longer than Prometheus's usual scrape interval of a minute."""
STALL_TIMEOUT_S: Final = 30.0
"""For how long a client may take nothing of an answer that is ready: a slow one takes something."""


class LimitedProtocol(H11Protocol):
    """One connection, that ends when its client takes too long, or when others need its place."""

    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _waiting_since = 0.0

    @property
    def waiting_since(self) -> float:
        """Since when it waits for a request, in the loop's time; later than any other while one is answered."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return math.inf if is_answering else self._waiting_since

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept it, and make room for it."""
        super().connection_made(transport)
        self.wait(REQUEST_TIMEOUT_S)
        limited = [each for each in self.connections if isinstance(each, LimitedProtocol)]  # all but websockets
        if len(limited) > MAX_CONNECTIONS:
            min(limited, key=_age).end()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self.wait_without_limit()
        self._forget_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Buffers are full: the answer waits for its client, though not for ever."""
        super().pause_writing()
        self._await_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """There is room again."""
        self._forget_stall()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self.wait(IDLE_TIMEOUT_S)
        super().on_response_complete()

    def end(self) -> None:
        """Close it at once: whatever it still has to say or to hear is lost."""
        self.connections.discard(self)
        self.transport.abort()

    def wait(self, timeout_s: float) -> None:
        """End after this time, unless it is called again before."""
        self.wait_without_limit()
        self._waiting_since = self.loop.time()
        self._deadline = self.loop.call_later(timeout_s, self.end)

    def _await_reading(self, left: int) -> None:
        self._stall = self.loop.call_later(STALL_TIMEOUT_S, self._look_at, left)

    def _look_at(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < before:
            self._await_reading(left)
        else:
            self.end()

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()

    def wait_without_limit(self) -> None:
        """For as long as it takes."""
        if self._deadline is not None:
            self._deadline.cancel()


def _age(connection: LimitedProtocol) -> Any:
    return connection.waiting_since
