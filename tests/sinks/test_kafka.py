"""The sink that publishes to topics of Kafka."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from ditto.config import Config, Events, Kafka
from ditto.lsn import Position
from ditto.sinks.choose import choose_sink
from ditto.testing.kafka_server import KafkaServer
from sinks.contract import LSN, SinkContract, Store, acknowledges, opened
from sinks.kafka_reading import consume, delete_topics, topics
from sinks.messages import ROUTE, batch, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.sinks.base import Sink


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


class KafkaStore(Store):
    def __init__(self, server: KafkaServer) -> None:
        self.server = server
        self.config = Config(kafka=Kafka(brokers=server.brokers, ack_timeout_s=5.0), events=Events(prefix="shop"))

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        found = await asyncio.to_thread(consume, self.server.brokers, [ROUTE.decode()])
        return [each.value for each in found]

    async def snapshot(self) -> object:
        return topics(self.server.brokers), await asyncio.to_thread(consume, self.server.brokers)

    async def break_down(self) -> bool:
        await asyncio.to_thread(delete_topics, self.server.brokers)
        return True


@pytest.fixture
def store(kafka: KafkaServer) -> KafkaStore:
    delete_topics(kafka.brokers)
    return KafkaStore(kafka)


class TestKafkaSink(SinkContract):
    pass


async def test_partitions_are_those_of_java_clients(store: KafkaStore) -> None:
    keys: list[bytes | None] = [
        b"21",
        b"foobar",
        b"a-little-bit-long-string",
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
        None,
    ]
    hashes = (-973932308, -790332482, -985981536, -58897971)  # as in the tests of Kafka's own client
    sent = transaction(LSN, len(keys))
    async with opened(store) as sink:
        await sink.send(batch(sent, first=1, keys=keys))
        await sink.flush()
        await acknowledges(sink, len(keys))
    found = await asyncio.to_thread(consume, store.server.brokers, [ROUTE.decode()])
    partitions = {each.key: each.partition for each in found}
    assert partitions == dict(zip(keys, [(each & 0x7FFFFFFF) % 3 for each in hashes] + [0], strict=True))


async def test_headers_are_kept(store: KafkaStore) -> None:
    async with opened(store) as sink:
        await sink.send(batch(transaction(LSN, 2), first=1, headers=[b"tenant: a\r\nx: 1\r\n", b""]))
        await sink.flush()
        await acknowledges(sink, 2)
    found = await asyncio.to_thread(consume, store.server.brokers, [ROUTE.decode()])
    assert [each.headers for each in found] == [
        {"Ditto-Position": str(Position(LSN, 1)), "tenant": "a", "x": "1"},
        {"Ditto-Position": str(Position(LSN, 2))},
    ]
