"""The sink that posts events to a receiver: batch after batch, each taken before the next one is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import structlog

from ditto.decoding.event_id import event_key
from ditto.errors import SinkError, SinkLost
from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.messages_only import MessagesOnly
from ditto.sinks.progress import Progress
from ditto.sinks.webhook.client import Client
from ditto.sinks.webhook.delivery import Delivery
from ditto.sinks.webhook.queue import Queue
from ditto.tasks import end

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.lsn import Checkpoint
    from ditto.sinks.webhook.queue import Request

log = structlog.get_logger()

_TICK_S: Final = 1.0
_FROZEN_S: Final = 5.0
"""A process that stood still for so long has maybe been replaced: another Ditto may have posted all that waits here."""


class WebhookSink(MessagesOnly):
    """A sink (see `base.Sink`). Nothing is found again there: the slot says where to begin, at least once.

    One task posts. What comes while a request is on its way makes the next one.
    """

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        if config.webhook is None:
            raise RuntimeError("there is no section webhook")
        self._config = config.webhook
        self._clock = clock
        self._capabilities = Capabilities(
            "webhook",
            self._config.origin,
            "webhook.url",
            size_hint="raise webhook.max_bytes, and with it the receiver's limit",
            max_bytes=self._config.max_bytes,
            keeps_tail=False,
        )
        self._client = Client(self._config)
        self._delivery = Delivery(self._post, retry_for_s=self._config.retry_for_s, context=self._capabilities.context)
        self._queue: Queue | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted = 0  # up to this delivery number nothing waits for more events
        self._waits_since = 0.0
        self._ticked_at = 0.0
        self._sent = 0
        self._progress = Progress()
        self._came = asyncio.Event()

    @property
    def capabilities(self) -> Capabilities:
        """A body has a limit, and the receiver keeps what it wants."""
        return self._capabilities

    @property
    def retries(self) -> int:
        """Requests that were posted again."""
        return self._delivery.retries

    @property
    def blocked(self) -> SinkError | None:
        """What the last attempt ended with, until the next one begins."""
        return self._delivery.waits_for

    async def connect(self) -> None:
        """See whether the receiver is there, before anything is read."""
        if self._config.is_exposed:
            log.warning("webhook.plain_text", **self._capabilities.context)
        await self._client.connect()

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        del pipeline
        return SinkState(None, None)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Nothing is needed."""

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """There is nothing to claim."""

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        self._queue = Queue(
            body=self._config.body,
            max_events=self._config.max_events,
            max_bytes=self._config.max_bytes,
            key=event_key(pipeline.system_identifier, pipeline.slot),
        )
        self._ticked_at = self._clock()
        for work in (self._post_all(self._queue), self._stay_awake()):
            self._tasks.append(task := asyncio.create_task(work))
            task.add_done_callback(self._on_end)
        return await self.inspect(pipeline)

    async def send(self, batch: Batch) -> None:
        """Take the messages; they are posted when all before them is taken."""
        queue = self._usable()
        if queue.first is None:
            self._waits_since = self._clock()
        queue.add(batch)
        self._sent = batch.first + batch.size - 1
        if batch.is_urgent:
            self._wanted = self._sent
        self._came.set()

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Nothing is posted: durable with everything before it."""
        del checkpoint
        queue = self._usable()
        is_idle = self._progress.durable == self._sent
        self._sent = number
        if is_idle:
            self._move(queue)

    async def flush(self) -> None:
        """Let nothing wait for more events."""
        self._usable()
        self._wanted = self._sent
        self._came.set()

    async def acknowledged(self) -> int:
        """See `base.Sink`."""
        return await self._progress.acknowledged()

    async def close(self) -> None:
        """Give up what is on its way, and hang up."""
        await end(*self._tasks)
        await self._client.close()

    def _usable(self) -> Queue:
        self._progress.check()
        if self._queue is None:
            raise RuntimeError("open() comes first")
        return self._queue

    def _move(self, queue: Queue) -> None:
        """Everything before the first message that waits is taken, checkpoints included."""
        self._progress.move(self._sent if queue.first is None else queue.first - 1)

    async def _post_all(self, queue: Queue) -> None:
        while True:
            while queue.first is None:
                self._came.clear()
                await self._came.wait()
            while (left_s := self._waits_since + self._config.linger_s - self._clock()) > 0:
                if queue.is_full or self._wanted >= (queue.first or 0):
                    break
                self._came.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), left_s)
            await self._delivery.deliver(queue.take())
            self._waits_since = self._clock()
            self._move(queue)

    async def _post(self, request: Request) -> None:
        self._check_awake()
        await self._client.post(request)

    async def _stay_awake(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._check_awake()
            self._ticked_at = self._clock()

    def _check_awake(self) -> None:
        """Raise SinkLost in a process that stood still, before it posts what another one may have posted by now."""
        self._progress.check()
        if (still_s := self._clock() - self._ticked_at) > _FROZEN_S:
            raise SinkLost(
                f"this process stood still for {still_s:.0f} s: another Ditto may have taken its place",
                hint="the next session asks PostgreSQL. Was the process stopped, or the machine suspended?",
            )

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._progress.fail(error)
