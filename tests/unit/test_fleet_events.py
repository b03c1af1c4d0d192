"""The stream of live events over a socket, of a pipeline that writes a file: how it begins, goes on and ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from ditto.api import connection_limits, server
from ditto.api.fleet import connections, events
from ditto.api.fleet.server import serve_fleet
from ditto.config.server import HttpTls
from ditto.fleet.records import Record
from unit.fleet_fakes import TOKENS, FakeNode, summary
from unit.test_json_events import EVENT, SECRET, encode

PATH = "/v1/pipelines/shop/events"


@asynccontextmanager
async def serving(path: Path, *, where: str = "n1", role: str = "operate") -> AsyncIterator[httpx.AsyncClient]:
    """A client of a node, on which the pipeline runs, or elsewhere."""
    node = FakeNode()
    await node.store.put("shop", Record(document={"file": {"path": str(path)}}), after=None)
    node.view.summaries["shop"] = summary("shop", node=where, state="streaming", running_revision=1)
    async with serve_fleet(node.app, "127.0.0.1:0", HttpTls()) as port:
        headers = {"Authorization": f"Bearer {TOKENS[role]}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as client:
            yield client


def append(path: Path, **more: Any) -> None:
    with path.open("ab") as file:
        file.write(encode({**EVENT, **more}) + b"\n")


async def read(lines: AsyncIterator[str], what: str) -> str:
    """The next line that begins so, without that."""
    async with asyncio.timeout(20):
        async for line in lines:
            if line.startswith(what):
                return line.removeprefix(what)
    raise AssertionError(f"the stream has ended without {what}")


async def test_events_arrive_as_they_are_stored_and_the_stream_has_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_limits, "REQUEST_TIMEOUT_S", 0.5)
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(events, "_ALIVE_S", 0.2)
    path = tmp_path / "events.jsonl"
    append(path)
    async with serving(path) as client, client.stream("GET", f"{PATH}?table=items&last=1") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        lines = stream.aiter_lines()
        assert json.loads(await read(lines, "data: "))["data"]["name"] == SECRET
        for _ in range(8):  # longer than both time-outs
            await read(lines, ": alive")
        append(path, table="others")
        append(path, action="DELETE")
        assert await read(lines, "event: ") == "change"
        assert json.loads(await read(lines, "data: "))["action"] == "DELETE"


async def test_other_answers_do_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.5)
    async with serving(tmp_path / "events.jsonl") as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        head = "POST /v1/pipelines/shop/snapshots HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Authorization: Bearer {TOKENS['operate']}\r\nContent-Length: 10\r\n\r\n{{".encode())
        async with asyncio.timeout(10):
            assert await reader.read() == b"", "a body that never comes"
        writer.close()


async def test_the_role_read_gets_no_values(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path)
    async with serving(path, role="read") as client, client.stream("GET", f"{PATH}?last=1") as stream:
        told = await read(stream.aiter_lines(), "data: ")
        assert json.loads(told)["columns"] == ["id", "name", "note"]
        assert SECRET not in told


async def test_why_it_cannot_begin(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    async with serving(path) as client:
        answer = await client.get(PATH)
        assert (answer.status_code, answer.headers["content-type"]) == (409, "application/problem+json")
        assert f"there is no file {path} yet" in answer.json()["detail"]
        assert (await client.get(f"{PATH}?action=upsert")).status_code == 400
        assert (await client.get(f"{PATH}?last=0")).status_code == 400
    append(path)
    async with serving(path, where="n2") as client:
        answer = await client.get(PATH)
        assert answer.status_code == 409
        assert "on the node n2, and this is node n1" in answer.json()["detail"]


async def test_as_many_as_there_is_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    path = tmp_path / "events.jsonl"
    append(path)
    async with serving(path) as client:
        async with client.stream("GET", PATH) as stream:
            lines = stream.aiter_lines()  # one that nobody refers to any more closes its stream
            await read(lines, ": alive")
            answer = await client.get(PATH, timeout=10)
            assert (answer.status_code, answer.json()["type"]) == (503, "urn:ditto:error:TooManyStreams")
            assert answer.headers["retry-after"]
        async with asyncio.timeout(20):  # the one that is closed makes room
            await room(client)


@asynccontextmanager
async def raw_client(client: httpx.AsyncClient) -> AsyncIterator[asyncio.StreamReader]:
    """Has asked for all events that are there, and takes as little as it wants to."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.setblocking(False)
    await asyncio.get_running_loop().sock_connect(own, ("127.0.0.1", client.base_url.port))
    reader, writer = await asyncio.open_connection(sock=own, limit=4096)
    head = f"GET {PATH}?last=100 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKENS['operate']}\r\n\r\n"
    writer.write(head.encode())
    try:
        yield reader
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def room(client: httpx.AsyncClient) -> None:
    """Wait until a stream more is taken."""
    while True:
        async with client.stream("GET", PATH) as stream:
            if stream.status_code == 200:
                return
        await asyncio.sleep(0.05)


def write_much(path: Path) -> None:
    """More than all buffers hold."""
    for _ in range(10):
        append(path, data={"name": "x" * 200_000})
    append(path, data={"name": "the last"})


async def test_a_client_that_takes_nothing_is_closed_and_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 1)
    monkeypatch.setattr(connection_limits, "STALL_TIMEOUT_S", 0.5)
    write_much(path := tmp_path / "events.jsonl")
    async with serving(path) as client, raw_client(client) as reader, asyncio.timeout(30):
        assert b"200" in await reader.readline()
        await room(client)


async def test_a_client_that_takes_little_by_little_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SEND_BUFFER", 4096)
    monkeypatch.setattr(connection_limits, "STALL_TIMEOUT_S", 1.0)
    write_much(path := tmp_path / "events.jsonl")
    async with serving(path) as client, raw_client(client) as reader, asyncio.timeout(30):
        clock, read, tail = asyncio.get_running_loop().time, 0, b""
        began_at = clock()
        while b"the last" not in tail:
            part = await reader.read(10_000)
            assert part, f"closed after {read} bytes"
            read, tail = read + len(part), (tail + part)[-1000:]
            if clock() - began_at < 2.5:
                await asyncio.sleep(0.1)


async def test_the_server_ends_with_streams_open(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path)
    async with asyncio.timeout(20):
        async with serving(path) as client:
            stream = await client.send(client.build_request("GET", PATH), stream=True)
            lines = stream.aiter_lines()  # one that nobody refers to any more closes its stream
            await read(lines, ": alive")
        if left := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(left)


async def test_many_that_come_at_once_get_no_more_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_STREAMS", 2)
    looking, looked = 0, asyncio.Event()
    look = events._look

    async def slow_look(config: Any) -> None:
        nonlocal looking
        looking += 1
        await looked.wait()
        await look(config)

    monkeypatch.setattr(events, "_look", slow_look)
    path = tmp_path / "events.jsonl"
    append(path)
    async with serving(path) as client:

        async def ask() -> tuple[int, str]:
            async with client.stream("GET", f"{PATH}?last=1") as stream:
                if stream.status_code == 200:
                    await read(stream.aiter_lines(), "event: change")
                return stream.status_code, stream.headers.get("retry-after", "")

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        async with asyncio.timeout(30):
            refused = 0
            for each in asyncio.as_completed(asking):
                refused += (await each)[0] == 503
                if refused == 6:
                    break
            assert looking == 2
            looked.set()
            assert sorted(code for code, _ in await asyncio.gather(*asking)) == [200] * 2 + [503] * 6
