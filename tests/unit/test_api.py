"""The HTTP server by itself: who is let in, how many, and for how long."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from ditto.api import connection_limits
from ditto.api.access import Gate
from ditto.api.app import FRESH_S, Cached
from ditto.api.server import bind, serve_http
from ditto.check.http import check_http
from ditto.config import load
from ditto.config.listen import is_loopback, split_address
from ditto.errors import ConfigError
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.status_client import NoAnswer, over_http
from ditto.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "a-token-of-the-test"


@asynccontextmanager
async def server(**settings: str) -> AsyncIterator[int]:
    """Its port."""
    environ = {f"DITTO_HTTP_{name.upper()}": value for name, value in settings.items()}
    config = load(None, {}, environ)
    monitors = [PipelineMonitor(Pipeline(config=config))]
    with capture_logs() as logs:
        async with serve_http(settings.get("listen", "127.0.0.1:0"), monitors, config.http):
            yield next(each["port"] for each in logs if each["event"] == "http.listening")


async def ask(port: int, path: str, *headers: str, method: str = "GET", host: str = "localhost") -> tuple[int, str]:
    """Status code and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(10):
        answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split()[1]), body


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection, soon and without a word."""
    try:
        async with asyncio.timeout(10):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


# ------------------------------------------------------------------------------------ how many, and for how long


async def test_a_client_that_sends_nothing_or_trickles_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "REQUEST_TIMEOUT_S", 0.5)
    async with server() as port:
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", port)
        trickling, writer = await asyncio.open_connection("127.0.0.1", port)

        async def trickle() -> None:
            for each in b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 1000:
                writer.write(bytes([each]))
                await asyncio.sleep(0.05)

        sending = asyncio.ensure_future(trickle())
        began = time.monotonic()
        assert await is_closed(silent)
        assert await is_closed(trickling)
        assert time.monotonic() - began < 5
        sending.cancel()
        for each in (silent_writer, writer):
            each.close()


async def test_a_connection_that_idles_after_an_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limits, "IDLE_TIMEOUT_S", 0.5)
    async with server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):  # it stays open between two requests
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(5):
                assert b"200" in await reader.readuntil(b"}")
        writer.write(b"GET /health")  # half a request does not keep it open
        assert await is_closed(reader)
        writer.close()


async def test_one_connection_more_closes_the_one_that_waits_longest() -> None:
    async with server() as port:
        open_ones = [
            await asyncio.open_connection("127.0.0.1", port) for _ in range(3 * connection_limits.MAX_CONNECTIONS)
        ]
        assert (await ask(port, "/healthz"))[0] == 200, "a probe gets through"
        assert await is_closed(open_ones[0][0])
        _, last = open_ones[-1]
        last.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(5):
            assert b"200" in await open_ones[-1][0].readuntil(b"\r\n")
        for _, writer in open_ones:
            writer.close()


async def test_malformed_requests_are_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with server() as port:
        for sent in (b"\x16\x03\x01\x00\x05hello\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            async with asyncio.timeout(5):
                assert b" 400 " in await reader.read()
            writer.close()
    assert not caplog.records


def test_metrics_are_rendered_once_a_second() -> None:
    now, count = 0.0, 0

    def render() -> bytes:
        nonlocal count
        count += 1
        return str(count).encode()

    cached = Cached(render, clock=lambda: now)
    assert [cached() for _ in range(900)] == [b"1"] * 900
    now += FRESH_S * 1.01
    assert cached() == b"2"


# ------------------------------------------------------------------------------------ who


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("10.0.0.5", True),
        ("localhost:8080", True),
        ("ditto-1:8080", True),
        ("ditto.cdc.svc:8080", True),
        ("Ditto.cdc.svc.cluster.local.", True),
        ("ditto.example.com:8080", True),
        (socket.getfqdn(), True),
        ("", True),
        ("rebound.example.org:8080", False),
        ("127.0.0.1.example.org", False),
        ("svc.example.org", False),
        ("1.2.3", False),
        ("a:b:c", False),
    ],
)
def test_hosts(host: str, is_known: bool) -> None:
    gate = Gate(None, token=None, hosts=["Ditto.example.com"])  # type: ignore[arg-type]
    assert gate.is_known(host) is is_known
    assert Gate(None, token=None, hosts=["*"]).is_known(host) is (host != "a:b:c")  # type: ignore[arg-type]


async def test_a_name_that_is_not_ours_is_refused() -> None:
    async with server(hosts="ditto.example.com") as port:
        code, body = await ask(port, "/v1/status", host="rebound.example.org")
        assert code == 421
        assert "http.hosts" in json.loads(body)["detail"]
        assert (await ask(port, "/v1/status", host="ditto.example.com:8080"))[0] == 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/status", "/schema/openapi.json"])
async def test_head_is_get_without_the_body(path: str) -> None:
    async with server() as port:
        code, body = await ask(port, path)
        assert code == 200
        assert body
        assert await ask(port, path, method="HEAD") == (200, "")


async def test_the_token_is_needed_for_everything_but_probes() -> None:
    async with server(token=TOKEN) as port:
        for path in ("/metrics", "/v1/status", "/schema/openapi.json", "/nowhere"):
            assert (await ask(port, path))[0] == 401
            assert (await ask(port, path, "Authorization: Bearer wrong"))[0] == 401
            assert (await ask(port, path, f"Authorization: Bearer {TOKEN}"))[0] in {200, 404}
        for path in ("/readyz", "/ready"):
            assert (await ask(port, path))[0] == 503
        code, body = await ask(port, "/healthz")
        assert (code, json.loads(body)) == (200, {"state": "starting", "reason": ""})
        told = await asyncio.to_thread(over_http, f"http://127.0.0.1:{port}", token=TOKEN)
        assert told.process is not None
        with pytest.raises(NoAnswer, match=r"http\.token") as raised:
            await asyncio.to_thread(over_http, f"http://127.0.0.1:{port}")
        assert raised.value.hint is None, "a Ditto does run there"


@pytest.mark.parametrize(
    ("listen", "is_local"),
    [
        ("127.0.0.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        (":1", False),
        ("0.0.0.0:1", False),
        ("h:1", False),
    ],
)
def test_loopback(listen: str, is_local: bool) -> None:
    assert is_loopback(listen) is is_local


@pytest.mark.parametrize(("settings", "count"), [({}, 1), ({"token": TOKEN}, 0)])
async def test_a_warning_where_everybody_can_read(settings: dict[str, str], count: int) -> None:
    environ: dict[str, Any] = {f"DITTO_HTTP_{name.upper()}": value for name, value in settings.items()}
    config = load(None, {}, environ)
    with capture_logs() as logs:
        async with serve_http(":0", [PipelineMonitor(Pipeline(config=config))], config.http):
            pass
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["http.open"] * count


@pytest.mark.parametrize(
    ("settings", "levels"),
    [
        ({}, []),
        ({"DITTO_HTTP_LISTEN": "127.0.0.1:1"}, ["ok"]),
        ({"DITTO_HTTP_LISTEN": ":1"}, ["warning"]),
        ({"DITTO_HTTP_LISTEN": ":1", "DITTO_HTTP_TOKEN": TOKEN}, ["ok"]),
    ],
)
def test_what_check_says(settings: dict[str, str], levels: list[str]) -> None:
    assert [each.level for each in check_http(load(None, {}, settings).http)] == levels


def test_an_address_of_another_machine_is_named_as_one() -> None:
    with pytest.raises(ConfigError, match=r"http\.listen") as raised:
        bind("192.0.2.1:0")
    assert raised.value.hint == "give an address that this machine has, or :PORT for all that it has"


@pytest.mark.parametrize(
    ("text", "address"),
    [(":8080", ("", 8080)), ("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:80", ("::1", 80)), ("h:0", ("h", 0))],
)
def test_addresses_to_listen_on(text: str, address: tuple[str, int]) -> None:
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "h", "h:", "h:x", "::1:80", "h:65536", "http://h:80", "a b:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  it is the text itself
        split_address(text)
