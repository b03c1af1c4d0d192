"""Reads streams of RabbitMQ with rstream's own client, as a consumer does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from rstream import OffsetType, amqp_decoder, schema
from rstream.client import Client
from rstream.exceptions import StreamDoesNotExist

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT_S = 10.0
READ_S = 150.0
EMPTY_S = 0.5


class Stored(NamedTuple):
    """A message of a stream."""

    offset: int
    subject: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def client_of(port: int, *, vhost: str = "/") -> AsyncIterator[Client]:
    client = Client("127.0.0.1", port, frame_max=0, heartbeat=60, connection_closed_handler=lambda _: None)
    try:
        await client.start()
        await client.authenticate(vhost=vhost, username="guest", password="guest")
        yield client
    finally:
        # Its own `close` waits for some tenths of a second.
        for name in list(client._tasks):
            await client.stop_task(name)
        if client._conn is not None:
            await client._conn.close()


async def read_stream(
    port: int, stream: str, *, publisher: str | None = "ditto", vhost: str = "/", last: bool = False, begin: int = 0
) -> list[Stored]:
    """Everything that it has now from an offset on, or the last chunk of it; nothing where it does not exist, and where
    nobody has published to it under that name. `publisher` is None for a stream that an exchange publishes to.
    """
    async with client_of(port, vhost=vhost) as client, asyncio.timeout(READ_S):
        chunks = await _last_chunk(client, stream, publisher)
        if chunks is None:
            return []
        try:
            chunk = await asyncio.wait_for(chunks.get(), None if publisher else EMPTY_S)
        except TimeoutError:
            return []
        found = [_stored(*each) for each in enumerate(chunk.get_messages(), chunk.chunk_first_offset)]
        if last:
            return found
        await client.unsubscribe(1)
        end = chunk.chunk_first_offset + chunk.num_records
        spec = schema.OffsetSpecOffset(OffsetType.OFFSET, min(begin, end - 1))
        await client.subscribe(stream, 1, spec, initial_credit=10)
        found = []
        while not found or found[-1].offset + 1 < end:
            chunk = await chunks.get()
            await client.credit(1, 1)
            for offset, data in enumerate(chunk.get_messages(), chunk.chunk_first_offset):
                if offset < end:
                    found.append(_stored(offset, data))
        return [each for each in found if each.offset >= begin]


async def create_stream(port: int, stream: str, **arguments: str) -> None:
    async with client_of(port) as client:
        await client.create_stream(stream, arguments)


async def count_of(port: int, stream: str) -> int:
    """How many messages it has had."""
    async with client_of(port) as client, asyncio.timeout(TIMEOUT_S):
        chunks = await _last_chunk(client, stream, "ditto")
        if chunks is None:
            return 0
        chunk = await chunks.get()
        return chunk.chunk_first_offset + chunk.num_records


async def _last_chunk(client: Client, stream: str, publisher: str | None) -> asyncio.Queue[schema.Deliver] | None:
    """A queue in which the last chunk will be; None for a stream to which nobody of that name has published."""
    try:
        if not await client.stream_exists(stream):
            return None
        if publisher and not await client.query_publisher_sequence(stream, publisher):
            return None
    except StreamDoesNotExist:
        return None
    chunks: asyncio.Queue[schema.Deliver] = asyncio.Queue()
    client.add_handler(schema.Deliver, chunks.put_nowait, name="1")
    await client.run_queue_listener_task(1, chunks.put_nowait)
    await client.subscribe(stream, 1, schema.OffsetSpec(OffsetType.LAST), initial_credit=1)
    return chunks


def _stored(offset: int, data: bytes) -> Stored:
    message = amqp_decoder(data)
    subject = message.properties.subject if message.properties is not None else None
    headers = message.application_properties or {}
    if subject is None:  # published to an exchange
        subject = (message.message_annotations or {}).get(b"x-routing-key", b"")
    return Stored(
        offset,
        _text(subject),
        {_text(name): _text(value) for name, value in headers.items()},
        b"".join(message.body) if isinstance(message.body, list) else bytes(message.body),
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
