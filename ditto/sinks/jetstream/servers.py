"""Reaching NATS: every address of every server, until one can be used."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from nats.errors import AuthorizationError
from nats.errors import Error as NatsError

from ditto.config import NatsConnection
from ditto.errors import (
    AnswerUnreadable,
    ConfigError,
    LoginDenied,
    NatsUnsuitable,
    NoJetStream,
    SinkError,
    SinkLost,
)
from ditto.sinks.jetstream.api import Api
from ditto.sinks.jetstream.connection import Connection, NoCertificate, NoTls, PlaintextCredentials
from ditto.sinks.jetstream.credentials import (
    Address,
    address,
    authentication,
    expired_at,
    is_local,
    is_secret,
    user_of,
)
from ditto.sinks.jetstream.permissions import OF_PIPELINES, refusal
from ditto.sinks.tls import tls_context
from ditto.sinks.tls_mismatch import Port, Speech, tls_mismatch

OLDEST_VERSION: Final = (2, 14)
"""The first with fast-ingest batches."""

CONNECT_TIMEOUT_S: Final = 5
"""For the name, for the TCP connection, and for each answer of the server while one logs in."""
_CLOSE_TIMEOUT_S: Final = 2.0
# A flush of every block may wait in nats-py's queue. It must never be full: putting into a full queue
# would suspend, and nats-py swallows a cancellation there.
_FLUSH_QUEUE: Final = 1 << 20

_DENIALS: Final = ("authorization", "authentication", "permissions", "nkey", "user credentials")
_NO_TLS: Final = "connect without it (nats:// in nats.url, and no nats.tls), or enable TLS in nats-server"
_NOT_NOW: Final = ("authentication timeout", "maximum connections")

Accept = Callable[[Connection], Awaitable[None]]
"""Raises the SinkError for which a connection cannot be used."""


class _Place(NamedTuple):
    """One address of one server."""

    url: str
    host: str
    words: str
    """For messages."""
    is_local: bool


async def connect(
    config: NatsConnection, *, accept: Accept | None = None, permissions: str = OF_PIPELINES
) -> Connection:
    """Connect to an address that takes the connection and that `accept` takes; each has a time limit of its own.
    `permissions` is the section of docs/operations.md that lists what the user needs.

    Begins with any of the servers: one that is cut off from the others takes connections all the same, and the next
    session must not end there again. nats-py's own reconnect is off: the pipeline's next session is the reconnect.
    Raises ConfigError; and where no address can be used, an error that is retried if one of them may be usable later.
    """
    authentication(config)  # a file that cannot be used is said before anything is tried
    servers = config.servers
    first = random.randrange(len(servers))  # noqa: S311  no secret
    failures: list[SinkError] = []
    for server in servers[first:] + servers[:first]:
        to = address(server, config)
        try:
            places = await _places(to)
        except SinkError as error:
            failures.append(error)
            continue
        refused: list[SinkError] = []
        for place in places:
            try:
                connection = await _connect(config, to, place, permissions)
                if accept is not None:
                    await _try(accept, connection)
            except SinkError as error:
                refused.append(error)
            else:
                connection.refused = failures + refused
                return connection
        final = [error for error in refused if not error.is_retryable]
        # ::1 and 127.0.0.1 are one server: that nobody listens on one of them says nothing.
        failures += final if final and all(place.is_local for place in places) else refused
    raise _decide(failures)


async def usable(connection: Connection, config: NatsConnection) -> None:
    """Raise NoJetStream, NatsUnsuitable and others for a server that Ditto cannot use."""
    where = connection.where
    if config.domain is None and not connection.server.has_jetstream:
        raise NoJetStream(
            f"nats-server at {where} runs without JetStream",
            hint="start it with JetStream (nats-server -js, or a jetstream block in its configuration)",
        )
    release = connection.server.release
    if release[:2] < OLDEST_VERSION:
        raise NatsUnsuitable(
            f"nats-server at {where} is version {'.'.join(map(str, release))}: Ditto needs "
            f"{'.'.join(map(str, OLDEST_VERSION))} or later",
            hint="upgrade nats-server: older ones have no batches (allow_batched), by which nothing can be lost in "
            "the middle",
        )
    await Api(connection.requests, domain=config.domain).account(f"use JetStream at {where}")


async def close(connection: Connection) -> None:
    """Close a connection, which may be broken, and break again while it is closed."""
    with suppress(Exception):
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await connection.close()


# ---------------------------------------------------------------------------------------- one address


async def _places(to: Address) -> list[_Place]:
    """Every address of a server's name."""
    name = f"{to.host}:{to.port}" if ":" not in to.host else f"[{to.host}]:{to.port}"
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            found = await asyncio.get_running_loop().getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise SinkLost(
            f"cannot reach NATS at {name}: {_words(error)}", hint="check nats.url, and how this machine resolves names"
        ) from error
    hosts = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    return [
        _Place(
            url=f"{to.scheme}://[{host}]:{to.port}" if ":" in host else f"{to.scheme}://{host}:{to.port}",
            host=host,
            words=name if len(hosts) == 1 else f"{name} ({host})",
            is_local=is_local(host),
        )
        for host in hosts
    ]


async def _connect(config: NatsConnection, to: Address, place: _Place, permissions: str) -> Connection:
    """Raises SinkLost, SinkDenied, AnswerUnreadable and ConfigError."""
    identity = authentication(config) or to.options
    has_secret = is_secret(identity) and not place.is_local
    handshake_first = config.tls is not None and config.tls.handshake_first
    connection = Connection(
        where=place.words,
        must_encrypt=to.must_encrypt,
        has_certificate=config.tls is not None and config.tls.cert is not None,
        keeps_secret=has_secret and not config.allow_plaintext_credentials,
        is_encrypted=handshake_first,
    )
    connection.requests.permissions, connection.requests.user = permissions, user_of(config, to)
    is_reading = False

    async def on_error(error: Exception) -> None:
        if not is_reading:
            raise error  # otherwise nats-py tries the same address again
        # The connection stays open, and a message that was refused has gone: nobody would ever acknowledge it.
        refused = refusal(connection.words or str(error))
        if refused is not None and not connection.requests.refused(refused):
            connection.fail(refused.denied(f"NATS at {place.words}", permissions, connection.requests.user))

    async def on_closed() -> None:
        connection.fail(lost(connection))

    options: dict[str, Any] = {
        "error_cb": on_error,
        "closed_cb": on_closed,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "connect_timeout": CONNECT_TIMEOUT_S,
        "pending_size": 0,  # nats-py's own limit would flush inside _send_command; the window bounds what is pending
        "flusher_queue_size": _FLUSH_QUEUE,
        "ping_interval": 10,
        "max_outstanding_pings": 2,
        "name": "ditto",
        "inbox_prefix": config.inbox_prefix,
        "tls_hostname": to.host,
        "tls_handshake_first": handshake_first,
    }
    if config.tls is not None:
        # Otherwise nats-py makes one where it is needed, and verifies.
        options["tls"] = tls_context(config.tls, "nats.tls")
    try:
        async with asyncio.timeout(3 * CONNECT_TIMEOUT_S):
            await connection.connect(servers=[place.url], **options, **identity)
            is_reading = True
            await connection.wait_for_login()
    except Exception as error:
        words = connection.farewell() if isinstance(error, OSError) else ""
        connection.abandon()
        if not connection.has_told and not isinstance(error, ConnectionRefusedError):
            port = _port(to, place, has_tls=handshake_first)
            if (mismatch := await tls_mismatch(port, error)) is not None:
                raise mismatch from error
        raise _failure(config, connection, NatsError(words) if words else error) from error
    except BaseException:
        connection.abandon()
        raise
    connection.has_sent_secret = has_secret and not connection.is_encrypted
    connection.watch_socket()
    return connection


def _port(to: Address, place: _Place, *, has_tls: bool) -> Port:
    """For whether TLS is what does not fit there: by a protocol in which the server speaks first."""
    return Port(
        f"NATS at {place.words}",
        place.host,
        to.port,
        has_tls,
        speech=Speech(b"", re.compile(b"INFO ")),
        without_tls="leave nats.tls.handshake_first out: the server speaks first, and then does TLS where it has any",
        with_tls="set nats.tls.handshake_first to true, if its tls block has handshake_first; otherwise give the port "
        "of its clients in nats.url",
    )


async def _try(accept: Accept, connection: Connection) -> None:
    try:
        await accept(connection)
    except BaseException:
        await close(connection)
        raise


def _failure(config: NatsConnection, connection: Connection, error: Exception) -> Exception:
    """Why it cannot be connected to."""
    where = connection.where
    if isinstance(error, SinkError | ConfigError):
        return error
    if isinstance(error, PlaintextCredentials):
        return LoginDenied(
            f"NATS at {where} does no TLS: a password or a token would go to another machine in plain text",
            hint="enable TLS in nats-server; or use nats.creds or nats.nkey_seed, which are never sent; or allow it "
            "with nats.allow_plaintext_credentials: true, on a network that nobody else can read",
        )
    said = str(error).lower()
    if isinstance(error, AttributeError | KeyError | TypeError) and not connection.has_told:
        # nats-py uses the INFO before anybody can check it.
        return AnswerUnreadable(f"what NATS at {where} says of itself (INFO) cannot be read: {type(error).__name__}")
    is_denied = isinstance(error, AuthorizationError) or any(word in said for word in _DENIALS)
    if is_denied and not any(word in said for word in _NOT_NOW):
        hint = (
            "check nats.user and nats.password, nats.token, nats.creds or nats.nkey_seed; an auth callout that is too "
            "slow is told in the same words"
        )
        if expiry := expired_at(config):
            hint = f"the JWT in nats.creds expired at {expiry}: put a new one there"
        return LoginDenied(f"NATS at {where} refuses {connection.requests.user}: {_words(error)}", hint=hint)
    if isinstance(error, NoTls):
        return LoginDenied(f"NATS at {where} does no TLS: it answers in plain text", hint=_NO_TLS)
    if isinstance(error, ssl.SSLError | NoCertificate):
        return LoginDenied(f"TLS with NATS at {where} failed: {_words(error)}", hint=_tls_hint(error))
    if not isinstance(error, NatsError | OSError | EOFError | ValueError):
        return error
    hint = "check nats.url, and that the server is running"
    if connection.wants_certificate:
        hint = "it wants a certificate from the client: does it trust who signed nats.tls.cert?"
    elif not connection.has_told and not connection.is_encrypted and not isinstance(error, ConnectionRefusedError):
        hint += "; one with handshake_first in its tls block says nothing without nats.tls.handshake_first: true"
    return SinkLost(f"cannot reach NATS at {where}: {_words(error)}", hint=hint)


def _decide(failures: list[SinkError]) -> SinkError:
    """One error of all: it is retried if any of them is."""
    kind = next((error for error in reversed(failures) if error.is_retryable), failures[0])
    if len(failures) == 1:
        return kind
    words = "; ".join(dict.fromkeys(error.message for error in failures))
    together = type(kind)(words, hint=kind.hint, **kind.context)
    together.__cause__ = kind
    return together


def lost(connection: Connection) -> SinkLost:
    """The connection has ended; with the server's reason where it gave one."""
    error = connection.last_error
    words = f": {_words(error)}" if error is not None else ""
    return SinkLost(f"the connection to NATS at {connection.where} ended{words}", hint="see the log of nats-server")


def _tls_hint(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "nats.tls.ca names the file of the authority that signs the server's certificate (the system's, if it is "
            "absent), and nats.url has to hold a name that it contains"
        )
    return "check nats.tls.cert and nats.tls.key: the server may want a certificate from the client"


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S} s"
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)  # asyncio's own words have the number and the address in them
    return str(error).removeprefix("nats: ").strip("'\" ") or type(error).__name__
