"""The sink that publishes to a stream of RabbitMQ, on a real server."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from rstream import AMQPMessage, schema

from ditto.config import Config, Events, RabbitMQ, RabbitStream
from ditto.errors import ChainBroken
from ditto.lsn import Position
from ditto.sinks.base import SinkState
from ditto.sinks.choose import choose_sink
from ditto.sinks.rabbitmq.sink import RabbitMQSink
from ditto.sinks.rabbitmq.writer import Writer
from ditto.testing.rabbitmq_server import RabbitMQServer
from sinks.contract import LSN, SinkContract, Store, acknowledges, connected, events, opened
from sinks.messages import PIPELINE, ROUTE, batch, transaction
from sinks.rabbitmq_reading import client_of, read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.sinks.base import Sink

_numbers = itertools.count(1)


class StreamStore(Store):
    def __init__(self, server: RabbitMQServer) -> None:
        self.server = server
        self.name = f"s{next(_numbers)}"
        self.config = Config(
            events=Events(prefix="shop"), rabbitmq=RabbitMQ(url=server.url, stream=RabbitStream(name=self.name))
        )

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        return [each.body for each in await read_stream(self.server.port, self.name)]

    async def snapshot(self) -> object:
        return [await read_stream(self.server.port, name) for name in (self.name, f"{self.name}.ditto")]

    async def break_down(self) -> bool:
        async with client_of(self.server.port) as client:
            await client.delete_stream(self.name)
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQServer]:
    with RabbitMQServer(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


class TestRabbitMQSink(SinkContract):
    @pytest.fixture
    def store(self, server: RabbitMQServer) -> Store:
        return StreamStore(server)

    async def test_headers_keys_and_traces_are_application_properties(self, store: StreamStore) -> None:
        sent = transaction(LSN, 3)
        trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        headers = [b"a: 1\r\nb: x: y\r\n", b"", b"long: %b\r\ne:\r\n" % (b"z" * 300)]
        messages = batch(sent, first=1, headers=headers, keys=[b"k1", None, "Ü".encode()])
        async with opened(store) as sink:
            await sink.send(msgspec.structs.replace(messages, traceparents={1: trace}, snapshot_run="run"))
            await sink.flush()
            await acknowledges(sink, 3)
        found = [each for each in await read_stream(store.server.port, store.name) if each.subject == ROUTE.decode()]
        assert [(each.body, each.headers) for each in found] == [
            (payload, {"Ditto-Position": str(position), "Ditto-Snapshot": "run"} | own)
            for (position, payload), own in zip(
                sent,
                (
                    {"a": "1", "b": "x: y", "Ditto-Key": "k1"},
                    {"traceparent": trace.decode()},
                    {"long": "z" * 300, "e": "", "Ditto-Key": "Ü"},
                ),
                strict=True,
            )
        ]

    async def test_what_is_confirmed_because_it_was_dropped_is_not_acknowledged(self, store: StreamStore) -> None:
        """The server confirms what it drops: one that was overtaken must not tell PostgreSQL that it is stored."""
        async with opened(store) as stale:
            await stale.send(batch(transaction(LSN, 1), first=1))
            await acknowledges(stale, 1)
            async with opened(store) as other:
                await stale.send(batch(transaction(LSN + 8, 3), first=2))
                with pytest.raises(ChainBroken, match="what this one has sent since then was not stored"):
                    await asyncio.wait_for(stale.acknowledged(), 10)
                await other.send(batch(transaction(LSN + 16, 2), first=1))
                await acknowledges(other, 2)
        assert len(events(await store.messages())) == 3

    async def test_of_two_that_open_at_the_same_time_one_is_told(self, store: StreamStore) -> None:
        """Both may take the same publishing ids: the mark of one is dropped, and both are confirmed."""
        for _ in range(5):
            async with connected(store) as first, connected(store) as second:
                await first.prepare(PIPELINE, ())
                await first.claim(PIPELINE, ())
                results = await asyncio.gather(first.open(PIPELINE), second.open(PIPELINE), return_exceptions=True)
                assert not [
                    each for each in results if isinstance(each, Exception) and not isinstance(each, ChainBroken)
                ]
                sinks = [
                    sink for sink, result in zip((first, second), results, strict=True) if isinstance(result, SinkState)
                ]
                state = await second.inspect(PIPELINE) if not sinks else await sinks[0].inspect(PIPELINE)
                lsn = LSN if state.tail is None else state.tail.commit_lsn + 8
                done = 0
                for sink in sinks:
                    try:
                        await sink.send(batch(transaction(lsn, 2), first=1))
                        await acknowledges(sink, 2)
                        done += 1
                    except ChainBroken:
                        pass
                assert done <= 1, "never both"
        stored = events(await store.messages())
        assert len(stored) == len(set(stored)), "nothing twice"

    async def test_a_session_that_ends_right_after_its_mark_leaves_no_trace(self, store: StreamStore) -> None:
        """Its mark is the last message, and its record may be missing: the tail is found all the same."""
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 3), first=1))
            await acknowledges(sink, 3)
        for name in (store.name, f"{store.name}.ditto"):
            async with connected(store) as sink:
                assert isinstance(sink, RabbitMQSink)
                await Writer(sink._server, name, number=9, on_progress=lambda: None).open(b"shop._checkpoint")
        async with connected(store) as sink:
            assert (await sink.inspect(PIPELINE)).tail == Position(LSN, 3)
        async with opened(store) as sink:
            assert (await sink.inspect(PIPELINE)).tail == Position(LSN, 3)
            await sink.send(batch(transaction(LSN + 8, 1), first=1))
            await acknowledges(sink, 1)

    async def test_messages_of_others_are_passed_over(self, store: StreamStore) -> None:
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 1), first=1))
            await acknowledges(sink, 1)
        async with client_of(store.server.port) as client:
            await client.declare_publisher(store.name, "other", 1)
            others = [
                schema.Message(n, None, data) for n, data in enumerate((b"no AMQP", bytes(AMQPMessage(body=b"x"))), 1)
            ]
            await client.send_publish_frame(schema.Publish(1, others))
            await client.query_publisher_sequence(store.name, "other")
        async with opened(store) as sink:
            assert (await sink.inspect(PIPELINE)).tail == Position(LSN, 1)
            await sink.send(batch(transaction(LSN + 8, 1), first=1))
            await acknowledges(sink, 1)
        async with connected(store) as sink:
            assert (await sink.inspect(PIPELINE)).tail == Position(LSN + 8, 1)
