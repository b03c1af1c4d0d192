"""The sink that publishes to an exchange of RabbitMQ, on a real server."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import aio_pika
import msgspec
import pytest

from ditto.config import Config, Events, RabbitExchange, RabbitMQ
from ditto.decoding.event_id import event_id, event_key
from ditto.errors import NotNow, StreamNotFound, StreamUnusable
from ditto.sinks.choose import choose_sink
from ditto.testing.rabbitmq_server import RabbitMQServer
from sinks.contract import LSN, SinkContract, Store, acknowledges, connected, opened
from sinks.messages import PIPELINE, ROUTE, batch, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ditto.sinks.base import Sink

_numbers = itertools.count(1)
LIMIT = 100_000


class QueueStore(Store):
    """A queue that is bound to the exchange for everything; what was read stays in `seen`."""

    def __init__(self, server: RabbitMQServer) -> None:
        self.server = server
        self.name = f"x{next(_numbers)}"
        exchange = RabbitExchange(name=self.name, max_bytes=LIMIT)
        self.config = Config(events=Events(prefix="shop"), rabbitmq=RabbitMQ(url=server.amqp_url, exchange=exchange))
        self.seen: list[aio_pika.abc.AbstractIncomingMessage] = []
        self.connection: aio_pika.abc.AbstractConnection
        self.queue: aio_pika.abc.AbstractQueue

    async def bind(self, **arguments: object) -> None:
        self.connection = await aio_pika.connect(self.server.amqp_url)
        channel = await self.connection.channel()
        exchange = await channel.declare_exchange(self.name, aio_pika.ExchangeType.TOPIC, durable=True)
        self.queue = await channel.declare_queue(self.name, durable=True, arguments=dict(arguments))  # type: ignore[arg-type]
        await self.queue.bind(exchange, "#")

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        while (found := await self.queue.get(no_ack=True, fail=False)) is not None:
            self.seen.append(found)
        return [each.body for each in self.seen]

    async def break_down(self) -> bool:
        await self.queue.delete(if_unused=False, if_empty=False)
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    with RabbitMQServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


class TestExchangeSink(SinkContract):
    @pytest.fixture
    async def store(self, server: RabbitMQServer) -> AsyncIterator[QueueStore]:
        store = QueueStore(server)
        await store.bind()
        yield store
        await store.connection.close()

    async def test_what_a_message_has(self, store: QueueStore) -> None:
        sent = transaction(LSN, 2)
        messages = batch(sent, first=1, headers=[b"a: 1\r\nContent-Type: text/x\r\n", b""], keys=[b"k1", None])
        async with opened(store) as sink:
            await sink.send(msgspec.structs.replace(messages, snapshot_run="run"))
            await acknowledges(sink, 2)
        await store.messages()
        key = event_key(PIPELINE.system_identifier, PIPELINE.slot)
        assert [each.message_id for each in store.seen] == [event_id(position, key) for position, _ in sent]
        assert {each.routing_key for each in store.seen} == {ROUTE.decode()}
        assert {each.delivery_mode for each in store.seen} == {aio_pika.DeliveryMode.PERSISTENT}
        assert [each.content_type for each in store.seen] == ["text/x", "application/json"]
        first, second = [dict(each.headers) for each in store.seen]
        assert first == {
            "Ditto-Position": "0/2000:1",
            "Ditto-Snapshot": "run",
            "a": "1",
            "Content-Type": "text/x",
            "Ditto-Key": "k1",
        }
        assert second == {"Ditto-Position": "0/2000:2", "Ditto-Snapshot": "run"}

    async def test_a_message_that_no_queue_gets_is_an_error(self, store: QueueStore) -> None:
        await store.queue.delete()
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 3), first=1))
            with pytest.raises(StreamUnusable, match="no queue is bound for routing key shop_public_t"):
                await asyncio.wait_for(sink.acknowledged(), 10)

    async def test_a_queue_that_is_known_a_moment_later(self, store: QueueStore) -> None:
        """As where the server has just started: the first message is sent again, and no other one overtakes it."""
        await store.queue.delete()
        sent = transaction(LSN, 20)
        async with opened(store) as sink:
            await sink.send(batch(sent, first=1))
            await asyncio.sleep(0.5)  # what the server takes to know the queue
            await store.connection.close()
            await store.bind()
            await acknowledges(sink, 20)
        assert await store.messages() == [payload for _, payload in sent]

    async def test_a_queue_that_is_full(self, server: RabbitMQServer) -> None:
        store = QueueStore(server)
        await store.bind(**{"x-max-length": 2, "x-overflow": "reject-publish"})
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 50), first=1))
            with pytest.raises(NotNow, match="a queue refuses the message"):
                await acknowledges(sink, 50)
        await store.connection.close()

    async def test_an_exchange_that_may_not_be_created(self, server: RabbitMQServer) -> None:
        store = QueueStore(server)
        rabbitmq = RabbitMQ(url=server.amqp_url, exchange=RabbitExchange(name="nowhere", create=False))
        store.config = msgspec.structs.replace(store.config, rabbitmq=rabbitmq)
        async with connected(store) as sink:
            with pytest.raises(StreamNotFound, match="exchange nowhere does not exist"):
                await sink.prepare(PIPELINE, ())
