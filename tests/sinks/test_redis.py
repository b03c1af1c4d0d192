"""The sink that adds to streams of Redis, on a real server."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
import redis

from ditto.config import Config, Events, Redis
from ditto.errors import NotNow, SinkError, StreamUnusable
from ditto.lsn import Position, Transaction
from ditto.sinks.choose import choose_sink
from ditto.testing.redis_server import RedisServer, redis_program, valkey_program
from sinks.contract import LSN, SinkContract, Store, acknowledges, opened
from sinks.messages import PIPELINE, ROUTE, TIME, batch, transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.sinks.base import Sink

_numbers = itertools.count(1)
LIMIT = 1 << 20


class StreamStore(Store):
    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.key_prefix = f"t{next(_numbers)}:"
        self.config = Config(events=Events(prefix="shop"), redis=Redis(url=server.url, key_prefix=self.key_prefix))

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.server.url)

    def _streams(self) -> list[bytes]:
        with self.client() as client:
            return sorted(client.scan_iter(match=f"{self.key_prefix}*", _type="stream", count=1000))

    async def messages(self) -> list[bytes]:
        found = []
        with self.client() as client:
            for stream in self._streams():
                found += [fields[b"data"] for _, fields in client.xrange(stream)]
        return found

    async def snapshot(self) -> object:
        with self.client() as client:
            return {key: client.dump(key) for key in client.scan_iter(match=f"{self.key_prefix}*", count=1000)}

    async def break_down(self) -> bool:
        with self.client() as client:
            client.delete(f"{self.key_prefix}ditto:{self.config.events.prefix}:checkpoint")
        return True


@pytest.fixture(scope="module", params=[redis_program, valkey_program], ids=["redis", "valkey"])
def server(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    settings = {"proto-max-bulk-len": str(LIMIT)}
    with RedisServer(tmp_path_factory.mktemp("redis"), settings=settings, program=request.param()) as server:
        yield server


class TestRedisSink(SinkContract):
    @pytest.fixture
    def store(self, server: RedisServer) -> Store:
        return StreamStore(server)

    async def test_entries_before_one_that_is_refused_stay_and_are_the_tail(self, store: StreamStore) -> None:
        sent = transaction(LSN, 5)
        key = f"{store.key_prefix}shop_public_u"
        headers = [b"Ditto-Group: %d\r\n" % number for number in range(1, 6)]
        messages = msgspec.structs.replace(
            batch(sent, first=1, headers=headers), routes=[ROUTE, ROUTE, ROUTE, b"shop_public_u", ROUTE]
        )
        with store.client() as client:
            client.set(key, "x")
            async with opened(store) as sink:
                await sink.send(messages)
                with pytest.raises(StreamUnusable, match="holds something else than a stream"):
                    await asyncio.wait_for(sink.acknowledged(), 10)
                with pytest.raises(SinkError):
                    await sink.send(batch(transaction(LSN + 8, 1), first=6))
            client.delete(key)
        async with opened(store) as sink:
            state = await sink.inspect(PIPELINE)
            assert (state.tail, state.last, state.group) == (Position(LSN, 3), Transaction(LSN, TIME), 3)
            await sink.send(msgspec.structs.replace(batch(sent[3:], first=1), routes=[b"shop_public_u", ROUTE]))
            await sink.flush()
            await acknowledges(sink, 2)
            assert (await sink.inspect(PIPELINE)).tail == Position(LSN, 5)
        assert sorted(await store.messages()) == sorted(payload for _, payload in sent)

    async def test_headers_keys_and_traces_are_fields(self, store: StreamStore) -> None:
        sent = transaction(LSN, 3)
        trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        headers = [b"a: 1\r\nb: x: y\r\n", b"", b"data: z\r\ne:\r\n"]
        messages = batch(sent, first=1, headers=headers, keys=[b"k1", None, "Ü".encode()])
        async with opened(store) as sink:
            await sink.send(msgspec.structs.replace(messages, traceparents={1: trace}, snapshot_run="run"))
            await sink.flush()
            await acknowledges(sink, 3)
        with store.client() as client:
            found = client.xrange(f"{store.key_prefix}shop_public_t")
        run = {b"Ditto-Snapshot": b"run"}
        assert [identifier for identifier, _ in found] == [b"%d-%d" % (LSN, number) for number in (1, 2, 3)]
        assert [{name: value for name, value in fields.items() if name != b"data"} for _, fields in found] == [
            run | {b"a": b"1", b"b": b"x: y", b"Ditto-Key": b"k1"},
            run | {b"traceparent": trace},
            run | {b"%64ata": b"z", b"e": b"", b"Ditto-Key": "Ü".encode()},
        ]

    async def test_scripts_are_loaded_again_after_they_were_flushed(self, store: StreamStore) -> None:
        async with opened(store) as sink:
            with store.client() as client:
                client.script_flush()
            await sink.send(batch(transaction(LSN, 1), first=1))
            with pytest.raises(NotNow, match="forgotten Ditto's scripts"):
                await asyncio.wait_for(sink.acknowledged(), 10)
        async with opened(store) as sink:
            await sink.send(batch(transaction(LSN, 1), first=1))
            await sink.flush()
            await acknowledges(sink, 1)
