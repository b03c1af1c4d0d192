"""One pipeline in a worker: from its document to its end, what it says of itself, and what it is asked."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Literal, TypeAlias

import structlog

from ditto.check.snapshot_asking import change_snapshot, start_snapshot
from ditto.config import Config, Log, secrets
from ditto.errors import DittoError, NotRunning
from ditto.fleet.channel import Reload, Start
from ditto.fleet.crashes import pipeline_crashed, where
from ditto.fleet.document import Document, resolve
from ditto.fleet.records import Problem, Running
from ditto.fleet.requests import Ask, Fault, SnapshotRequest, answered, fault_of
from ditto.log import keep_secret
from ditto.monitoring.pipeline_monitor import PipelineMonitor, Rate
from ditto.monitoring.state import Transition
from ditto.monitoring.status_document import SnapshotSummary
from ditto.monitoring.timestamps import rfc3339
from ditto.pipeline.pipeline import Pipeline
from ditto.pipeline.supervisor import follow
from ditto.service.reload import Reloads
from ditto.tasks import until

log = structlog.get_logger()

_BEGINNING_S: Final = 10.0
"""A pipeline that does not stream by then lets the next one begin."""
_BEGUN: Final = frozenset({"streaming", "standby", "waiting", "stopped"})

Watched: TypeAlias = Callable[[PipelineMonitor], AbstractContextManager[None]]
"""What counts and exports a pipeline while the body runs."""
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "pretty", "json"]


class Hosted:
    """From `run` to its return. Constructed without any I/O, and without looking at the document."""

    def __init__(
        self, start: Start, *, log_level: LogLevel, log_format: LogFormat, has_news: Callable[[], None]
    ) -> None:
        self.name = start.name
        self._start = start
        self._has_news = has_news
        self.task: asyncio.Task[None] | None = None
        """That runs it."""
        self._log = Log(level=log_level, format=log_format)
        self._stop = asyncio.Event()
        self._revision, self._attempt = start.revision, start.attempt
        self._config = self._next = Config()
        self._pipeline: Pipeline | None = None
        self._monitor: PipelineMonitor | None = None
        self._reloads: Reloads | None = None
        self._reload_turn = asyncio.Lock()
        self._refused: Problem | None = None
        self._rate = Rate()

    def stop(self, *, within_s: float) -> None:
        """Drain and end; where that takes longer, end all the same: what is not confirmed comes again."""
        self._stop.set()
        if self.task is not None:
            asyncio.get_running_loop().call_later(within_s, self.task.cancel)

    async def run(self, turns: asyncio.Semaphore, watched: Watched) -> Fault | None:
        """Until it is asked to stop, or an error ends it that is not retried: that is returned.

        `turns` limits how many begin at the same time; its monitor is `watched` while it runs.
        """
        structlog.contextvars.bind_contextvars(pipeline=self.name)
        try:
            self._config = self._next = await self._resolve(self._start.document)
            await self._follow(turns, watched)
        except DittoError as error:
            log.error(
                "pipeline.failed",
                kind=type(error).__name__,
                error=error.message,
                hint=error.hint,
                exit_code=error.exit_code,
                **error.context,
            )
            return fault_of(error)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  it ends this pipeline, and no other
            log.error("pipeline.crashed", kind=type(error).__name__, where=where(error))
            return fault_of(pipeline_crashed(error))
        return None

    async def _follow(self, turns: asyncio.Semaphore, watched: Watched) -> None:
        self._pipeline = pipeline = Pipeline(config=self._config, suspects_holder=self._start.suspects_holder)
        self._monitor = monitor = PipelineMonitor(pipeline)
        self._reloads = Reloads(self._config, pipeline, read=lambda: self._next)
        if not await until(self._stop, turns.acquire()):
            return
        give_back = _Once(turns.release)
        asyncio.get_running_loop().call_later(_BEGINNING_S, give_back)

        def on_state(entered: Transition) -> None:
            if entered.state in _BEGUN:
                give_back()
            if entered.state == "streaming":
                pipeline.suspects_holder = False
            self._has_news()

        pipeline.states.listeners.append(on_state)
        try:
            with watched(monitor):
                async with monitor.watch_servers():
                    await follow(pipeline, stop=self._stop)
                pipeline.states.enter("stopped", reason="it was asked to stop")
        finally:
            give_back()
            await self._reloads.close()

    async def _resolve(self, document: Document) -> Config:
        """Beside the event loop, which is that of other pipelines too: a large document takes seconds."""
        config = await asyncio.to_thread(resolve, self.name, document, os.environ, log=self._log)
        keep_secret(secrets(config))
        return config

    # ------------------------------------------------------------------------------------ another document

    async def reload(self, message: Reload) -> None:
        """Take it between two transactions. One that is refused changes nothing, and is told of in `running`."""
        async with self._reload_turn:
            try:
                self._next = await self._resolve(message.document)
                if self._reloads is not None:
                    await self._reloads.begin()
                self._config = self._next
            except DittoError as error:
                fault = fault_of(error)
                self._refused = Problem(
                    message=f"revision {message.revision} is refused: {fault.message}", hint=fault.hint, code=fault.code
                )
            else:
                self._refused, self._revision, self._attempt = None, message.revision, message.attempt
            self._has_news()

    # ------------------------------------------------------------------------------------ how it is

    def running(self) -> Running:
        """As of now; the servers as of the last look."""
        pipeline, monitor = self._pipeline, self._monitor
        if pipeline is None or monitor is None:
            return Running(
                name=self.name, state="starting", reason="it is about to begin", revision=self._revision,
                attempt=self._attempt, updated=rfc3339(time.time()),
            )  # fmt: skip
        pipeline.counters.refresh()
        slot, states = monitor.servers.slot, pipeline.states
        problem = Problem(message=states.failure, hint=pipeline.hint) if states.failure else None
        return Running(
            name=self.name,
            state=states.state,
            reason=states.reason,
            revision=self._revision,
            attempt=self._attempt,
            error=problem or self._refused,
            lag_s=monitor.lag_s(),
            events=pipeline.counters.events,
            events_per_s=self._rate.note(pipeline.counters.events),
            retained_bytes=None if slot is None else slot.retained_bytes,
            safe_bytes=None if slot is None else slot.safe_bytes,
            snapshots=[SnapshotSummary.of(each) for each in pipeline.counters.snapshots.unended()],
            sink=self._config.sink,
            updated=rfc3339(time.time()),
        )

    # ------------------------------------------------------------------------------------ what it is asked

    async def answer(self, ask: Ask) -> bytes:
        """An `Answer`, as JSON."""
        return await answered(self._answer(ask))

    async def _answer(self, ask: Ask) -> object:
        monitor = self._monitor
        if monitor is None:
            raise NotRunning(f"pipeline {self.name} is about to begin", hint="ask again in a few seconds")
        if ask.op == "status":
            return monitor.status()
        if ask.op == "snapshots":
            return monitor.snapshots()
        if ask.op == "snapshot" and ask.snapshot is not None:
            return await self._snapshot(monitor, ask.snapshot)
        raise NotRunning(f"the worker of pipeline {self.name} does not know what {ask.op} is")

    async def _snapshot(self, monitor: PipelineMonitor, request: SnapshotRequest) -> str:
        """Returns the run."""
        if request.verb == "start":
            return await start_snapshot(
                self._config, request.tables, where=request.where, max_rows_per_s=request.max_rows_per_s
            )
        await change_snapshot(self._config, monitor.snapshots, request.verb, request.run)
        return request.run


class _Once:
    """Calls a function at most once."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def __call__(self) -> None:
        if self._call is not None:
            call, self._call = self._call, None
            call()
