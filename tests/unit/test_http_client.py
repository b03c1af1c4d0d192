"""Whoever is asked over HTTP, and however it answers: time and memory are bounded."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from ditto.check import nats
from ditto.monitoring.http_client import Answer, AnswerTooLarge, fetch
from ditto.monitoring.status_client import NoAnswer, over_http

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OK = b"HTTP/1.1 200 OK\r\n"
DEEP = b"[" * 10_000


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that hands each connection to `answer` once the request has come; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=10)


def endless(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def trickling_headers(connection: socket.socket) -> None:
    connection.sendall(OK)
    while True:
        connection.sendall(b"a")
        time.sleep(0.02)


def trickling_body(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def deep(connection: socket.socket) -> None:
    connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(DEEP) + DEEP)


def test_an_answer() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 404 no\r\nContent-Length: 2\r\n\r\nno")

    with answering(answer) as url:
        assert fetch(f"{url}/x", timeout_s=5, max_bytes=2) == Answer(404, b"no")
        with pytest.raises(AnswerTooLarge):
            fetch(f"{url}/x", timeout_s=5, max_bytes=1)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    with answering(endless) as url, pytest.raises(AnswerTooLarge):
        fetch(url, timeout_s=20, max_bytes=1 << 20)


@pytest.mark.parametrize("answer", [trickling_headers, trickling_body, silent])
def test_the_time_is_bounded_in_all(answer: Callable[[socket.socket], None]) -> None:
    with answering(answer) as url:
        began_at = time.monotonic()
        with pytest.raises(TimeoutError):
            fetch(url, timeout_s=0.3, max_bytes=1 << 20)
        assert time.monotonic() - began_at < 5


def test_a_redirect_is_not_followed() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 no\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with answering(answer) as url:
        assert fetch(url, timeout_s=5, max_bytes=10).status == 302


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:port", "x"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        fetch(url, timeout_s=1, max_bytes=1)


def test_what_does_not_speak_http() -> None:
    with (
        answering(lambda connection: connection.sendall(b"hello\r\n\r\n")) as url,
        pytest.raises(http.client.HTTPException),
    ):
        fetch(url, timeout_s=5, max_bytes=10)


@pytest.mark.parametrize("answer", [endless, trickling_headers, silent, deep])
def test_the_monitoring_endpoint_may_be_anything(
    answer: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats, "_MONITOR_TIMEOUT_S", 0.3)
    with answering(answer) as url:
        assert nats._monitored(url) is None


def test_a_status_that_is_none() -> None:
    with answering(deep) as url, pytest.raises(NoAnswer, match="no status from"):
        over_http(url)
