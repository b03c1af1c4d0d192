"""Thousands of clients of live events that never read: the node, its pipelines and its heartbeat go on."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from ditto.api.fleet.events import MAX_STREAMS
from ditto.tasks import end
from ditto.testing.process import free_port
from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.world import World

STREAMS = 3 * MAX_STREAMS
"""Those of the first two generations are cut: a client that takes nothing for 30 s is."""
AT_ONCE = 60
PATH = "/v1/pipelines/shop/events"
MORE_MB = MAX_STREAMS * 8
"""By so much the memory of the node may grow: two batches of 256 KB for each stream, a connection, and what the
allocator keeps."""


@asynccontextmanager
async def writing(world: World) -> AsyncIterator[None]:
    """Rows of 2 kB, a thousand a second or more."""

    async def write() -> None:
        while True:
            await asyncio.to_thread(
                world.sql, "INSERT INTO orders (note) SELECT repeat('x', 2000) FROM generate_series(1, 500)"
            )
            await asyncio.sleep(0.2)

    task = asyncio.create_task(write())
    try:
        yield
    finally:
        await end(task)


async def listen(port: int) -> tuple[int, socket.socket | None]:
    """Ask, and read the head of the answer alone; the status, and the socket of a stream that is left open."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(15):
            await loop.sock_connect(own, ("127.0.0.1", port))
            await loop.sock_sendall(own, f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                part = await loop.sock_recv(own, 64)
                if not part:
                    break
                head += part
    except (OSError, TimeoutError):
        head = b""
    status = int(head.split(b" ")[1]) if head else 0
    if status == 200:
        return status, own
    if status == 503:
        assert b"application/problem+json" in head
        assert b"retry-after" in head.lower()
    own.close()
    return status, None


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_clients_that_never_read(fleet: Fleet, world: World) -> None:
    world.sql("CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)")
    port = free_port()
    node = fleet.start("n1", environment={"DITTO_HTTP_LISTEN": f"127.0.0.1:{port}"})
    async with fleet.watching(), AsyncExitStack() as sockets:
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        async with writing(world), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            await world.fence(timeout_s=60)
            async with client.stream("GET", PATH, timeout=60) as stream:  # the library for the sink is loaded
                await anext(stream.aiter_lines())
            own = node.processes()[0]
            before = own.memory_info().rss
            began_at = time.monotonic()
            found: Counter[int] = Counter()
            kept = 0
            while kept < STREAMS:
                assert time.monotonic() - began_at < 240, found
                await asyncio.sleep(0.2)
                for status, opened in await asyncio.gather(*(listen(port) for _ in range(AT_ONCE))):
                    found[status] += 1
                    if opened is not None:
                        kept += 1
                        sockets.enter_context(opened)
                assert (await client.get("/healthz", timeout=30)).status_code == 200
                assert fleet.node("n1").state == "live", "its heartbeat arrives"
            grown_mb = (own.memory_info().rss - before) / 2**20
            figures = {"statuses": dict(found), "grown_mb": round(grown_mb), "s": round(time.monotonic() - began_at, 1)}
            print(json.dumps(figures))
            assert found[503] > 1000, figures
            assert grown_mb < MORE_MB, figures

            # Those that never read are cut, so that somebody who reads gets in; and the pipeline has kept up.
            async with asyncio.timeout(120):
                while True:
                    async with client.stream("GET", PATH, timeout=60) as stream:
                        if stream.status_code == 200:
                            break
                    await asyncio.sleep(0.5)
            await world.fence(timeout_s=60)
            assert fleet.pipeline("shop").state == "streaming"
            assert not node.logs("session.failed")
            assert not node.logs("node.cut_off")
