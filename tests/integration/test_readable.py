"""Waiting for a socket: real ones, on the event loop."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest

from ditto.source.socket_wait import Readable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
async def readable(pair: Pair) -> AsyncIterator[Readable]:
    made = Readable(pair[0].fileno())
    yield made
    made.close()


async def test_each_wait_ends_with_what_comes(pair: Pair, readable: Readable) -> None:
    ours, theirs = pair
    for number in range(3):
        waiting = asyncio.ensure_future(readable.wait(10))
        await asyncio.sleep(0)
        assert not waiting.done()
        theirs.send(b"%d" % number)
        assert await waiting
        assert ours.recv(16) == b"%d" % number
        await asyncio.sleep(0)  # what the loop has seen before that


async def test_what_is_there_already_ends_the_wait(pair: Pair, readable: Readable) -> None:
    pair[1].send(b"x")
    assert await readable.wait(10)
    assert await readable.wait(10)  # nobody has read it


@pytest.mark.parametrize("before_s", [10, 0.01])
async def test_a_wait_ends_in_time_whatever_the_one_before_asked_for(
    pair: Pair, readable: Readable, before_s: float
) -> None:
    pair[1].send(b"x")
    assert await readable.wait(before_s)
    pair[0].recv(16)
    await asyncio.sleep(0)  # what the loop has seen before that
    began = time.monotonic()
    assert not await readable.wait(0.05)
    assert 0.04 < time.monotonic() - began < 5


async def test_a_socket_that_nobody_reads_does_not_keep_the_loop_busy(pair: Pair, readable: Readable) -> None:
    pair[1].send(b"x")
    assert await readable.wait(10)
    began = time.process_time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.Event().wait()
    assert time.process_time() - began < 0.1
    assert await readable.wait(10)


async def test_a_cancelled_wait_leaves_the_next_one_alone(pair: Pair, readable: Readable) -> None:
    waiting = asyncio.ensure_future(readable.wait(10))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pair[1].send(b"x")
    assert await readable.wait(10)
