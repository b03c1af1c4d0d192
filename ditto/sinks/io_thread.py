"""The thread in which a sink does what may block: a disk that is slow, or a reader that does not read."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class IoThread:
    """Does one thing after the other, in the order in which they are given.

    A thread of an executor would hold up the end of the process for as long as the disk, or the reader, hangs.
    """

    def __init__(self, name: str) -> None:
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def run(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Do it after everything before. A caller that stops waiting does not stop the work."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def set_result(result: T) -> None:
            if not future.done():
                future.set_result(result)

        def set_exception(error: BaseException) -> None:
            if not future.done():
                future.set_exception(error)

        def do() -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                try:
                    result = work()
                except BaseException as error:  # noqa: BLE001  it is raised where the future is awaited
                    loop.call_soon_threadsafe(set_exception, error)
                else:
                    loop.call_soon_threadsafe(set_result, result)

        if self._thread.ident is None:
            self._thread.start()
        self._work.put(do)
        return future

    def end(self) -> None:
        """End the thread after everything that was given."""
        self._work.put(None)

    def _run(self) -> None:
        while (do := self._work.get()) is not None:
            do()
