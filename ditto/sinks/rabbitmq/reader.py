"""Reads the stream back for the commands that look at it, also while Ditto publishes to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ditto.errors import SinkError, StreamNotFound
from ditto.routing.router import checkpoint_subject, description_subjects, snapshot_subjects
from ditto.sinks.base import Held, MessageKind, Part, ReadMessage, Start
from ditto.sinks.rabbitmq.amqp import KEY
from ditto.sinks.rabbitmq.connecting import connect
from ditto.sinks.rabbitmq.connection import Connection
from ditto.sinks.rabbitmq.scanning import Message, Scan, messages, messages_of
from ditto.sinks.rabbitmq.stored_state import KIND
from ditto.sinks.rabbitmq.streams import Streams, existing
from ditto.sinks.rabbitmq.writer import greatest_id
from ditto.sinks.reader_retry import retry_delay_s

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.decoding.change import StoredObject

_MARKS: Final = 100
"""How many messages that are none of the events' are looked past, where the last ones are asked for."""


class RabbitMQReader:
    """A reader (see `base.Reader`). The marks by which sessions overtake each other are left out."""

    kind = KIND
    noun = "message at offset"

    def __init__(self, config: PipelineConfig) -> None:
        if config.rabbitmq is None:
            raise RuntimeError("there is no section rabbitmq")
        self._config = config.rabbitmq
        self._stream = config.rabbitmq.stream
        self._streams = Streams(config.events.prefix, config.rabbitmq.stream)
        self._marks = checkpoint_subject(config.events.prefix)
        self._descriptions = description_subjects(config.events.prefix)
        self._controls = snapshot_subjects(config.events.prefix)
        self._connection: Connection | None = None

    @property
    def name(self) -> str:
        """The stream's."""
        return f"{KIND} {self._stream.name}"

    async def connect(self) -> None:
        """Raises what keeps it from that."""
        self._connection = await connect(
            self._config, clock=time.monotonic, on_failure=lambda _error: None, reads_only=True
        )

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @property
    def _server(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("connect() comes first")
        return self._connection

    async def look(self) -> Held:
        """By the record, and the events after it."""
        if self._stream.name not in await existing(self._server, self._stream.name):
            return Held(exists=False)
        state = (await self._streams.look(self._server)).state
        return Held(exists=True, tail=state.tail, tail_time=None if state.last is None else state.last.commit_time)

    async def _end(self) -> tuple[int, float]:
        """Offset and time of the last message; -1 where there is none. Raises StreamNotFound."""
        name = self._stream.name
        if name not in await existing(self._server, name):
            raise StreamNotFound(f"there is no stream {name}", hint="has ditto run yet?", stream=name)
        if not await greatest_id(self._server, name):
            return -1, 0.0
        chunk = await Scan(self._server, name).last_chunk()
        if chunk is None:
            return -1, 0.0
        return chunk.chunk_first_offset + chunk.num_records - 1, chunk.timestamp / 1000

    async def read(self) -> AsyncGenerator[Part]:
        """In chunks, as they were stored."""
        end, _ = await self._end()
        if end < 0:
            return
        first: int | None = None
        async with aclosing(messages(self._server, self._stream.name, end=end)) as parts:
            async for part in parts:
                if part:
                    first = part[0].offset if first is None else first
                    yield Part(self._messages(part), part[-1].offset + 1 - first, end + 1 - first)

    async def follow(
        self, start: Start, *, is_endless: bool, on_lost: Callable[[SinkError], None]
    ) -> AsyncGenerator[Sequence[ReadMessage]]:
        """On connections of its own."""
        following: int | None = None
        failures = 0
        while True:
            try:
                await self.connect()
                end, end_time = await self._end()
                if following is None:
                    following = await self._begin(start, end, end_time, is_endless=is_endless)
                if not is_endless and following > end:
                    return
                scan = Scan(self._server, self._stream.name)
                async with aclosing(scan.chunks(following)) as chunks:
                    async for chunk in chunks:
                        failures = 0
                        new = [each for each in messages_of(chunk) if each.offset >= following]
                        if not is_endless:
                            new = [each for each in new if each.offset <= end]
                        following = chunk.chunk_first_offset + chunk.num_records
                        if found := self._messages(new):
                            yield found
                        if not is_endless and following > end:
                            return
            except SinkError as error:
                if following is None or not error.is_retryable:
                    raise
                failures += 1
                if failures == 1:
                    on_lost(error)
                await asyncio.sleep(retry_delay_s(failures))
            finally:
                await self.close()

    async def _begin(self, start: Start, end: int, end_time: float, *, is_endless: bool) -> int:
        """The offset with which to begin."""
        if end < 0:
            return 0
        if start.since is not None:
            since = start.since.timestamp()
            if end_time < since:
                return end + 1
            async with aclosing(Scan(self._server, self._stream.name).chunks(at=since)) as chunks:
                async for chunk in chunks:
                    return chunk.chunk_first_offset
        if start.last is not None:
            begin = max(0, end + 1 - start.last - _MARKS)
            found: list[Message] = []
            reading = messages(self._server, self._stream.name, begin=begin, end=end)
            async with aclosing(reading) as parts:
                async for part in parts:
                    found = [*found, *(each for each in part if each.route != self._marks)][-start.last :]
            return found[0].offset if found else end + 1
        return end + 1 if is_endless else 0

    async def read_object(self, stored: StoredObject) -> None:
        """There are none."""

    def _messages(self, found: Iterable[Message]) -> list[ReadMessage]:
        return [self._message(each) for each in found if each.route != self._marks]

    def _message(self, found: Message) -> ReadMessage:
        kind = MessageKind.EVENT
        if found.route.startswith(self._descriptions):
            kind = MessageKind.DESCRIPTION
        elif found.route.startswith(self._controls):
            kind = MessageKind.CONTROL
        headers = dict(found.headers)
        key = headers.pop(KEY, None)
        return ReadMessage(
            found.offset, kind, found.body, found.route, headers, key, found.position, found.stored_ms / 1000
        )
