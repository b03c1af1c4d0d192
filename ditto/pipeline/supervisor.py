"""The loop of one pipeline's sessions: start, restart, reconnect and takeover are all the same code.

Any fault ends the session, and the next one begins from the stream's tail.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from ditto.errors import ChainBroken, DittoError, SinkDenied
from ditto.pipeline.connecting import Report
from ditto.pipeline.pipeline import Pipeline
from ditto.pipeline.session import run_session
from ditto.routing.router import snapshot_subjects
from ditto.sinks.base import MakeSink
from ditto.sinks.choose import choose_sink

log = structlog.get_logger()

_BACKOFF_FIRST_S: Final = 0.2
_BACKOFF_CAP_S: Final = 15.0
_BACKOFF_STEPS: Final = 10  # beyond the cap; an outage of hours must not overflow


async def follow(
    pipeline: Pipeline,
    *,
    stop: asyncio.Event,
    make_sink: MakeSink | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Session after session until `stop` is set; without `make_sink` with the sink that the configuration names.

    Raises the DittoError that cannot be retried.
    """
    make_sink = make_sink or choose_sink(pipeline.config)
    counters, states = pipeline.counters, pipeline.states
    failures, last_reason = 0, ""
    while not stop.is_set():
        if pipeline.may_change_now:
            pipeline.change()
        report = Report()
        try:
            await run_session(pipeline, stop=stop, clock=clock, make_sink=make_sink, report=report)
            counters.sessions["stopped" if stop.is_set() else "reloaded"] += 1
            pipeline.change()
        except DittoError as error:
            counters.sessions[type(error).__name__] += 1
            counters.fenced += isinstance(error, ChainBroken)
            reason = f"{type(error).__name__}: {error.message}"
            is_final = not (error.is_retryable or (error.is_retryable_later and states.has_streamed))
            if isinstance(error, SinkDenied) and not counters.snapshots_denied:
                # Whoever may send a logical message can ask for a snapshot: that must not end the live stream.
                is_about_snapshots = snapshot_subjects(pipeline.config.events.prefix).lower() in error.message.lower()
                counters.snapshots_denied = error.message if is_about_snapshots else ""
                is_final = is_final and not is_about_snapshots
            if is_final and not (error.depends_on_settings and reason != last_reason):
                states.enter("stopped", reason=reason, is_failure=True)
                raise
            last_reason, pipeline.hint = reason, error.hint
            failures = 0 if report.has_progressed else failures + 1
            delay_s = max(backoff_s(failures), error.retry_after_s)
            log.warning(
                "session.failed",
                kind=type(error).__name__,
                error=error.message,
                hint=error.hint,
                retry_in_s=None if stop.is_set() else round(delay_s, 2),
                **({} if report.has_progressed else report.retained),
                **error.context,
            )
            states.enter("waiting", reason=reason, is_failure=True)
            await _sleep(delay_s, stop)


def backoff_s(failures: int) -> float:
    """How long to wait after so many failures in a row: doubling up to a cap, with jitter."""
    ceiling_s: float = min(_BACKOFF_CAP_S, _BACKOFF_FIRST_S * 2 ** min(failures, _BACKOFF_STEPS))
    return ceiling_s * random.uniform(0.5, 1)  # noqa: S311  no secret


async def _sleep(delay_s: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(delay_s):
            await stop.wait()
    except TimeoutError:
        pass
