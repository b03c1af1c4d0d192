"""Lets the receiver take one request, however often it has to be asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

import structlog
from tenacity import AsyncRetrying, retry_if_exception, wait_random_exponential

from ditto.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from tenacity import RetryCallState

    from ditto.sinks.webhook.queue import Request

Post: TypeAlias = "Callable[[Request], Awaitable[None]]"
"""One attempt. Raises SinkError."""

log = structlog.get_logger()

_FIRST_S: Final = 0.25
_LEAST_S: Final = 0.05
_CAP_S: Final = 15.0


class Delivery:
    """Tries again, with a back-off, or as long after as the receiver asks for; until `retry_for_s` would be over.

    Then the error is raised: it ends the session, and what began to wait goes on there (`SinkError.retry_after_s`).
    """

    def __init__(self, post: Post, *, retry_for_s: float, context: Mapping[str, str]) -> None:
        self._post = post
        self._retry_for_s = retry_for_s
        self._context = context
        self.retries = 0
        """Requests that were posted again, since the beginning."""
        self.waits_for: SinkError | None = None
        """The error of the last attempt, while the next one is waited for."""
        self._backoff = wait_random_exponential(multiplier=_FIRST_S, max=_CAP_S, min=_LEAST_S)

    async def deliver(self, request: Request) -> None:
        """Returns when it is taken. Raises the SinkError of the last attempt.

        tenacity comes in with the first failure only: the state of its calls is garbage that refers to itself, and
        would keep each body until the collector runs.
        """
        try:
            await self._post(request)
        except SinkError as error:
            if not error.is_retryable:
                raise
            first: SinkError | None = error
        else:
            return

        async def attempt() -> None:
            nonlocal first
            failed, first = first, None
            if failed is not None:  # that one counts as the first of tenacity's
                raise failed
            await self._post(request)

        attempts = AsyncRetrying(
            sleep=self._sleep,
            retry=retry_if_exception(_is_retried),
            wait=self._wait_s,
            stop=self._is_over,
            before_sleep=lambda state: self._tell(state, request),
            reraise=True,
        )
        await attempts(attempt)

    def _wait_s(self, state: RetryCallState) -> float:
        return max(self._backoff(state), _asked_s(state))

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        finally:
            self.waits_for = None

    def _is_over(self, state: RetryCallState) -> bool:
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep > self._retry_for_s

    def _tell(self, state: RetryCallState, request: Request) -> None:
        self.retries += 1
        error = None if state.outcome is None else state.outcome.exception()
        self.waits_for = error if isinstance(error, SinkError) else None
        log.warning(
            "webhook.retrying",
            error=error.message if isinstance(error, SinkError) else type(error).__name__,
            attempt=state.attempt_number,
            retry_in_s=round(state.upcoming_sleep, 2),
            webhook_id=request.identifier,
            events=request.count,
            **self._context,
        )


def _is_retried(error: BaseException) -> bool:
    return isinstance(error, SinkError) and error.is_retryable


def _asked_s(state: RetryCallState) -> float:
    error = None if state.outcome is None else state.outcome.exception()
    return error.retry_after_s if isinstance(error, SinkError) else 0.0
