"""A connection to NATS, and the one place that uses what nats-py keeps private."""

from __future__ import annotations

import asyncio
import inspect
import re
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, cast

import msgspec
import nats
import nats.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE

from ditto.errors import AnswerUnreadable, SinkError
from ditto.sinks.jetstream.direct_read import DirectRead, install
from ditto.sinks.jetstream.requests import Requests
from ditto.tasks import end

_KEEPALIVE_IDLE_S: Final = 10
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_COUNT: Final = 3
_USER_TIMEOUT_MS: Final = 20_000

_LOGIN_PERIOD_S: Final = 0.05
_REFUSAL_S: Final = 0.002
"""A server that has no room says so right after its INFO, and closes. Written to, the connection would break before
that was read."""
_FAREWELL: Final = re.compile(rb"-ERR '([^'\r\n]*)'")
_COMPLAINT: Final = re.compile(rb"-ERR\s+'(.+)'\r\n")
_VERSION: Final = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")

T = TypeVar("T")

_NO_RESPONDERS: Final = re.compile(rb"NATS/1\.0\s+503\b")
Listener = Callable[[str, bytes, bool], None]
"""Takes a message's subject and body, and whether it is the server's word that nobody takes what was sent."""


class NoTls(nats.errors.Error):
    """The server does no TLS."""


class NoCertificate(nats.errors.Error):
    """The server wants a certificate from the client, which has none."""


class PlaintextCredentials(nats.errors.Error):
    """A password or a token would be sent without TLS to another machine."""


class ServerInfo(Struct, frozen=True):
    """What a server tells about itself when it is connected to."""

    version: str
    max_payload: int
    jetstream: bool = False
    cluster: str | None = None
    tls_required: bool = False
    tls_available: bool = False
    tls_verify: bool = False

    @property
    def has_jetstream(self) -> bool:
        """Whether this server, or another one of its cluster, may run JetStream."""
        return self.jetstream or bool(self.cluster)

    @property
    def release(self) -> tuple[int, int, int]:
        """Major, minor and patch, from 2.14.1, v2.14.1, 2.15 and 2.14.1-RC.1. Raises AnswerUnreadable."""
        found = _VERSION.match(self.version)
        if found is None:
            raise AnswerUnreadable(
                f"nats-server's INFO cannot be read: {self.version!r} is not a version",
                hint="does something else than nats-server answer there?",
            )
        major, minor, patch = found.groups(default="0")
        return int(major), int(minor), int(patch)


class Connection(Client):
    """nats-py's client with typed answers, requests that the server may refuse, and encryption where it has to be.

    By itself nats-py leaves encryption to what the server says. An unencrypted INFO decides, which anybody on the way
    can write; user and password would follow in plain text.
    """

    def __init__(
        self, *, where: str, must_encrypt: bool, has_certificate: bool, keeps_secret: bool, is_encrypted: bool
    ) -> None:
        """`where` is the server for messages. `keeps_secret`: there is a password or a token that may not be sent
        without TLS. `is_encrypted`: TLS comes before the server's INFO.
        """
        super().__init__()
        self.where = where
        self._must_encrypt = must_encrypt
        self._has_certificate = has_certificate
        self._keeps_secret = keeps_secret
        self.is_encrypted = is_encrypted
        self.wants_certificate = False
        self.server = ServerInfo("0.0", 0)
        self.has_told = False
        """Whether the server has said what it is."""
        self.has_sent_secret = False
        """A password or a token went to another machine without TLS, which the configuration allows."""
        self.requests = Requests(self)
        self.refused: list[SinkError] = []
        """Why the servers and addresses that were tried before this one were not taken."""
        self._listeners: dict[int, Listener] = {}
        self.shortcut: DirectRead | None = None
        """Where messages are read before nats-py does; None over a WebSocket, and before `listen`."""
        self._writable: asyncio.Transport | None = None  # what `write` may write to, past nats-py's two layers
        self._flushing: asyncio.Future[Any] | None = None
        self.words = ""
        """The server's last complaint as it came: nats-py gives it on in lower case."""
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets what the connection ended by, or what the server refused that was no request."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection:
            self.has_told = True
            try:
                self.server = msgspec.convert(info, ServerInfo)
            except msgspec.ValidationError as error:
                raise AnswerUnreadable(f"nats-server's INFO cannot be read: {error}") from error
            self._decide_on_tls(info)
            await asyncio.sleep(_REFUSAL_S)
        await super()._process_info(info, initial_connection)

    def _decide_on_tls(self, info: dict[str, Any]) -> None:
        server = self.server
        if not self.is_encrypted and not server.tls_required:
            # Where the server leaves the choice, a secret decides.
            if server.tls_available and (self._must_encrypt or self._keeps_secret):
                info["tls_required"] = True
            elif self._must_encrypt:
                raise NoTls("it does no TLS")
            elif self._keeps_secret:
                raise PlaintextCredentials("it does no TLS, and is not on this machine")
        self.is_encrypted = self.is_encrypted or bool(info.get("tls_required"))
        if server.tls_verify:
            # In TLS 1.3 the server only complains after the handshake, and may have closed before that is read.
            self.wants_certificate = True
            if not self._has_certificate:
                raise NoCertificate("it wants a certificate from the client")

    async def _process_err(self, err_msg: str) -> None:
        found = _COMPLAINT.match(self._ps.buf)
        self.words = found[1].decode("utf-8", "replace") if found else ""
        await super()._process_err(err_msg)

    async def _process_pong(self) -> None:
        if self.is_connecting:
            # The server has asked first whether Ditto is there, as it does when a login takes longer than 2 s.
            self._status = Client.CONNECTED
        await super()._process_pong()

    async def wait_for_login(self) -> None:
        """nats-py takes the server's first line for the end of the login: wait for it, or for why there is none."""
        while not self.is_connected and not self.is_closed:  # noqa: ASYNC110  nats-py has no event for it
            await asyncio.sleep(_LOGIN_PERIOD_S)
        if not self.is_connected:
            raise self.last_error or nats.errors.Error("nats: it ended the connection while Ditto logged in")

    async def listen(self, pattern: str, listener: Listener) -> int:
        """Call `listener` with each message on these subjects, where its bytes arrive; it must neither wait nor raise.

        A subscription's own callback runs in a task of its own, behind a queue: at 1,000 transactions a second these
        two hops were a tenth of Ditto's CPU time. Returns the number of the subscription.
        """
        subscription = await self.subscribe(pattern)
        self._listeners[subscription._id] = listener  # noqa: SLF001  nats-py keeps the number to itself
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and isinstance(self._transport, TcpTransport):
            self._writable = writer.transport
            self.shortcut = install(writer.transport, listeners=self._listeners, is_idle=self._is_idle)
        return subscription._id  # noqa: SLF001

    def _is_idle(self) -> bool:
        """Whether nats-py has handled everything that has arrived: its reader and its parser hold nothing back."""
        reader = getattr(self._transport, "_io_reader", None)
        parser = self._ps
        return reader is not None and not (reader._buffer or parser.buf) and parser.state == AWAITING_CONTROL_LINE  # noqa: SLF001

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        listener = self._listeners.get(sid)
        if listener is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            listener(
                subject.decode("utf-8", "replace"),
                bytes(data),
                not data and _NO_RESPONDERS.match(headers or b"") is not None,
            )

    def write(self, block: bytes | bytearray) -> None:
        """Send a block of framed commands, which must not change any more; nothing is waited for.

        nats-py 2.16 has no public call that takes bytes which are framed already; `publish` costs 18 µs a message
        where a block costs 0.2. Where nothing waits to be sent the block goes straight to the transport: nats-py's
        flusher would have to wake up for it. Otherwise the block follows what waits.
        """
        if self._pending or self._writable is None:
            self._pending.append(block)  # type: ignore[arg-type]  # any buffer
            self._pending_data_size += len(block)
            self._flushing = asyncio.ensure_future(self._flush_pending())
            return
        try:  # noqa: SIM105  suppress() costs three calls a block
            self._writable.write(block)
        except RuntimeError:  # of uvloop, where the connection has ended: its reader finds out why
            pass

    @property
    def plain_transport(self) -> asyncio.Transport | None:
        """The socket's transport, where there is neither TLS nor a WebSocket on it."""
        writer = getattr(self._transport, "_io_writer", None)
        if self.is_encrypted or writer is None or not isinstance(self._transport, TcpTransport):
            return None
        return cast("asyncio.Transport", writer.transport)

    def farewell(self) -> str:
        """The server's last words where nothing could be written any more, and so nobody read them."""
        reader = getattr(self._transport, "_io_reader", None)
        found = _FAREWELL.search(bytes(getattr(reader, "_buffer", b"")))
        return found[1].decode("utf-8", "replace") if found else ""

    def fail(self, error: SinkError) -> None:
        """The connection has ended, or the server has refused something."""
        self.requests.lost(error)
        if not self.failure.done():
            self.failure.set_exception(error)
            self.failure.exception()  # it may come when nobody waits any more

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work`; raises what the connection ended by, or the server refused, if that comes first."""
        running = asyncio.ensure_future(work)
        ends: list[asyncio.Future[Any]] = [running, self.failure]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                await self.failure
            return running.result()
        finally:
            await end(running)

    def watch_socket(self) -> None:
        """Let the kernel find out about a dead peer, as on the connections to PostgreSQL; PINGs do so for a hanging
        one.
        """
        writer = getattr(self._transport, "_io_writer", None)
        connection = None if writer is None else writer.get_extra_info("socket")
        if connection is None:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
            ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
            ("TCP_KEEPCNT", _KEEPALIVE_COUNT),
            ("TCP_USER_TIMEOUT", _USER_TIMEOUT_MS),
        ):
            if hasattr(socket, option):  # macOS has only some of them
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    def abandon(self) -> None:
        """Close what a failed attempt to connect has left open; its own error is what counts."""
        if self._transport is not None:  # nats-py leaves it open when the handshake fails
            self._transport.close()  # type: ignore[no-untyped-call]


def check_contract(client: Client) -> None:
    """Raise SinkError when this nats-py does not have the private methods that Ditto calls or replaces."""
    for name, parameters in (
        ("_flush_pending", ["force_flush"]),
        ("_process_info", ["info", "initial_connection"]),
        ("_process_err", ["err_msg"]),
        ("_process_pong", []),
        ("_process_msg", ["sid", "subject", "reply", "data", "headers"]),
    ):
        method = getattr(client, name, None)
        if not inspect.iscoroutinefunction(method) or list(inspect.signature(method).parameters) != parameters:
            raise SinkError(
                f"this version of nats-py ({nats.__version__ if hasattr(nats, '__version__') else 'unknown'}) has no "
                f"Client.{name}({', '.join(parameters)})",
                hint="install the version that this release of Ditto is pinned to",
            )
