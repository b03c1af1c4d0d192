"""One connection by the protocol of streams: requests and their answers, publishers, subscriptions.

rstream says what the bytes of commands are. Its own client is not used: it goes on by itself after faults, and drops
what is published while there is no connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from rstream import schema
from rstream.encoding import decode_frame, encode_frame

from ditto import __version__
from ditto.errors import AnswerUnreadable, LoginDenied, SinkError, SinkLost
from ditto.sinks.rabbitmq.access import Access, Right
from ditto.sinks.rabbitmq.frames import confirmed_ids
from ditto.sinks.rabbitmq.server import Address
from ditto.sinks.rabbitmq.server_errors import OK, login_refused, refused, silent, unreachable

_HEARTBEAT_S: Final = 20
_LOOK_PERIOD_S: Final = 0.25
_BUSY_S: Final = 3.0
_MOST_FRAME: Final = 64 << 20
"""Of one frame, where the server names no limit."""
_CONFIRM: Final = b"\x00\x03\x00\x01"
_HEARTBEAT: Final = b"\x00\x17\x00\x01"
_RIGHTS: Final[Mapping[type[schema.Frame], Right]] = {schema.Create: "configure", schema.DeclarePublisher: "write"}
"""That a request needs; all others need `read`."""

Answer = TypeVar("Answer", bound=schema.Frame)


class Publisher(Protocol):
    """What hears of the messages of one publisher. Called by the connection's task: nothing may be awaited."""

    stream: str

    @property
    def is_waiting(self) -> bool:
        """For confirmations."""

    def confirmed(self, ids: Sequence[int]) -> None: ...

    def wake(self) -> None:
        """The connection has ended."""


class Connection:
    """Nothing is sent again, and the first fault ends it: `failure` has it, and `on_failure` gets it."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        where: str,
        address: Address,
        access: Access,
        timeout_s: float,
        clock: Callable[[], float],
        on_failure: Callable[[SinkError], None],
    ) -> None:
        self._reader, self._writer = reader, writer
        self.where = where
        self._address = address
        self.access = access
        self._timeout_s = timeout_s
        self._clock = clock
        self._on_failure = on_failure
        self.failure: SinkError | None = None
        self.frame_max = _MOST_FRAME
        self.properties: Mapping[str, str] = {}
        self._numbers = 0
        self._subscriptions = 0
        self._unanswered: dict[int, tuple[str, float, asyncio.Future[Any]]] = {}
        self._publishers: dict[int, Publisher] = {}
        self._chunks: dict[int, deque[schema.Deliver]] = {}
        self._has_chunk = asyncio.Event()
        self._heard_at = self._answered_at = clock()
        """When a frame came; and one that is no heartbeat, which also comes from a server that reads nothing."""
        self._published_at = clock()
        self._tasks: list[asyncio.Task[None]] = []

    # ------------------------------------------------------------------------------------ beginning

    async def log_in(self, password: str) -> None:
        """Raises LoginDenied, SinkDenied and what else keeps it from that."""
        mine = {"product": "Ditto", "version": __version__, "platform": "Python", "connection_name": "ditto"}
        told = [schema.Property(key, value) for key, value in mine.items()]
        answer = await self._first(schema.PeerProperties, schema.PeerPropertiesResponse, told)
        self.properties = {each.key: each.value for each in answer.properties}
        mechanisms = await self._first(schema.SaslHandshake, schema.SaslHandshakeResponse)
        if "PLAIN" not in mechanisms.mechanisms:
            raise LoginDenied(
                f"{self.where}: the server takes no passwords (it offers {', '.join(mechanisms.mechanisms)})",
                hint="let it offer PLAIN (auth_mechanisms in rabbitmq.conf)",
            )
        data = f"\0{self.access.user}\0{password}".encode()
        logged_in = await self._first(schema.SaslAuthenticate, schema.SaslAuthenticateResponse, "PLAIN", data)
        if logged_in.response_code != OK:
            raise login_refused(logged_in.response_code, self.where, self.access)
        tune = await self._next(schema.Tune)
        self.frame_max = tune.frame_max or _MOST_FRAME
        self._writer.write(encode_frame(schema.Tune(tune.frame_max, min(tune.heartbeat or _HEARTBEAT_S, _HEARTBEAT_S))))
        opened = await self._first(schema.Open, schema.OpenResponse, self.access.vhost)
        if opened.response_code != OK:
            raise login_refused(opened.response_code, self.where, self.access)

    def begin(self) -> None:
        """From now on tasks read, and watch the time."""
        self._tasks = [
            asyncio.create_task(task, name=f"rabbitmq-{name}")
            for name, task in (("read", self._read()), ("watch", self._watch()))
        ]

    async def _first(self, request: Callable[..., schema.Frame], answer: type[Answer], *fields: object) -> Answer:
        """Before the tasks have begun."""
        self._numbers += 1
        self._writer.write(encode_frame(request(self._numbers, *fields)))
        return await self._next(answer)

    async def _next(self, answer: type[Answer]) -> Answer:
        while True:
            frame = self._decoded(await self._frame())
            if isinstance(frame, answer):
                return frame
            if isinstance(frame, schema.Close):
                raise self._closed(frame)

    # ------------------------------------------------------------------------------------ requests

    async def ask(self, doing: str, request: Callable[..., schema.Frame], *fields: object) -> Any:
        """Send a request, and wait for its answer, whatever that says. Raises what ended the connection."""
        if self.failure is not None:
            raise self.failure
        self._numbers += 1
        number, future = self._numbers, asyncio.get_running_loop().create_future()
        self._unanswered[number] = (doing, self._clock(), future)
        self._writer.write(encode_frame(request(number, *fields)))
        try:
            return await future
        finally:
            self._unanswered.pop(number, None)

    async def demand(self, doing: str, request: Callable[..., schema.Frame], *fields: object, stream: str = "") -> Any:
        """The same; raises a SinkError where the answer is not OK."""
        answer = await self.ask(doing, request, *fields)
        if answer.response_code != OK:
            raise self.refused(answer.response_code, doing, stream, request)
        return answer

    def refused(self, code: int, doing: str, stream: str, request: object = None) -> SinkError:
        """The error for an answer that is not OK to a request of that type."""
        right = _RIGHTS.get(request, "read") if isinstance(request, type) else "read"
        return refused(code, self.where, doing, access=self.access, stream=stream, right=right)

    def post(self, frame: bytes) -> None:
        """Send what has no answer of its own."""
        if self.failure is not None:
            raise self.failure
        self._writer.write(frame)

    # ------------------------------------------------------------------------------------ publishers, subscriptions

    def add_publisher(self, number: int, publisher: Publisher) -> None:
        """Confirmations go there."""
        self._publishers[number] = publisher

    def published(self) -> None:
        """Something was published: from now on a confirmation is waited for."""
        self._published_at = self._clock()

    def subscription(self) -> int:
        """A number for a new one, whose chunks are kept until they are asked for."""
        self._subscriptions = (self._subscriptions + 1) % 256
        self._chunks[self._subscriptions] = deque()
        return self._subscriptions

    def unsubscribe(self, number: int) -> None:
        """End it without waiting for the server: chunks that still come are dropped."""
        self._chunks.pop(number, None)
        if self.failure is None:
            self._numbers += 1
            self._writer.write(encode_frame(schema.Unsubscribe(self._numbers, number)))

    async def chunk(self, number: int, *, timeout_s: float | None = None) -> schema.Deliver | None:
        """The next one of a subscription; None where none comes in time."""
        chunks = self._chunks[number]
        deadline = None if timeout_s is None else self._clock() + timeout_s
        while not chunks:
            if self.failure is not None:
                raise self.failure
            self._has_chunk.clear()
            left = None if deadline is None else deadline - self._clock()
            if left is not None and left <= 0:
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._has_chunk.wait()
        return chunks.popleft()

    # ------------------------------------------------------------------------------------ tasks

    async def _frame(self) -> bytes:
        length = int.from_bytes(await self._reader.readexactly(4), "big")
        if not 4 <= length <= max(self.frame_max, _MOST_FRAME):
            raise AnswerUnreadable(
                f"{self.where} answers with something else than frames of streams",
                hint="see rabbitmq.url: streams have a port of their own, 5552 for rabbitmq-stream://, and 5551 for "
                "rabbitmq-stream+tls://; amqp:// is for an exchange",
            )
        return await self._reader.readexactly(length)

    def _decoded(self, data: bytes) -> schema.Frame:
        try:
            return decode_frame(data)
        except (ValueError, KeyError, AssertionError):
            raise AnswerUnreadable(
                f"{self.where} sends a frame of another form than that of the protocol of streams",
                hint="which version of RabbitMQ is it?",
            ) from None

    async def _read(self) -> None:
        try:
            while True:
                data = await self._frame()
                self._heard_at = self._clock()
                if not data.startswith(_HEARTBEAT):
                    self._answered_at = self._heard_at
                if data.startswith(_CONFIRM):
                    publisher, ids = confirmed_ids(data)
                    if (found := self._publishers.get(publisher)) is not None:
                        found.confirmed(ids)
                else:
                    self._take(self._decoded(data))
        except SinkError as error:
            self.fail(error)
        except (OSError, EOFError) as error:
            self.fail(unreachable(error, self._address))

    def _take(self, frame: schema.Frame) -> None:
        number = frame.corr_id
        if isinstance(frame, schema.Close):
            raise self._closed(frame)
        if isinstance(frame, schema.Deliver):
            if (chunks := self._chunks.get(frame.subscription_id)) is not None:
                chunks.append(frame)
                self._has_chunk.set()
        elif isinstance(frame, schema.PublishError):
            publisher = self._publishers.get(frame.publisher_id)
            stream = publisher.stream if publisher is not None else ""
            code = frame.errors[0].response_code
            raise self.refused(code, f"publish to stream {stream}", stream, schema.DeclarePublisher)
        elif isinstance(frame, schema.MetadataUpdate):
            stream = frame.metadata_info.stream
            raise SinkLost(
                f"{self.where}: stream {stream} is no longer available there: it has another leader, or was deleted",
                hint="nothing is to be done after a failover; otherwise see the server's log",
                stream=stream,
            )
        elif number is not None and number in self._unanswered:
            _, _, future = self._unanswered[number]
            if not future.done():
                future.set_result(frame)

    def _closed(self, frame: schema.Close) -> SinkLost:
        return SinkLost(f"{self.where} closes the connection: {frame.reason}", hint="see the server's log")

    async def _watch(self) -> None:
        beat_at = self._clock()
        while True:
            await asyncio.sleep(_LOOK_PERIOD_S)
            now = self._clock()
            if now - beat_at >= _HEARTBEAT_S / 2:
                beat_at = now
                self._writer.write(encode_frame(schema.Heartbeat()))
            doing, waited_s = self._waited(now)
            for limit_s, silent_s in ((self._timeout_s, waited_s), (3 * _HEARTBEAT_S, now - self._heard_at)):
                if silent_s >= limit_s:
                    self.fail(silent(self.where, limit_s, doing))
                    return

    def _waited(self, now: float) -> tuple[str, float]:
        """What the oldest answer is waited for to do, and for how long none of any kind has come: 0 for not at all."""
        if self._unanswered:
            doing, since, _ = next(iter(self._unanswered.values()))
        elif any(publisher.is_waiting for publisher in self._publishers.values()):
            doing, since = "publish events", self._published_at
        else:
            return "publish events", 0.0
        return doing, now - max(self._answered_at, since)

    @property
    def blocked(self) -> SinkError | None:
        """What it would fail with, where the server has left something unanswered for longer than a busy one does. It
        says nothing of an alarm: all that can be known is that nothing is on its way.
        """
        doing, waited_s = self._waited(self._clock())
        return silent(self.where, round(waited_s), doing) if waited_s >= _BUSY_S else None

    def fail(self, error: SinkError) -> None:
        """End it."""
        if self.failure is not None:
            return
        self.failure = error
        for _, _, future in self._unanswered.values():
            if not future.done():
                future.set_exception(error)
        self._has_chunk.set()
        for publisher in self._publishers.values():
            publisher.wake()
        self._on_failure(error)

    async def close(self) -> None:
        """Hang up. What was sent may still be stored."""
        transport = self._writer.transport
        if self.failure is None and not transport.get_write_buffer_size():  # the server's log has no warning then
            self._numbers += 1
            self._writer.write(encode_frame(schema.Close(self._numbers, OK, "OK")))
        self.fail(SinkLost(f"the connection to {self.where} was closed"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        transport.close() if not transport.get_write_buffer_size() else transport.abort()
