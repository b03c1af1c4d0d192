"""The event loop of `ditto run`: uvloop, whose end does not wait for the names that are still looked up."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


class Loop(uvloop.Loop):
    """A look-up cannot be interrupted, and takes a minute or more while no name server answers.

    uvloop waits for it when it is closed, and asyncio's own loop does: a process that was asked to stop would be killed
    before it ends. Here each has a thread of its own, and the process ends without waiting for that.
    """

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """As `socket.getaddrinfo`."""
        found: asyncio.Future[Any] = self.create_future()

        def look_up() -> None:
            try:
                result = socket.getaddrinfo(host, port, **options)
            except Exception as error:  # noqa: BLE001  it belongs to the caller
                self._give(found, found.set_exception, error)
            else:
                self._give(found, found.set_result, result)

        threading.Thread(target=look_up, name="resolver", daemon=True).start()
        return await found

    def _give(self, found: asyncio.Future[Any], give: Callable[[Any], None], what: Any) -> None:
        def give_once() -> None:
            if not found.done():
                give(what)

        with suppress(RuntimeError):  # the loop is closed: nothing waits any more
            self.call_soon_threadsafe(give_once)


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`."""
    return uvloop.run(main, loop_factory=Loop)
