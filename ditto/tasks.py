"""Ending what runs beside, for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from ditto.errors import DittoError

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


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run `work`, and cancel it when `stop` is set; returns whether it ended by itself."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            return True
        return False
    finally:
        await end(running, stopping)


def deciding_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of several at once that decides: one that is never retried before one that may be."""
    errors = [deciding_error(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    errors.sort(key=_patience)
    return errors[0]


def _patience(error: BaseException) -> tuple[bool, bool]:
    return (error.is_retryable, error.is_retryable_later) if isinstance(error, DittoError) else (False, False)
