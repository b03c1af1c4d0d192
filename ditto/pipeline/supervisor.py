"""The loop of attempts: start, restart, reconnect and takeover are all the same code.

Any fault ends the attempt, and the next one begins from the stream's tail.
"""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from ditto.advice import identifier
from ditto.check.background import BackgroundCheck
from ditto.config import Config
from ditto.errors import ChainBroken, DittoError
from ditto.monitoring.counters import Counters
from ditto.monitoring.exporters import exporting
from ditto.monitoring.state import States
from ditto.pipeline.session import Attempt
from ditto.service import signals, systemd
from ditto.service.heartbeat import keep_heartbeat
from ditto.sinks.base import MakeSink
from ditto.sinks.jetstream.sink import JetStreamSink

log = structlog.get_logger()

_BACKOFF_FIRST_S: Final = 0.2
_BACKOFF_CAP_S: Final = 15.0
_BACKOFF_STEPS: Final = 10  # beyond the cap; an outage of hours must not overflow
_COLLECT_AFTER: Final = 50_000  # more containers than before


async def run(config: Config, *, make_sink: MakeSink = JetStreamSink) -> None:
    """Run until a signal asks to stop. The first one drains, a second one cancels at once.

    Raises the DittoError that cannot be retried, and CancelledError after the second signal.
    """
    stop = asyncio.Event()
    counters, states = Counters(), States()
    check = BackgroundCheck(config)
    states.listeners.append(lambda change: check.begin() if change.state == "streaming" else None)
    with _signals(stop):
        async with (
            keep_heartbeat(states),
            systemd.keep_notified(states),
            exporting(config, counters=counters, states=states),
        ):
            _calm_collector()
            try:
                await follow(config, stop=stop, make_sink=make_sink, counters=counters, states=states)
            finally:
                _tell_left(counters)
                await check.close()
            states.enter("stopped", reason="it was asked to stop")


async def follow(
    config: Config,
    *,
    stop: asyncio.Event,
    make_sink: MakeSink = JetStreamSink,
    clock: Callable[[], float] = time.monotonic,
    counters: Counters,
    states: States,
) -> None:
    """Attempt after attempt until `stop` is set. Raises the DittoError that cannot be retried."""
    failures, last_reason = 0, ""
    while not stop.is_set():
        attempt = Attempt(config, clock=clock, make_sink=make_sink, counters=counters, states=states)
        try:
            await attempt.run(stop)
            counters.attempts["stopped"] += 1
        except DittoError as error:
            counters.attempts[type(error).__name__] += 1
            counters.fenced += isinstance(error, ChainBroken)
            reason = f"{type(error).__name__}: {error.message}"
            is_final = not (error.is_retryable or (error.is_retryable_later and states.has_streamed))
            if is_final and not (error.depends_on_settings and reason != last_reason):
                states.enter("stopped", reason=reason, is_failure=True)
                raise
            last_reason = reason
            failures = 0 if attempt.has_progressed else failures + 1
            delay_s = backoff_s(failures)
            log.warning(
                "attempt.failed",
                kind=type(error).__name__,
                error=error.message,
                hint=error.hint,
                retry_in_s=None if stop.is_set() else round(delay_s, 2),
                **({} if attempt.has_progressed else attempt.retained),
                **error.context,
            )
            states.enter("waiting", reason=reason, is_failure=True)
            await _sleep(delay_s, stop)


def _tell_left(counters: Counters) -> None:
    """Say what this process has created and then not used: for a slot that nobody reads PostgreSQL keeps all WAL."""
    if not counters.created:
        return
    slot, publication = counters.created.get("slot"), counters.created.get("publication")
    steps = ["ditto slot drop, with this configuration" if slot else ""]
    steps += [f"in psql DROP PUBLICATION {identifier(publication)};" if publication else ""]
    log.warning(
        "start.left_behind",
        **counters.created,
        reason="they were created by this start, and are still there"
        + (": PostgreSQL keeps all WAL for the slot from now on" if slot else ""),
        hint="the next start uses them, and nothing is lost. If there is to be none: "
        + ", then ".join(step for step in steps if step),
    )


def _calm_collector() -> None:
    """Let the garbage collector look less often, and never again at what was imported.

    Events die by reference counting, block by block; at the default threshold each block set off a collection,
    a tenth of the CPU time of wide rows.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


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


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    root = asyncio.current_task()

    def on_signal(number: int) -> None:
        if not stop.is_set():
            log.info("pipeline.stopping", signal=signal.Signals(number).name)
            systemd.send("STOPPING=1", "STATUS=stopping")
            stop.set()
        elif root is not None:
            log.warning("pipeline.quitting", signal=signal.Signals(number).name)
            root.cancel()

    numbers = signals.stopping()
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            # It ends in a moment: a second signal that comes too late to matter must not end it with another code.
            signal.signal(number, signal.SIG_IGN)
