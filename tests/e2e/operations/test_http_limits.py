"""Clients of the HTTP port neither take what the pipeline needs nor hold it up."""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import pytest

from ditto.testing.process import free_port
from e2e.operations.test_http import fetch
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.world import World

DESCRIPTORS = 1024
"""What most systems give a process that asks for no more."""
IDLE, TRICKLING, SCRAPERS = 600, 600, 900
ROUNDS, ROWS = 2, 2_000
TABLES = 150


@contextmanager
def many_descriptors() -> Iterator[None]:
    """For the clients, which are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def hold(port: int, data: bytes) -> None:
    """A connection that sends a byte a tenth of a second, or nothing; a new one where it was closed."""
    while True:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for each in data or [0] * 1000:
                    if data:
                        writer.write(bytes([each]))
                        await writer.drain()
                    await asyncio.sleep(0.1)
            finally:
                writer.transport.abort()
        await asyncio.sleep(0.1)


def received(client: socket.socket) -> bytes:
    """Everything until the other side ends."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def scrape(port: int) -> int:
    """Many scrapes at the same moment; how many were answered."""
    opened: list[socket.socket] = []
    for _ in range(SCRAPERS):
        with suppress(OSError):
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=10))
    for each in opened:
        with suppress(OSError):
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    count = 0
    for each in opened:
        with each, suppress(OSError):
            count += b"ditto_leader" in received(each)
    return count


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_idle_and_trickling_connections_leave_room_to_reconnect(nats_world: World) -> None:
    port = free_port()
    ditto = await nats_world.streaming(http_listen=f"127.0.0.1:{port}")
    resource.prlimit(ditto.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    with many_descriptors():
        trickle = b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 10_000
        holding = [asyncio.create_task(hold(port, b"")) for _ in range(IDLE)]
        holding += [asyncio.create_task(hold(port, trickle)) for _ in range(TRICKLING)]
        process = psutil.Process(ditto.pid)
        await eventually(lambda: process.num_fds() > 100, "they are there")
        nats_world.nats_server.stop()
        await ditto.logged("session.failed")
        nats_world.nats_server.start()
        await ditto.streaming(count=2)
        await nats_world.fence()
        assert process.num_fds() < DESCRIPTORS / 2
        assert (await asyncio.to_thread(fetch, port, "/readyz"))[0] == 200, "a probe gets through"
        await end(holding)
    assert await ditto.stop() == 0


@pytest.mark.long
async def test_scrapers_do_not_starve_the_pipeline(world: World) -> None:
    names = ["trades", *(f"t{number}" for number in range(TABLES))]  # each has its lines in the answer
    world.transaction(*(f"CREATE TABLE {name} (id int PRIMARY KEY)" for name in names))
    port = free_port()
    ditto = await world.streaming(http_listen=f"127.0.0.1:{port}", nats_ack_timeout="2s")
    world.transaction(*(f"INSERT INTO {name} VALUES (0)" for name in names))
    await world.fence()
    count = answered = 0
    with many_descriptors():
        for _ in range(ROUNDS):
            scraping = asyncio.ensure_future(asyncio.to_thread(scrape, port))
            while not scraping.done():
                world.sql(f"INSERT INTO trades SELECT generate_series({count + 1}, {count + ROWS})")
                count += ROWS
                await world.fence()
            answered += scraping.result()
    assert answered >= ROUNDS
    assert not ditto.logs("session.failed")
    assert await ditto.stop() == 0


async def test_a_client_that_reads_no_answer_does_not_hold_up_the_end(world: World) -> None:
    """It stops without an error in the log."""
    port = free_port()
    ditto = await world.streaming(http_listen=f"127.0.0.1:{port}")
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        refused_count = 0
        while refused_count < 20:  # both buffers are full, and an answer waits
            try:
                client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
            except BlockingIOError:
                refused_count += 1
                await asyncio.sleep(0.05)
        assert await ditto.stop(timeout_s=5) == 0
    assert not ditto.logs(level="error")
    assert all(line.startswith("{") for line in ditto.output.splitlines())
