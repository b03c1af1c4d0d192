"""A worker process of a node: one event loop, many pipelines. `python -m ditto.fleet --fd N`.

Each pipeline is a task of its own, and an error ends that one only. Signals are the node's affair. Where the node is
gone, or frozen, the worker ends all of its pipelines in order, and itself: another node takes them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from ditto import crowd, log_stream
from ditto import log as logging
from ditto.fleet.channel import Channel, Configure, Ended, Question, Reload, Reply, Report, Start, Stop, ToWorker
from ditto.fleet.hosted import Hosted
from ditto.fleet.requests import Answer, Fault
from ditto.monitoring.exporters import opentelemetry
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.service import event_loop, memory
from ditto.tasks import end

if TYPE_CHECKING:
    from ditto.fleet.metrics import Metrics
    from ditto.monitoring.otel import Telemetry

log = structlog.get_logger()

REPORT_S: Final = 2.0
_SETTLE_S: Final = 0.2
_LOOK_S: Final = 1.0
_SILENT_LOOKS: Final = 6
"""After so many looks in a row without a message of the node, which sends one each second, its process is frozen, and
other nodes have counted it as dead for two seconds. Looks are counted and not seconds: the time that this process was
frozen itself does not count."""
_AT_ONCE: Final = 12
"""Pipelines that begin at the same time: each makes half a dozen connections."""
_ORPHAN_S: Final = 5.0
"""How long an orderly end may take where the node is gone: before others count it as dead, or soon after."""


class Worker:
    """All pipelines of this process."""

    def __init__(self, channel: Channel, config: Configure, telemetry: Telemetry | None) -> None:
        self._channel = channel
        self._config = config
        self._telemetry = telemetry
        self._hosted: dict[str, Hosted] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._monitors: list[PipelineMonitor] = []
        self._metrics: Metrics | None = None
        self._silent_looks = 0
        self._news = asyncio.Event()
        """A pipeline has entered another state."""

    async def run(self) -> None:
        """Until the node closes the socket, or is silent."""
        reporting = asyncio.create_task(self._report())
        reading = asyncio.create_task(self._read())
        watching = asyncio.create_task(self._watch_node())
        try:
            await asyncio.wait([reading, watching], return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            await end(reporting, reading, watching)
            for each in self._hosted.values():
                each.stop(within_s=_ORPHAN_S)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_ORPHAN_S)

    async def _read(self) -> None:
        while line := await self._channel.read():
            self._silent_looks = 0
            self._take(msgspec.json.decode(line, type=ToWorker))

    async def _watch_node(self) -> None:
        while self._silent_looks < _SILENT_LOOKS:
            await asyncio.sleep(_LOOK_S)
            self._silent_looks += 1
        log.error(
            "worker.node_silent",
            silent_s=_SILENT_LOOKS * _LOOK_S,
            pipelines=len(self._hosted),
            hint="the node's process is frozen, or its event loop hangs; the pipelines end here and run on other nodes",
        )

    def _take(self, message: ToWorker) -> None:
        match message:
            case Configure():
                pass  # it comes first, and once
            case Start():
                config = self._config
                hosted = Hosted(
                    message, log_level=config.log_level, log_format=config.log_format, has_news=self._news.set
                )
                self._hosted[message.name] = hosted
                crowd.set_size(len(self._hosted))
                hosted.task = self._spawn(self._host(hosted))
            case Stop():
                if (found := self._hosted.get(message.name)) is not None:
                    found.stop(within_s=message.within_s)
            case Reload():
                if (found := self._hosted.get(message.name)) is not None:
                    self._spawn(found.reload(message))
            case Question():
                self._spawn(self._answer(message))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _host(self, hosted: Hosted) -> None:
        fault: Fault | None = None
        try:
            fault = await hosted.run(self._turns, self._watched)
        finally:
            if self._hosted.get(hosted.name) is hosted:
                del self._hosted[hosted.name]
                crowd.set_size(len(self._hosted))
            self._channel.send(Ended(hosted.name, fault))

    @contextmanager
    def _watched(self, monitor: PipelineMonitor) -> Iterator[None]:
        self._monitors.append(monitor)
        if self._telemetry is not None:
            self._telemetry.add(monitor)
        try:
            yield
        finally:
            self._monitors.remove(monitor)
            if self._telemetry is not None:
                self._telemetry.remove(monitor)

    async def _answer(self, question: Question) -> None:
        if question.ask is None:
            body = self._render()
        elif (found := self._hosted.get(question.ask.pipeline)) is not None:
            body = await found.answer(question.ask)
        else:
            fault = Fault("NotRunning", f"pipeline {question.ask.pipeline} does not run here any more", None, 5)
            body = msgspec.json.encode(Answer(fault=fault))
        self._channel.send(Reply(question.id, body))

    async def _report(self) -> None:
        while True:
            self._channel.send(Report([each.running() for each in self._hosted.values()]))
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._news.wait()
                    await asyncio.sleep(_SETTLE_S)
            self._news.clear()

    def _render(self) -> bytes:
        if self._metrics is None:
            from ditto.fleet.metrics import Metrics  # noqa: PLC0415 -- a worker that nobody asks has none

            self._metrics = Metrics(self._monitors)
        return self._metrics.render()


async def _main(to_node: socket.socket) -> None:
    channel = await Channel.over(to_node)
    memory.tune()
    if not (line := await channel.read()):
        return
    config = msgspec.json.decode(line, type=Configure)
    logging.configure(config.log_level, config.log_format)
    structlog.contextvars.bind_contextvars(node=config.node, worker=config.worker)
    async with opentelemetry(os.environ, instance=uuid.uuid4().hex) as telemetry:
        await Worker(channel, config, telemetry).run()


def main() -> None:
    """`--fd N`: the socket to the node."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log_stream.replace_standard_error()
    event_loop.run(_main(socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))))
    if (stream := log_stream.current()) is not None:
        stream.drain()
    os._exit(0)  # what has not ended in time must not keep the process
