"""A socket that is read late: real ones, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from ditto.sinks.jetstream.late_read import LateRead

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

TIMEOUT_S = 10.0


@pytest.fixture(params=[asyncio.SelectorEventLoop, uvloop.new_event_loop])
def run(request: pytest.FixtureRequest) -> Run:
    def on_this_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def in_time() -> None:
            async with asyncio.timeout(TIMEOUT_S):
                await test()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(in_time())

    return on_this_loop


class Peer(asyncio.Protocol):
    """Ditto's end of a connection, and the other one."""

    def __init__(self) -> None:
        self.received = b""
        self.has_ended = False
        self.periods = 0
        self.news = asyncio.Event()
        self.late = LateRead(on_period=self._on_period)
        self.transport: asyncio.Transport
        self.theirs: socket.socket

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.news.set()

    def eof_received(self) -> None:
        self.has_ended = True
        self.news.set()

    def _on_period(self) -> None:
        self.periods += 1
        self.news.set()

    def has(self, count: int) -> bool:
        return len(self.received) == count

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.news.clear()
            await self.news.wait()


@asynccontextmanager
async def connected() -> AsyncIterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport, peer = await asyncio.get_running_loop().create_connection(Peer, *listening.getsockname())
        peer.theirs, _ = listening.accept()
    peer.transport = transport
    peer.late.use(transport)
    with peer.theirs:
        try:
            yield peer
        finally:
            peer.late.close()
            transport.close()


def arrived(peer: Peer, data: bytes) -> None:
    """Send this to Ditto, and see that the kernel has it."""
    peer.theirs.sendall(data)
    with socket.socket(fileno=socket.dup(peer.transport.get_extra_info("socket").fileno())) as ours:
        ours.settimeout(TIMEOUT_S)
        assert ours.recv(len(data), socket.MSG_PEEK | socket.MSG_WAITALL) == data
        ours.setblocking(False)


def test_the_event_loop_reads_nothing_until_it_is_asked_to(run: Run) -> None:
    async def test() -> None:
        async with connected() as peer:
            peer.late.begin()
            arrived(peer, b"one")
            for _ in range(10):
                await asyncio.sleep(0)
            assert peer.received == b""
            peer.late.read()
            assert peer.received == b"one"
            peer.late.read()
            assert (peer.received, peer.late.is_on) == (b"one", True), "nothing more has come"

    run(test)


def test_what_comes_is_read_once_a_period_at_the_latest(run: Run) -> None:
    async def test() -> None:
        async with connected() as peer:
            for number in range(1, 4):
                peer.late.begin()
                arrived(peer, b"x")
                await peer.until(partial(peer.has, number))
                assert peer.late.is_on, "it was begun in this period"
            assert peer.periods >= 2

    run(test)


def test_where_nothing_is_begun_for_a_period_the_event_loop_reads_again(run: Run) -> None:
    async def test() -> None:
        async with connected() as peer:
            peer.late.begin()
            await peer.until(lambda: not peer.late.is_on)
            periods = peer.periods
            arrived(peer, b"x")
            await peer.until(lambda: peer.received == b"x")
            assert peer.periods == periods, "no timer is left"

    run(test)


def test_an_end_of_the_connection_is_noticed_by_a_read(run: Run) -> None:
    async def test() -> None:
        async with connected() as peer:
            peer.theirs.close()
            while not peer.has_ended:
                peer.late.begin()
                peer.late.read()
                await asyncio.sleep(0.001)

    run(test)


def test_an_end_of_the_connection_is_noticed_without_one(run: Run) -> None:
    async def test() -> None:
        async with connected() as peer:
            peer.late.begin()
            peer.theirs.close()
            await peer.until(lambda: peer.has_ended)

    run(test)


def test_the_number_of_a_closed_socket_is_not_read_from(run: Run) -> None:
    async def test() -> None:
        async with connected() as peer:
            peer.late.begin()
            peer.transport.abort()
            await asyncio.sleep(0)
            other, sender = socket.socketpair()
            with other, sender:
                sender.sendall(b"somebody else's")
                peer.late._descriptor = other.fileno()  # as the kernel gives it out again
                peer.late.read()
                assert (peer.received, other.recv(64)) == (b"", b"somebody else's")

    run(test)


def test_without_a_plain_socket_nothing_is_held(run: Run) -> None:
    async def test() -> None:
        late = LateRead(on_period=lambda: None)
        late.use(None)
        late.begin()
        assert not late.is_on
        late.read()
        late.close()

    run(test)
