"""Writes to one stream as its only writer, which the server's deduplication makes sure of.

The server drops a message whose publishing id is not greater than the greatest one that it has stored under the
publisher's name, and confirms it all the same. Ditto always publishes under one name. Each session begins far above the
ids of the one before, with a message that says so, its mark: once that is stored, nothing that another session still
sends is stored any more, and what is in the stream before the mark is all that there will be.

Because what is dropped is confirmed too, a confirmation alone does not say that a message was stored: a session that
was overtaken would hear it as well. Therefore the greatest id is asked for after a confirmation. As long as that is one
of this session's own, nobody has overtaken it, and everything of it that the server has taken until then was stored.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from rstream import schema

from ditto.errors import ChainBroken, SinkError
from ditto.sinks.rabbitmq.amqp import message
from ditto.sinks.rabbitmq.frames import publish_frames
from ditto.sinks.rabbitmq.server_errors import OK, PRECONDITION, alarm

if TYPE_CHECKING:
    from ditto.sinks.rabbitmq.connection import Connection

NAME: Final = "ditto"
"""Of the publisher."""
_JUMP: Final = 1 << 32
"""More messages than a session can have sent beyond those that are stored: its window, and what it has read of a
connection to PostgreSQL that has ended. There is room for four thousand million sessions."""


class Mark(msgspec.Struct, frozen=True):
    """The first message of a session."""

    session: int
    """Its publishing id."""
    nonce: str
    """Two sessions that begin at the same time may have the same id: one of them is not stored."""


_encode: Final = msgspec.json.Encoder().encode
_decode_mark: Final = msgspec.json.Decoder(Mark).decode


def read_mark(body: bytes) -> Mark | None:
    """None where it is none."""
    try:
        return _decode_mark(body)
    except msgspec.MsgspecError:
        return None


async def greatest_id(connection: Connection, stream: str) -> int:
    """The greatest publishing id that is stored; 0 where Ditto has never written to the stream."""
    doing = f"ask how far stream {stream} is"
    answer = await connection.demand(doing, schema.QueryPublisherSequence, NAME, stream, stream=stream)
    found: int = answer.sequence
    return found


class Writer:
    """Of one session and one stream. `on_progress` is called when `stored` has grown."""

    def __init__(self, connection: Connection, stream: str, *, number: int, on_progress: Callable[[], None]) -> None:
        self._connection = connection
        self.stream = stream
        self._number = number
        self._on_progress = on_progress
        self._sent = 0
        self._confirmed = 0
        self._ahead: set[int] = set()
        self.stored = 0
        """Everything up to this publishing id is in the stream."""
        self.mark = Mark(0, "")
        self._is_asking = False
        self._asking: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    @property
    def last_id(self) -> int:
        """The publishing id of the message that was sent last."""
        return self._sent

    @property
    def is_waiting(self) -> bool:
        """See `connection.Publisher`."""
        return self._confirmed < self._sent

    async def open(self, route: bytes) -> Mark:
        """Overtake every other session, with a mark on that route; it is stored on return."""
        connection, stream = self._connection, self.stream
        begin = await greatest_id(connection, stream) + _JUMP
        doing = f"publish to stream {stream}"
        answer = await connection.ask(doing, schema.DeclarePublisher, self._number, NAME, stream)
        if answer.response_code == PRECONDITION:  # of a publisher with a name as short as this, that is all it can be
            raise alarm(connection.where, "disk space")
        if answer.response_code != OK:
            raise connection.refused(answer.response_code, doing, stream, schema.DeclarePublisher)
        connection.add_publisher(self._number, self)
        self._sent = self._confirmed = self.stored = begin - 1
        self.mark = Mark(begin, secrets.token_hex(16))
        self.publish([message(route, [], _encode(self.mark))])
        await self.until(begin)
        return self.mark

    def publish(self, messages: Sequence[bytes]) -> int:
        """Send them; returns the publishing id of the last one."""
        connection = self._connection
        frames = publish_frames(
            messages, publisher=self._number, first_id=self._sent + 1, frame_max=connection.frame_max
        )
        if not self.is_waiting:
            connection.published()
        for frame in frames:
            connection.post(frame)
        self._sent += len(messages)
        return self._sent

    async def until(self, identifier: int) -> None:
        """Wait until everything up to it is stored. Raises what ends the session."""
        while self.stored < identifier:
            if self._connection.failure is not None:
                raise self._connection.failure
            self._grown.clear()
            await self._grown.wait()

    def wake(self) -> None:
        """See `connection.Publisher`: nobody waits in `until` any longer."""
        self._grown.set()

    def confirmed(self, ids: Sequence[int]) -> None:
        """See `connection.Publisher`. They come in order but where the server drops some."""
        if ids[0] == self._confirmed + 1 and ids[-1] == self._confirmed + len(ids):
            self._confirmed = ids[-1]
        else:
            self._ahead.update(ids)
            while self._confirmed + 1 in self._ahead:
                self._confirmed += 1
                self._ahead.discard(self._confirmed)
        if not self._is_asking:
            self._is_asking = True
            self._asking = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        """Ask for the greatest id until everything that is confirmed is known to be stored."""
        try:
            while self.stored < self._confirmed:
                confirmed = self._confirmed
                answer = await self._connection.ask(
                    f"see what stream {self.stream} has", schema.QueryPublisherSequence, NAME, self.stream
                )
                if answer.response_code != OK:
                    self._connection.fail(self._connection.refused(answer.response_code, "publish events", self.stream))
                    return
                if not confirmed <= answer.sequence <= self._sent:
                    self._connection.fail(self._overtaken(is_gone=answer.sequence < confirmed))
                    return
                self.stored = confirmed
                self._grown.set()
                self._on_progress()
        except SinkError:
            pass  # the connection has told it
        finally:
            self._is_asking = False

    def _overtaken(self, *, is_gone: bool) -> ChainBroken:
        if is_gone:
            return ChainBroken(
                f"stream {self.stream} has lost messages that it had confirmed, or was created anew",
                hint="who has deleted it? Ditto looks again",
                stream=self.stream,
            )
        return ChainBroken(
            f"another session has opened stream {self.stream}: what this one has sent since then was not stored",
            hint="let no other Ditto write to the same stream; during a takeover this is how the former holder is "
            "fenced",
            stream=self.stream,
        )
