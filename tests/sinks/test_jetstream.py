"""The sink that publishes to a JetStream stream, on a real server."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import nats
import pytest
from nats.js.errors import NotFoundError

from ditto.config import Config, Nats
from ditto.sinks.choose import choose_sink
from ditto.testing.servers import NatsServer
from sinks.contract import SinkContract, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ditto.sinks.base import Sink

_numbers = itertools.count(1)


class StreamStore(Store):
    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.stream = f"S{next(_numbers)}"
        self.config = Config(nats=Nats(url=server.url, stream=self.stream))

    def make(self) -> Sink:
        return choose_sink(self.config)(self.config, clock=time.monotonic)

    async def messages(self) -> list[bytes]:
        client = await nats.connect(self.server.url, allow_reconnect=False)
        try:
            jetstream = client.jetstream()
            try:
                state = (await jetstream.stream_info(self.stream)).state
            except NotFoundError:
                return []
            numbers = range(state.first_seq, state.last_seq + 1) if state.messages else []
            return [(await jetstream.get_msg(self.stream, number)).data or b"" for number in numbers]
        finally:
            await client.close()

    async def break_down(self) -> bool:
        client = await nats.connect(self.server.url, allow_reconnect=False)
        try:
            await client.jetstream().publish("shop_public_t", b"somebody else's")
        finally:
            await client.close()
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


class TestJetStreamSink(SinkContract):
    @pytest.fixture
    async def store(self, server: NatsServer) -> AsyncIterator[Store]:
        store = StreamStore(server)
        yield store
        client = await nats.connect(server.url, allow_reconnect=False)
        try:
            await client.jetstream().delete_stream(store.stream)  # the next one has the same subjects
        except NotFoundError:
            pass
        finally:
            await client.close()
