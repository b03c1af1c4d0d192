"""Reads a stream: chunk after chunk from an offset on, up to the last one that there is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rstream import schema
from rstream.amqp import amqp_decoder
from rstream.constants import OffsetType
from rstream.encoding import encode_frame

from ditto.errors import AnswerUnreadable
from ditto.lsn import Position
from ditto.sinks.rabbitmq.amqp import POSITION

if TYPE_CHECKING:
    from ditto.sinks.rabbitmq.connection import Connection

_CREDIT: Final = 8
"""Chunks that the server may send ahead."""
_WAIT_S: Final = 2.0


class Message(NamedTuple):
    """One of a stream. What another program has put there may have any form."""

    offset: int
    stored_ms: int
    route: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def position(self) -> Position | None:
        """None where it has none."""
        try:
            return Position.parse(self.headers[POSITION])
        except (KeyError, ValueError):
            return None


def messages_of(chunk: schema.Deliver) -> Iterator[Message]:
    """All messages of a chunk."""
    try:
        bodies = chunk.get_messages()
    except Exception as error:  # noqa: BLE001 -- of rstream's: compressed by a method whose library is not there
        raise AnswerUnreadable(
            f"the messages at offset {chunk.chunk_first_offset} cannot be read: {type(error).__name__}",
            hint="does something else publish to that stream? Ditto compresses nothing",
        ) from None
    for offset, data in enumerate(bodies, chunk.chunk_first_offset):
        yield _message(offset, chunk.timestamp, data)


def _message(offset: int, stored_ms: int, data: bytes) -> Message:
    try:
        found: Any = amqp_decoder(data)
        subject = _text(found.properties.subject) if found.properties is not None else ""
        headers = {_text(name): _text(value) for name, value in (found.application_properties or {}).items()}
        body = found.body
        if not isinstance(body, bytes | bytearray):
            body = b"".join(body) if isinstance(body, list) else str(body).encode()
        return Message(offset, stored_ms, subject, headers, bytes(body))
    except Exception:  # noqa: BLE001 -- of another program, and no AMQP 1.0
        return Message(offset, stored_ms, "", {}, data)


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


class Scan:
    """Of one stream, on a connection that may have others."""

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def last_chunk(self) -> schema.Deliver | None:
        """The last one; None where there is none."""
        number = await self._subscribe(schema.OffsetSpec(OffsetType.LAST), 1)
        try:
            return await self._connection.chunk(number, timeout_s=_WAIT_S)
        finally:
            self._connection.unsubscribe(number)

    async def chunks(self, offset: int = 0, *, at: float | None = None) -> AsyncGenerator[schema.Deliver]:
        """From the chunk on that has the offset (the first one, where that is gone), for ever. `at`, Unix seconds:
        from the first chunk on that was stored then or later.
        """
        spec: schema.OffsetSpec = schema.OffsetSpecOffset(OffsetType.OFFSET, offset)
        if at is not None:
            spec = schema.OffsetSpecTimestamp(OffsetType.TIMESTAMP, round(at * 1000))
        number = await self._subscribe(spec, _CREDIT)
        try:
            while True:
                chunk = await self._connection.chunk(number)
                if chunk is not None:
                    self._connection.post(encode_frame(schema.Credit(number, 1)))
                    yield chunk
        finally:
            self._connection.unsubscribe(number)

    async def _subscribe(self, spec: schema.OffsetSpec, credit: int) -> int:
        doing = f"read stream {self._stream}"
        number = self._connection.subscription()
        await self._connection.demand(
            doing, schema.Subscribe, number, self._stream, spec, credit, [], stream=self._stream
        )
        return number


async def messages(connection: Connection, stream: str, *, begin: int = 0, end: int) -> AsyncGenerator[list[Message]]:
    """Those from offset `begin` to `end`, by chunk."""
    chunks = Scan(connection, stream).chunks(begin)
    try:
        async for chunk in chunks:
            yield [each for each in messages_of(chunk) if begin <= each.offset <= end]
            if chunk.chunk_first_offset + chunk.num_records > end:
                return
    finally:
        await chunks.aclose()
