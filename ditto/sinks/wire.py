"""The connection to NATS, and the one place that uses what nats-py keeps private."""

from __future__ import annotations

import asyncio
import inspect
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import nats
from nats.aio.client import Client
from nats.errors import AuthorizationError, NoServersError
from nats.errors import Error as NatsError

from ditto.config import Nats
from ditto.errors import SinkDenied, SinkError, SinkLost
from ditto.sinks.credentials import address, authentication, tls_context

CONNECT_TIMEOUT_S: Final = 5
# A flush of every block may wait in nats-py's queue. It must never be full: putting into a full queue
# would suspend, and nats-py swallows a cancellation there.
_FLUSH_QUEUE: Final = 1 << 20

_KEEPALIVE_IDLE_S: Final = 10
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_COUNT: Final = 3
_USER_TIMEOUT_MS: Final = 20_000

_DENIALS: Final = ("authorization", "authentication", "permissions", "nkey", "user credentials")
_NOT_NOW: Final = ("authentication timeout", "maximum connections")


class _NoTls(NatsError):
    """The server does no TLS."""


class _NoCertificate(NatsError):
    """The server wants a certificate from the client, which has none."""


class _Client(Client):
    """nats-py's client, but that encrypts where it has to: by itself it leaves that to what the server says.

    An unencrypted INFO decides, which anybody on the way can write; user and password would follow in plain text.
    """

    def __init__(self, *, must_encrypt: bool, has_certificate: bool) -> None:
        super().__init__()
        self._must_encrypt = must_encrypt
        self._has_certificate = has_certificate
        self.wants_certificate = False

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._must_encrypt and not info.get("tls_required"):
            if not info.get("tls_available"):
                raise _NoTls("it does no TLS")
            info["tls_required"] = True
        if initial_connection and info.get("tls_verify"):
            # In TLS 1.3 the server only complains after the handshake, and may have closed before that is read.
            self.wants_certificate = True
            if not self._has_certificate:
                raise _NoCertificate("it wants a certificate from the client")
        await super()._process_info(info, initial_connection)


class BlockWriter:
    """Writes framed blocks into a nats-py connection.

    nats-py 2.16 has no public call that takes bytes which are framed already; `publish` costs 18 µs a message
    where a block costs 0.2. `_send_command` only appends to the pending list, `_flush_pending` wakes its
    flusher. A block must not change after it was handed over.
    """

    def __init__(self, client: Client) -> None:
        check_contract(client)
        self._client = client

    async def write(self, block: bytes | bytearray) -> None:
        await self._client._send_command(block)  # type: ignore[arg-type]  # noqa: SLF001  it takes any buffer
        await self._client._flush_pending()  # noqa: SLF001


def check_contract(client: Client) -> None:
    """Raise SinkError when this nats-py does not have the private methods that BlockWriter calls."""
    for name, parameters in (
        ("_send_command", ["cmd", "priority"]),
        ("_flush_pending", ["force_flush"]),
        ("_process_info", ["info", "initial_connection"]),
    ):
        method = getattr(client, name, None)
        if not inspect.iscoroutinefunction(method) or list(inspect.signature(method).parameters) != parameters:
            raise SinkError(
                f"this version of nats-py ({nats.__version__ if hasattr(nats, '__version__') else 'unknown'}) has no "
                f"Client.{name}({', '.join(parameters)})",
                hint="install the version that this release of Ditto is pinned to",
            )


def has_jetstream(client: Client) -> bool:
    """Whether the server, or another one of its cluster, may run JetStream, as its INFO tells."""
    info = client._server_info  # noqa: SLF001  nats-py keeps it to itself
    return bool(info.get("jetstream") or info.get("cluster"))


def server_version(client: Client) -> tuple[int, int]:
    """Major and minor of the server that this is connected to."""
    version = client.connected_server_version
    return version.major, version.minor


async def connect(
    config: Nats, *, on_lost: Callable[[SinkError], None], may_lack: Callable[[str], bool] = lambda _words: False
) -> Client:
    """Connect, without nats-py's own reconnect: the pipeline's next attempt is the reconnect.

    `on_lost` is called when the connection ends, and when the server refuses a permission, in these words, that
    the user may not lack. Raises SinkLost, SinkDenied and ConfigError.
    """
    where = describe(config)
    last_error: Exception | None = None

    async def on_error(error: Exception) -> None:
        nonlocal last_error
        last_error = error
        # The connection stays open, and the message has gone: nobody would ever acknowledge it.
        if "permissions violation" in str(error).lower() and not may_lack(str(error)):
            on_lost(
                SinkDenied(
                    f"NATS at {where} refuses: {_words(error)}",
                    hint="the user publishes to the events' subjects and $JS.API.>, and subscribes to _INBOX.>",
                )
            )

    async def on_closed() -> None:
        on_lost(lost(config, last_error))

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
    }
    if config.tls is not None:
        options["tls"] = tls_context(config.tls)  # otherwise nats-py makes one where it is needed, and verifies
    identity = authentication(config)
    failures: list[str] = []
    hint = "check nats.url, and that the server is running"
    # One server at a time: without reconnect nats-py gives up at the first that answers badly.
    for server in config.servers:
        to = address(server, config)
        client = _Client(
            must_encrypt=to.must_encrypt, has_certificate=config.tls is not None and config.tls.cert is not None
        )
        try:
            async with asyncio.timeout(3 * CONNECT_TIMEOUT_S):
                await client.connect(servers=[to.url], **options, **(identity or to.options))
        except Exception as error:
            error = last_error if isinstance(error, NoServersError) and last_error is not None else error
            _abandon(client)
            said = str(error).lower()
            is_denied = isinstance(error, AuthorizationError) or any(word in said for word in _DENIALS)
            if is_denied and not any(word in said for word in _NOT_NOW):
                raise SinkDenied(
                    f"NATS at {where} refused the connection: {_words(error)}",
                    hint="check nats.user and nats.password, nats.token, nats.creds or nats.nkey_seed",
                ) from error
            if isinstance(error, ssl.SSLError | _NoTls | _NoCertificate):
                raise SinkDenied(f"TLS with NATS at {where} failed: {_words(error)}", hint=_tls_hint(error)) from error
            failures.append(_words(error))
            if client.wants_certificate:
                hint = "it wants a certificate from the client: does it trust who signed nats.tls.cert?"
        else:
            _watch_socket(client)
            return client
    raise SinkLost(
        f"cannot reach NATS at {where}: {failures[-1] if failures else 'no server'}",
        hint=hint,
    )


def _watch_socket(client: Client) -> None:
    """Let the kernel find out about a dead peer, as on the connections to PostgreSQL; PINGs do so for a hanging one."""
    transport = client._transport  # noqa: SLF001  nats-py does not hand out its socket
    writer = getattr(transport, "_io_writer", None)
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


def _abandon(client: Client) -> None:
    """Close what a failed attempt to connect has left open; its own error is what counts."""
    transport = client._transport  # noqa: SLF001  nats-py leaves it open when the handshake fails
    if transport is not None:
        transport.close()  # type: ignore[no-untyped-call]


def lost(config: Nats, error: Exception | None) -> SinkLost:
    """The connection ended, by `error` if that is known."""
    words = f": {_words(error)}" if error is not None else ""
    return SinkLost(f"the connection to NATS at {describe(config)} ended{words}", hint="see the log of nats-server")


def _tls_hint(error: Exception) -> str:
    if isinstance(error, _NoTls):
        return "enable TLS in nats-server, or connect without it: no nats.tls, and nats:// in nats.url"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "nats.tls.ca names the file of the authority that signs the server's certificate (the system's, if it is "
            "absent), and nats.url has to hold a name that stands in it"
        )
    return "check nats.tls.cert and nats.tls.key: the server may want a certificate from the client"


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_TIMEOUT_S} s"
    return str(error).removeprefix("nats: ").strip("'\" ") or type(error).__name__


def describe(config: Nats) -> str:
    """The servers for messages, without user and password."""
    return ", ".join(server.rpartition("@")[2].removeprefix("nats://") for server in config.servers)
