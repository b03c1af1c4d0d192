"""The process of `ditto run`: signals, garbage collector, heartbeat, systemd, exporters, and the pipeline in it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from ditto.check.during_run import BackgroundCheck
from ditto.config import Config
from ditto.hints import identifier
from ditto.monitoring.counters import Counters
from ditto.monitoring.exporters import run_exporters
from ditto.monitoring.state import ProcessState
from ditto.pipeline.pipeline import Pipeline
from ditto.pipeline.supervisor import follow
from ditto.service import memory, signals, systemd
from ditto.service.heartbeat import keep_heartbeat
from ditto.service.reload import Reloads
from ditto.sinks.base import MakeSink

log = structlog.get_logger()

_HANG_UP_S: Final = 0.05


async def run(config: Config, *, read: Callable[[], Config], make_sink: MakeSink | None = None) -> None:
    """Run until a signal asks to stop. The first one drains, a second one cancels at once. `read` reads the
    configuration again, for a reload.

    Raises the DittoError that cannot be retried, and CancelledError after the second signal.
    """
    stop = asyncio.Event()
    pipeline = Pipeline(config=config)
    pipelines = [pipeline]
    check = BackgroundCheck(config)
    pipeline.states.listeners.append(lambda entered: check.begin() if entered.state == "streaming" else None)
    state = ProcessState([each.states for each in pipelines])
    reloads = Reloads(config, pipeline, read=read, make_sink=make_sink)
    with _on_signals(stop, reloads):
        async with (
            keep_heartbeat(state),
            systemd.keep_notified(state),
            run_exporters(pipelines, http=config.http, reload=reloads.result),
        ):
            memory.tune()
            try:
                await _run_pipeline(pipeline, stop=stop, make_sink=make_sink)
            finally:
                await reloads.close()
                await check.close()


async def _run_pipeline(pipeline: Pipeline, *, stop: asyncio.Event, make_sink: MakeSink | None) -> None:
    """Follow the slot; every line of the log says of which pipeline it is."""
    with structlog.contextvars.bound_contextvars(pipeline=pipeline.label):
        try:
            await follow(pipeline, stop=stop, make_sink=make_sink)
        finally:
            _warn_of_leftovers(pipeline.counters)
        pipeline.states.enter("stopped", reason="it was asked to stop")


def _warn_of_leftovers(counters: Counters) -> None:
    """Name the slot and the publication that this process has created and not used: the slot keeps all WAL."""
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


@contextmanager
def _on_signals(stop: asyncio.Event, reloads: Reloads) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    root = asyncio.current_task()
    had_terminal = signals.has_terminal()

    def on_signal(number: int) -> None:
        if not stop.is_set():
            log.info("pipeline.stopping", signal=signal.Signals(number).name)
            systemd.send("STOPPING=1", "STATUS=stopping")
            stop.set()
        elif root is not None:
            log.warning("pipeline.quitting", signal=signal.Signals(number).name)
            root.cancel()

    def on_hang_up() -> None:
        if had_terminal and not signals.has_terminal():
            on_signal(signal.SIGHUP)
        elif not stop.is_set():
            log.info("reload.begun", signal="SIGHUP")
            reloads.begin()

    for number in signals.STOPPING:
        loop.add_signal_handler(number, on_signal, number)
    hangs_up = not signals.is_hang_up_ignored()
    if hangs_up:
        # The terminal is taken from the process in the same moment: first, or right after the signal.
        loop.add_signal_handler(signal.SIGHUP, lambda: loop.call_later(_HANG_UP_S, on_hang_up))
    try:
        yield
    finally:
        for number in (*signals.STOPPING, *([signal.SIGHUP] if hangs_up else [])):
            loop.remove_signal_handler(number)
            # The process ends in a moment: a second signal that comes too late must not change its exit code.
            signal.signal(number, signal.SIG_IGN)
