"""The sink that publishes to a JetStream stream, on a real server."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import nats
import pytest
from nats.js.errors import NotFoundError

from ditto.config import Config, Nats
from ditto.errors import SinkError
from ditto.lsn import Position
from ditto.sinks.choose import choose_sink
from ditto.sinks.jetstream.batches import Batches
from ditto.testing.servers import NatsServer
from sinks.contract import LSN, SinkContract, Store, acknowledges, events, opened, payloads
from sinks.messages import batch, event, transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

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

    async def test_batches_in_quick_succession_need_nobody_who_reads_the_answers(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Until somebody waits: then they are told at once."""
        read: list[bytes] = []
        answered = Batches.answered

        def noting(batches: Batches, subject: str, data: bytes, *, has_no_responders: bool) -> bool:
            read.append(data)
            return answered(batches, subject, data, has_no_responders=has_no_responders)

        monkeypatch.setattr(Batches, "answered", noting)
        sent, told = transaction(LSN, 300), []
        async with opened(store) as sink:
            following = asyncio.ensure_future(acknowledges(sink, len(sent)))
            for index, message in enumerate(sent):
                await sink.send(batch([message], first=index + 1, is_urgent=False))
                await asyncio.sleep(0.0008)
            await sink.flush()
            told = await following
            assert events(await store.messages()) == payloads(sent)
        assert len(read) < len(sent) / 3, "nats-server writes the commonest answer as Ditto expects it"
        assert len(told) < len(sent) * 0.9, "several are told of at once"

    @pytest.mark.parametrize("is_urgent", [True, False])
    async def test_what_was_sent_last_is_told_without_anything_more(self, store: Store, is_urgent: bool) -> None:
        sent = transaction(LSN, 50)
        async with opened(store) as sink:
            for index, message in enumerate(sent):
                await sink.send(batch([message], first=index + 1, is_urgent=is_urgent and index == len(sent) - 1))
            await acknowledges(sink, len(sent))

    async def test_large_messages_do_not_wait_for_the_end_of_their_batch(self, store: Store) -> None:
        large = [(Position(LSN, number), event(Position(LSN, number), text="x" * 200_000)) for number in range(1, 13)]
        small = transaction(LSN + 8, 100)
        async with opened(store) as sink:
            assert sink.capabilities.ack_interval == 256
            for index, message in enumerate(large):
                await sink.send(batch([message], first=index + 1, more_follows=True))
                assert sink.capabilities.ack_interval == 5, "as many as are a megabyte"
            await sink.send(batch(small, first=13, more_follows=True))
            assert sink.capabilities.ack_interval == 256, "another batch: these would be acknowledged 50 times"
            await sink.flush()
            await acknowledges(sink, 112)
            assert events(await store.messages()) == payloads(large + small)


async def test_a_server_that_goes_is_noticed_while_its_answers_are_read_late(tmp_path: Path) -> None:
    with NatsServer(tmp_path) as server:
        async with opened(StreamStore(server)) as sink:
            following = asyncio.ensure_future(_follow(sink))
            for number in range(1, 101):
                message = (Position(LSN + number, 1), b"{}")
                await sink.send(batch([message], first=number, is_urgent=False))
                await asyncio.sleep(0.0008)
            server.kill()
            with pytest.raises(SinkError):
                async with asyncio.timeout(1):
                    await following


async def _follow(sink: Sink) -> None:
    while True:
        await sink.acknowledged()
