"""A request whose time and size are bounded, however the other side behaves."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Answer(NamedTuple):
    """Of an HTTP server."""

    status: int
    body: bytes


class AnswerTooLarge(http.client.HTTPException):
    """The body is larger than was asked for."""


def fetch(
    url: str, *, timeout_s: float, max_bytes: int, headers: Mapping[str, str] = _NO_HEADERS, posted: bytes | None = None
) -> Answer:
    """The answer to a GET, or to a POST of this JSON document. No redirect is followed, and no proxy is asked.

    Raises OSError where there is no connection, or no answer within that time in all; HTTPException for what is not
    HTTP, or larger; ValueError for what is no address.
    """
    address = urlsplit(url)
    make = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}.get(address.scheme)
    if make is None or not address.hostname:
        raise ValueError(f"{url!r} is not an address")
    with closing(make(address.hostname, address.port, timeout=timeout_s)) as connection:
        connection.connect()
        # The socket's own time-out begins anew with each byte.
        has_ended = threading.Event()
        timer = threading.Timer(timeout_s, _hang_up, [connection.sock, has_ended])
        timer.daemon = True
        timer.start()
        try:
            if posted is None:
                connection.request("GET", address.path or "/", headers=dict(headers))
            else:
                sent = {**headers, "Content-Type": "application/json"}
                connection.request("POST", address.path or "/", body=posted, headers=sent)
            with connection.getresponse() as answer:
                body = answer.read(max_bytes + 1)
                status = answer.status
        except (OSError, http.client.HTTPException) as error:
            if has_ended.is_set():
                raise TimeoutError("timed out") from error
            raise
        finally:
            timer.cancel()
    if has_ended.is_set():
        raise TimeoutError("timed out")
    if len(body) > max_bytes:
        raise AnswerTooLarge(f"an answer of more than {max_bytes} bytes")
    return Answer(status, body)


def _hang_up(transport: socket.socket, has_ended: threading.Event) -> None:
    has_ended.set()
    with suppress(OSError):
        socket.socket.shutdown(transport, socket.SHUT_RDWR)
