"""The worker processes of a node: begun when they are needed, one a core, and one more for each isolated pipeline and
for each group of suspects.

A worker that dies, or whose event loop hangs, ends with all of its pipelines: each of them is told so, and the node
begins it again in another worker.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec
import structlog

from ditto.config import Log
from ditto.errors import NotRunning
from ditto.fleet.channel import (
    Alive,
    Channel,
    Configure,
    Ended,
    FromWorker,
    Question,
    Reload,
    Reply,
    Report,
    Start,
    Stop,
)
from ditto.fleet.records import Running
from ditto.fleet.requests import Answer, Ask, Fault, fault_of
from ditto.fleet.suspects import Suspects
from ditto.service import systemd
from ditto.service.heartbeat import VARIABLE as HEALTH_FILE
from ditto.tasks import end

log = structlog.get_logger()

_HANGS_S: Final = 20.0
"""Without a report for so long a worker is ended; it reports every two seconds."""
_BEGINS_S: Final = 120.0
"""So long its first report may take: on a machine whose cores are taken, the imports alone can be longer than _HANGS_S.
Another process would take as long, and its pipelines would be taken for suspects."""
_SILENT_S: Final = 6.0
"""Without a report for so long its pipelines are not said to stream any more."""
_LOOK_S: Final = 1.0
_FROZEN_S: Final = 5.0
_END_S: Final = 8.0
_ANSWER_S: Final = 12.0
_METRICS_S: Final = 3.0
_NOT_THEIRS: Final = (systemd.VARIABLE, "WATCHDOG_USEC", "WATCHDOG_PID", HEALTH_FILE)


Run: TypeAlias = "asyncio.Future[Fault | None]"
"""A pipeline in a worker: gets the fault that ended it, None for an end that was asked for, or raises WorkerGone."""
Group: TypeAlias = int | str | None
"""Which pipelines run in a worker: any (None), those of a group of suspects, or the one of that name."""


class WorkerGone(Exception):
    """The process has died, or was ended because its event loop hung."""


class Worker:
    """One process."""

    def __init__(self, number: str, *, group: Group, has_news: Callable[[], None]) -> None:
        self.number = number
        self._has_news = has_news
        self.group = group
        self.runs: dict[str, Run] = {}
        self.reported: list[Running] = []
        self.heard_at = time.monotonic()
        self.silent_at_most_s = _BEGINS_S
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._questions: dict[int, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count(1)
        self._reading: asyncio.Task[None] | None = None
        self._is_ready = asyncio.Event()

    async def begin(self, node: str, config: Log, on_end: OnEnd) -> None:
        """Start the process. Where that cannot be, its pipelines are lost at once."""
        try:
            await self._begin(node, config)
        except OSError as error:
            log.error("worker.not_begun", worker=self.number, reason=error.strerror, hint="look at the node's limits")
            on_end(self, [])
        else:
            self._reading = asyncio.create_task(self._read(on_end))
        self._is_ready.set()

    async def _begin(self, node: str, config: Log) -> None:
        ours, theirs = socket.socketpair()
        try:
            environ = {name: value for name, value in os.environ.items() if name not in _NOT_THEIRS}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "ditto.fleet",
                "--fd",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env=environ,
                stdin=asyncio.subprocess.DEVNULL,
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        self._channel = await Channel.over(ours)
        self._channel.send(Configure(node, self.number, config.level, config.format))
        self.heard_at = time.monotonic()

    @property
    def pid(self) -> int:
        """Of the process; 0 before it has begun."""
        return 0 if self._process is None else self._process.pid

    def reserve(self, pipeline: str) -> Run:
        """It is about to be started there."""
        run: Run = asyncio.get_running_loop().create_future()
        self.runs[pipeline] = run
        return run

    async def start(self, message: Start) -> None:
        """Begin a pipeline for which a place is reserved."""
        await self._is_ready.wait()
        if self._channel is None or (self._reading is not None and self._reading.done()):
            self._lose(message.name)
        else:
            self._channel.send(message)

    def tell(self, message: Stop | Reload | Alive) -> None:
        """Something about a pipeline that runs there, or that the node is alive."""
        if self._channel is not None:
            self._channel.send(message)

    def note_silence(self) -> None:
        """What it has reported last is not known to be so any more."""
        reason = (
            f"worker process {self.number} has not been heard of for {_SILENT_S:g} s; it is ended after {_HANGS_S:g} s"
        )
        silent = [msgspec.structs.replace(each, state="waiting", reason=reason, lag_s=None) for each in self.reported]
        if silent != self.reported:
            self.reported = silent
            self._has_news()

    async def ask(self, ask: Ask | None, *, timeout_s: float) -> bytes:
        """Raises TimeoutError, also where the process has ended."""
        if self._channel is None:
            raise TimeoutError
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._questions[number] = answer
        try:
            self._channel.send(Question(number, ask))
            async with asyncio.timeout(timeout_s):
                return await answer
        finally:
            del self._questions[number]

    def kill(self) -> None:
        """At once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """Let it end, and kill it where it does not. Its pipelines should have ended."""
        await self._is_ready.wait()
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            try:
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
            except TimeoutError:
                self.kill()
                await self._process.wait()
        if self._reading is not None:
            await end(self._reading)

    async def _read(self, on_end: OnEnd) -> None:
        channel = self._channel
        if channel is None:
            return
        try:
            while line := await channel.read():
                self.heard_at = time.monotonic()
                self.silent_at_most_s = _HANGS_S
                self._take(msgspec.json.decode(line, type=FromWorker))
        finally:
            channel.close()
            self.reported = []
            lost = list(self.runs)
            for name in lost:
                self._lose(name)
            for each in self._questions.values():
                if not each.done():
                    each.set_exception(TimeoutError())
            on_end(self, lost)

    def _take(self, message: FromWorker) -> None:
        match message:
            case Report():
                self.reported = message.pipelines
                self._has_news()
            case Reply():
                answer = self._questions.get(message.id)
                if answer is not None and not answer.done():
                    answer.set_result(message.body)
            case Ended():
                run = self.runs.pop(message.name, None)
                if run is not None and not run.done():
                    run.set_result(message.fault)

    def _lose(self, name: str) -> None:
        run = self.runs.pop(name, None)
        if run is not None and not run.done():
            run.set_exception(WorkerGone())
            run.exception()  # whoever waits gets it; nobody may


OnEnd: TypeAlias = Callable[[Worker, list[str]], None]
"""Called when a process has ended, with the pipelines that it ran."""


class Workers:
    """All of them."""

    def __init__(self, node: str, config: Log, *, count: int) -> None:
        self._node = node
        self._config = config
        self._count = count or os.cpu_count() or 1
        self._numbers = itertools.count(1)
        self.news = asyncio.Event()
        """A worker has reported, or has ended."""
        self._workers: list[Worker] = []
        self._suspects = Suspects()
        self._watching: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None
        self._is_closing = False

    def __iter__(self) -> itertools.chain[Worker]:
        return itertools.chain(self._workers)

    def begin(self, *, is_warm: bool) -> None:
        """Watch over them. `is_warm`: the first one is begun at once, so that no pipeline waits for its imports."""
        self._watching = asyncio.create_task(self._watch())
        if is_warm:
            self._warming = asyncio.create_task(self._add(None).begin(self._node, self._config, self._on_end))

    def kill(self) -> None:
        """All processes, at once."""
        self._is_closing = True
        for each in self._workers:
            each.kill()

    async def close(self) -> None:
        """End all processes; the pipelines should have ended."""
        self._is_closing = True
        if self._watching is not None:
            await end(self._watching)
        if self._warming is not None:
            await asyncio.wait([self._warming])
        await asyncio.gather(*(each.close() for each in list(self._workers)))

    async def start(self, message: Start, *, is_isolated: bool) -> tuple[Worker, Run]:
        """Begin a pipeline in the shared worker that has the fewest, in that of its group, or in one of its own."""
        suspected = self._suspects.begins(message.name)
        group: Group = message.name if is_isolated else suspected
        possible = [each for each in self._workers if each.group == group]
        idlest = min(possible, key=lambda each: len(each.runs), default=None)
        most = self._count if group is None else 1
        if idlest is None or (idlest.runs and len(possible) < most):
            worker = self._add(group)
            run = worker.reserve(message.name)
            await worker.begin(self._node, self._config, self._on_end)
        else:
            worker, run = idlest, idlest.reserve(message.name)
        await worker.start(message)
        return worker, run

    def _add(self, group: Group) -> Worker:
        worker = Worker(str(next(self._numbers)), group=group, has_news=self.news.set)
        self._workers.append(worker)
        return worker

    def release(self, worker: Worker, pipeline: str) -> None:
        """A pipeline has ended there: a worker that is not shared ends with the last one."""
        self._suspects.ended(pipeline)
        if worker.group is not None and not worker.runs and worker in self._workers:
            self._workers.remove(worker)
            self._closing = asyncio.create_task(worker.close())

    def of(self, pipeline: str) -> Worker | None:
        """The one that runs it."""
        return next((each for each in self._workers if pipeline in each.runs), None)

    async def answer(self, ask: Ask) -> bytes:
        """An `Answer`, as JSON, about a pipeline that runs here."""
        worker = self.of(ask.pipeline)
        if worker is not None:
            try:
                return await worker.ask(ask, timeout_s=_ANSWER_S)
            except TimeoutError:
                pass
        error = NotRunning(f"pipeline {ask.pipeline} does not run on node {self._node}", hint="ask again in a second")
        return msgspec.json.encode(Answer(fault=fault_of(error)))

    async def metrics(self) -> dict[str, bytes]:
        """By worker; one that does not answer in time is left out."""
        workers = list(self._workers)
        texts = await asyncio.gather(
            *(each.ask(None, timeout_s=_METRICS_S) for each in workers), return_exceptions=True
        )
        return {each.number: text for each, text in zip(workers, texts, strict=True) if isinstance(text, bytes)}

    def _on_end(self, worker: Worker, lost: list[str]) -> None:
        if not self._is_closing:
            self._suspects.died(lost)
        if worker in self._workers:
            self._workers.remove(worker)
            self.news.set()
            if not self._is_closing:
                log.error(
                    "worker.ended",
                    worker=worker.number,
                    worker_pid=worker.pid,
                    reason="the process has ended, or was ended because its event loop hung",
                    hint="its pipelines begin again in another one",
                )

    async def _watch(self) -> None:
        """Tell each worker that the node is alive, and end one whose event loop hangs. Where this process itself was
        frozen, nothing was heard.
        """
        looked_at = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_S)
            now = time.monotonic()
            was_frozen, looked_at = now - looked_at > _FROZEN_S, now
            for worker in self._workers:
                worker.tell(Alive())
                if was_frozen:
                    worker.heard_at = now
                elif now - worker.heard_at > worker.silent_at_most_s:
                    silent_s = worker.silent_at_most_s
                    log.error("worker.hangs", worker=worker.number, worker_pid=worker.pid, silent_s=silent_s)
                    worker.kill()
                elif now - worker.heard_at > _SILENT_S:
                    worker.note_silence()
