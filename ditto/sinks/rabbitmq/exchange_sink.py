"""The sink that publishes to an exchange of RabbitMQ: at least once, each message confirmed by the server.

Nothing can be found again there: the slot says where to begin. A message that no queue gets is an error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from aio_pika import DeliveryMode, Message

from ditto.decoding.event_id import event_id, event_key
from ditto.errors import SinkError, SinkLost, StreamUnusable
from ditto.formats.own_headers import CONTENT_TYPE, ID
from ditto.lsn import Position
from ditto.routing.route_limit import RouteLimit
from ditto.routing.router import description_subjects
from ditto.sinks.base import Batch, Capabilities, Clock, MessageTooLarge, PipelineId, SinkState
from ditto.sinks.messages_only import MessagesOnly
from ditto.sinks.progress import Progress
from ditto.sinks.rabbitmq.amqp import KEY, POSITION, SNAPSHOT, TRACEPARENT, pairs_of
from ditto.sinks.rabbitmq.exchange_connection import ExchangeConnection
from ditto.sinks.rabbitmq.server_errors import alarm, silent
from ditto.tasks import end

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.lsn import Checkpoint

_AT_ONCE: Final = 500
"""Messages that wait for a confirmation."""
_AROUND_BYTES: Final = 200
_LONGEST_TEXT: Final = 255
"""Bytes of AMQP's short texts."""
_KEYS: Final = RouteLimit(_LONGEST_TEXT, lambda route: len(route.encode()), "bytes of a routing key")
_TICK_S: Final = 0.5
_ROUTED_S: Final = 3.0
"""A server that has just begun takes messages, and may know no queue for them for up to a second. So the first message
of a session is sent alone, and again for so long: nothing that comes behind it can overtake it."""
_ROUTED_PERIOD_S: Final = 0.2
_FROZEN_S: Final = 5.0
"""A process that stood still for so long has maybe been replaced: another Ditto may have published what waits here."""


class ExchangeSink(MessagesOnly):
    """A sink (see `base.Sink`)."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        if config.rabbitmq is None:
            raise RuntimeError("there is no section rabbitmq")
        self._config = config.rabbitmq
        self._clock = clock
        self._descriptions = description_subjects(config.events.prefix).encode()
        self._connection = ExchangeConnection(config.rabbitmq, self._fail)
        self._key = b""
        self._progress = Progress()
        self._batches: deque[Batch | int] = deque()
        self._came = asyncio.Event()
        self._under_way: deque[tuple[int, asyncio.Task[None]]] = deque()
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_at = self._ticked_at = 0.0
        self._blocked: SinkError | None = None
        self._is_routed = False

    @property
    def capabilities(self) -> Capabilities:
        """Queues keep what they want."""
        return Capabilities(
            "exchange",
            self._config.exchange.name,
            "rabbitmq.exchange.name",
            size_hint="raise max_message_size of the server, and with it rabbitmq.exchange.max_bytes",
            max_bytes=self._config.exchange.max_bytes,
            keeps_tail=False,
            route_limit=_KEYS,
            may_be_blocked=True,
        )

    @property
    def blocked(self) -> SinkError | None:
        """An alarm of the server. The session goes on: the next one would publish the same messages again."""
        return self._blocked

    # ------------------------------------------------------------------------------------ set-up

    async def connect(self) -> None:
        """Connect to a node that answers."""
        await self._connection.connect()

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        del pipeline
        return SinkState(None, None)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Create the exchange where it is missing."""
        await self._connection.declare()

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """There is nothing to claim."""

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        await self._connection.declare()
        self._key = event_key(pipeline.system_identifier, pipeline.slot)
        self._heard_at = self._ticked_at = self._clock()
        self._tasks = [asyncio.create_task(work) for work in (self._publish_all(), self._watch())]
        return await self.inspect(pipeline)

    # ------------------------------------------------------------------------------------ messages

    async def send(self, batch: Batch) -> None:
        """Take the messages. Raises MessageTooLarge."""
        self._progress.check()
        payloads = batch.payloads
        if len(payloads.data) + _AROUND_BYTES > self._config.exchange.max_bytes or batch.headers is not None:
            for index, payload in enumerate(payloads.each()):
                headers = 0 if batch.headers is None else len(batch.headers[index])
                size = len(payload) + headers + _AROUND_BYTES
                if size > self._config.exchange.max_bytes:
                    raise MessageTooLarge(index, size, self._config.exchange.max_bytes)
        self._batches.append(batch)
        self._came.set()

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Nothing is published: durable with everything before it."""
        del checkpoint
        self._progress.check()
        self._batches.append(number)
        self._came.set()

    async def flush(self) -> None:
        """Nothing is kept open: all that was sent will be acknowledged."""
        self._progress.check()

    async def acknowledged(self) -> int:
        """See `base.Sink`."""
        return await self._progress.acknowledged()

    async def close(self) -> None:
        """Give up what is under way, and hang up."""
        self._fail(SinkLost(f"the connection to {self._connection.where} was closed"))
        await end(*self._tasks, *(task for _, task in self._under_way))
        await self._connection.close()

    async def _publish_all(self) -> None:
        while True:
            while not self._batches:
                self._came.clear()
                await self._came.wait()
            batch = self._batches.popleft()
            if isinstance(batch, int):
                self._start(batch, asyncio.create_task(_nothing()))
                continue
            for number, (route, message) in enumerate(self._messages(batch), batch.first):
                await self._room.acquire()
                await self._connection.unblocked()
                if self._progress.failure is not None:
                    return
                if self._is_routed:
                    self._start(number, asyncio.create_task(self._publish(route, message)))
                    continue
                first = asyncio.create_task(self._publish_first(route, message))
                self._start(number, first)
                await asyncio.wait([first])
                self._is_routed = True

    def _start(self, number: int, task: asyncio.Task[None]) -> None:
        """Tasks begin in the order in which they are created, and in that order aiormq lets them write."""
        self._under_way.append((number, task))
        task.add_done_callback(self._on_done)

    async def _publish(self, route: str, message: Message) -> None:
        try:
            if self._progress.failure is None:
                self._check_awake()
                await self._connection.publish(message, route)
        finally:
            self._room.release()

    async def _publish_first(self, route: str, message: Message) -> None:
        until = self._clock() + _ROUTED_S
        try:
            while self._progress.failure is None:
                self._check_awake()
                try:
                    return await self._connection.publish(message, route)
                except StreamUnusable:
                    if self._clock() >= until:
                        raise
                await asyncio.sleep(_ROUTED_PERIOD_S)
        finally:
            self._room.release()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._fail(error)
            return
        self._heard_at = self._clock()
        number = 0
        while self._under_way and self._under_way[0][1].done() and self._progress.failure is None:
            number, _ = self._under_way.popleft()
        if number:
            self._progress.move(number)

    def _messages(self, batch: Batch) -> Iterator[tuple[str, Message]]:
        traces = batch.traceparents or {}
        for index, payload in enumerate(batch.payloads.each()):
            route = batch.routes[index]
            position = Position(batch.commit_lsns[index], batch.ordinals[index])
            headers = {POSITION: str(position)}
            if batch.snapshot_run:
                headers[SNAPSHOT] = batch.snapshot_run
            if (trace := traces.get(index)) is not None:
                headers[TRACEPARENT] = trace.decode()
            if batch.headers is not None:
                headers |= {name.decode(): value.decode() for name, value in pairs_of(batch.headers[index])}
            if batch.keys is not None and (key := batch.keys[index]) is not None:
                headers[KEY] = key.decode()
            identifier = headers.get(ID) or event_id(position, self._key)
            yield (
                route.decode(),
                Message(
                    bytes(payload),
                    headers=dict(headers),
                    content_type=headers.get(CONTENT_TYPE, "application/json"),
                    # A description of a table has the position of the message before it, and is another one.
                    message_id=_short(
                        f"{identifier}:{route.decode()}" if route.startswith(self._descriptions) else identifier
                    ),
                    delivery_mode=DeliveryMode.PERSISTENT,
                ),
            )

    # ------------------------------------------------------------------------------------ faults

    async def _watch(self) -> None:
        timeout_s = self._config.ack_timeout_s
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                self._check_awake()
            except SinkError as error:
                self._fail(error)
                return
            self._ticked_at = self._clock()
            is_blocked = await self._connection.is_blocked()
            self._blocked = alarm(self._connection.where, "memory or disk space") if is_blocked else None
            if is_blocked or not self._under_way:
                self._heard_at = self._ticked_at
            elif self._ticked_at - self._heard_at >= timeout_s:
                self._fail(silent(self._connection.where, timeout_s, "publish events"))
                return

    def _check_awake(self) -> None:
        """Raise SinkLost in a process that stood still, before it publishes what another one may have published."""
        if (still_s := self._clock() - self._ticked_at) > _FROZEN_S:
            raise SinkLost(
                f"this process stood still for {still_s:.0f} s: another Ditto may have taken its place",
                hint="the next session asks PostgreSQL. Was the process stopped, or the machine suspended?",
            )

    def _fail(self, error: BaseException) -> None:
        self._progress.fail(error)

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Raise StreamUnusable for what is too long for a routing key."""
        for route in routes:
            if not _KEYS.fits(route):
                raise StreamUnusable(
                    f"subject {route[:60]}… has {len(route.encode())} bytes, and a routing key at most {_LONGEST_TEXT}",
                    hint="give the table a shorter one in events.topics, or another events.subject",
                )


def _short(identifier: str) -> str:
    """The id of a message; what is too long for that, as an id of the application's may be, is in `Ditto-Id` alone."""
    encoded = identifier.encode()
    return identifier if len(encoded) <= _LONGEST_TEXT else f"sha256:{sha256(encoded).hexdigest()}"


async def _nothing() -> None:
    """A checkpoint is done when everything before it is."""
