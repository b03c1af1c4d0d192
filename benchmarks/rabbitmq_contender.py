"""`ditto run` into streams of RabbitMQ, counted with rstream's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from rstream import OffsetType, amqp_decoder, schema
from rstream.client import Client

from ditto.testing.rabbitmq_server import RabbitMQServer

_NUMBER = 1
_TIMEOUT_S = 60.0


class RabbitMQ:
    """One stream of one node."""

    name = "rabbitmq"

    def __init__(self, server: RabbitMQServer) -> None:
        self._server = server
        self._stream = "ditto"

    @property
    def pid(self) -> int:
        """See `Place`."""
        return self._server.pid

    def environment(self, prefix: str) -> Mapping[str, str]:
        """See `Place`."""
        del prefix
        return {"DITTO_RABBITMQ_URL": self._server.url, "DITTO_RABBITMQ_STREAM_NAME": self._stream}

    @asynccontextmanager
    async def _client(self) -> AsyncGenerator[tuple[Client, asyncio.Queue[schema.Deliver]]]:
        client = Client("127.0.0.1", self._server.port, frame_max=0, heartbeat=60)
        chunks: asyncio.Queue[schema.Deliver] = asyncio.Queue()
        await client.start()
        try:
            await client.authenticate(vhost="/", username="guest", password="guest")
            client.add_handler(schema.Deliver, chunks.put_nowait, name=str(_NUMBER))
            await client.run_queue_listener_task(_NUMBER, chunks.put_nowait)
            yield client, chunks
        finally:
            await client.close()

    async def _end(self, client: Client, chunks: asyncio.Queue[schema.Deliver]) -> int:
        """How many messages there are; 0 where there is no stream yet."""
        if not await client.stream_exists(self._stream) or not await client.query_publisher_sequence(
            self._stream, "ditto"
        ):
            return 0
        await client.subscribe(self._stream, _NUMBER, schema.OffsetSpec(OffsetType.LAST), initial_credit=1)
        last = await asyncio.wait_for(chunks.get(), _TIMEOUT_S)
        await client.unsubscribe(_NUMBER)
        return last.chunk_first_offset + last.num_records

    async def count(self, prefix: str) -> int:
        """All messages but the mark of the one session."""
        del prefix
        async with self._client() as (client, chunks):
            return max(0, await self._end(client, chunks) - 1)

    async def exact_count(self, prefix: str) -> int:
        """The messages on the subjects of tables, as a consumer reads them."""
        async with self._client() as (client, chunks):
            end, found, begin = await self._end(client, chunks), 0, f"{prefix}_".encode()
            offset = 0
            await client.subscribe(self._stream, _NUMBER, schema.OffsetSpec(OffsetType.FIRST), initial_credit=10)
            while offset < end:
                chunk = await asyncio.wait_for(chunks.get(), _TIMEOUT_S)
                await client.credit(_NUMBER, 1)
                offset = chunk.chunk_first_offset + chunk.num_records
                for data in chunk.get_messages():
                    found += amqp_decoder(data).properties.subject.startswith(begin)
            return found

    async def empty(self, prefix: str) -> None:
        """See `Place`."""
        del prefix
        async with self._client() as (client, _):
            for name in (self._stream, f"{self._stream}.ditto"):
                await client.delete_stream(name)
