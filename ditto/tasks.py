"""Ending what runs beside, for certain."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from ditto.errors import DittoError

_CANCEL_PERIOD_S: Final = 0.5

T = TypeVar("T")


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


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """Run `work`, and cancel it when `stop` is set; returns its result, and None where it was cancelled."""
    running = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            return running.result()
        return None
    finally:
        await end(running, stopping)


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `works` beside the body, and cancel them after it; a fault in one of them cancels the body.

    Raises an exception group, as a TaskGroup does.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work) for work in works]
        yield
        for task in tasks:
            task.cancel()


def deciding_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error of several at once that decides: one that is never retried before one that may be."""
    errors = [deciding_error(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    errors.sort(key=_patience)
    return errors[0]


def _patience(error: BaseException) -> tuple[bool, bool]:
    return (error.is_retryable, error.is_retryable_later) if isinstance(error, DittoError) else (False, False)
