"""TLS to a port that does none, and plain text to a port that does TLS: told from a server that is only away.

A connection that ends without a word proves nothing: a proxy and a server that restarts end one, too. So the port is
asked once more, with what tells: a ClientHello, which a port with TLS answers with a record of TLS, or the first
request of the protocol in plain text. Neither has anything secret in it, and nothing is verified, as nothing is read.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import suppress
from typing import Final, NamedTuple

from ditto.errors import LoginDenied

_ANSWER_S: Final = 2.0
_ENOUGH: Final = 64
_TLS_RECORD: Final = re.compile(rb"[\x15\x16]\x03[\x00-\x04]")
"""An alert, or the server's part of the handshake: https://www.rfc-editor.org/rfc/rfc8446#section-5.1"""
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"})
"""OpenSSL's reasons for what is no record of TLS."""


class Speech(NamedTuple):
    """How a protocol begins in plain text: a first request, and what every answer to it begins with."""

    request: bytes
    answer: re.Pattern[bytes]


class Port(NamedTuple):
    """What is connected to, and how."""

    words: str
    """For messages."""
    host: str
    port: int
    has_tls: bool
    """Ditto's side does TLS."""
    speech: Speech | None
    """None where the protocol has no request without effects."""
    without_tls: str
    """The hint where the port does no TLS."""
    with_tls: str
    """The hint where it does."""


async def tls_mismatch(port: Port, error: BaseException) -> LoginDenied | None:
    """What is wrong where TLS at one end was the reason for the error; None where the port does not say so."""
    if port.has_tls:
        if not _is_plain_answer(error) and (not await _speaks(port) or await _does_tls(port)):
            return None
        return LoginDenied(f"{port.words} does no TLS: it answers in plain text", hint=port.without_tls)
    if not await _does_tls(port) or await _speaks(port):  # a port may do both
        return None
    return LoginDenied(f"{port.words} does TLS, and Ditto came without", hint=port.with_tls)


def _is_plain_answer(error: BaseException) -> bool:
    """The other end has said something, and it was no TLS."""
    seen: set[int] = set()  # in aiormq, an error may be its own cause's cause
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, ssl.SSLError) and getattr(found, "reason", None) in _NOT_TLS:  # aiohttp's have none
            return True
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return False


async def _speaks(port: Port) -> bool:
    if port.speech is None:
        return False
    return port.speech.answer.match(await _answer(port, port.speech.request)) is not None


async def _does_tls(port: Port) -> bool:
    return _TLS_RECORD.match(await _answer(port, _client_hello(port.host))) is not None


def _client_hello(host: str) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=host).do_handshake()
    return sent.read()


async def _answer(port: Port, request: bytes) -> bytes:
    """The beginning of it; empty where there is none."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(port.host, port.port)
            try:
                writer.write(request)
                return await reader.read(_ENOUGH)
            finally:
                writer.transport.abort()
    except (OSError, UnicodeError):  # a time-out is the first; a label of more than 63 characters the other
        return b""
