"""Ending what runs beside, for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

_CANCEL_PERIOD_S: Final = 0.5


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel until they have ended; what they raise is dropped.

    Again and again: a cancellation that meets the result of an asyncio.wait_for (psycopg's and nats-py's requests) is
    lost on Python 3.11. For the same reason a cancellation of the caller is only passed on when all have ended.
    """
    interruption: asyncio.CancelledError | None = None
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        try:
            await asyncio.wait(running, timeout=_CANCEL_PERIOD_S)
        except asyncio.CancelledError as error:
            interruption = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # it is known, then: asyncio would report it as never retrieved
    if interruption is not None:
        raise interruption


async def cancellable(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` in a task of its own: one cancellation of the caller is enough to end it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task])
        return task.result()
    finally:
        await end(task)
