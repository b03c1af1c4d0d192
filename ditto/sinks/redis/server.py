"""Makes the connection: address, user, TLS, and on a cluster the node that has the keys."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ditto import __version__
from ditto.config import Redis, RedisTls
from ditto.errors import LoginDenied
from ditto.sinks.redis.server_errors import has_hung_up, is_unanswered, unreachable
from ditto.sinks.tls import refusal_of, tls_context
from ditto.sinks.tls_mismatch import Port, Speech, tls_mismatch

_PORT: Final = 6379
_CONNECT_TIMEOUT_S: Final = 5.0
_SPEECH: Final = Speech(b"PING\r\n", re.compile(rb"\+PONG\r|-[A-Z]+ "))
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000))


class Address(NamedTuple):
    """Where a server is; a path for a socket."""

    host: str
    port: int
    path: str
    database: int
    has_tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"Redis at {self.path or f'{host}:{self.port}'}"


def address_of(config: Redis) -> Address:
    """The one that the configuration gives."""
    parts = urlsplit(config.url)
    if parts.scheme == "unix":
        return Address("", 0, unquote(parts.path), 0, has_tls=False)
    database = parts.path.strip("/")
    has_tls = parts.scheme == "rediss" or config.tls is not None
    return Address(parts.hostname or "", parts.port or _PORT, "", int(database or 0), has_tls)


async def connect(config: Redis, address: Address) -> AbstractConnection:
    """Raises SinkError and ConfigError."""
    user, password = login(config)
    is_open = not (address.has_tls or address.path or _is_local(address.host))
    if password and is_open and not config.allow_plaintext_credentials:
        raise LoginDenied(
            f"{address} is on another machine and has no TLS: Ditto does not show it the password",
            hint="use rediss:// or redis.tls; or allow it with redis.allow_plaintext_credentials: true, on a network "
            "that nobody else can read",
        )
    given: dict[str, Any] = {
        "db": address.database,
        "username": user,
        "password": password,
        "socket_timeout": None,
        "socket_connect_timeout": _CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "client_name": f"ditto-{__version__}",
        "socket_read_size": 65536,
    }
    connection: AbstractConnection
    context: ssl.SSLContext | None = None
    if address.path:
        del given["socket_connect_timeout"]
        connection = UnixDomainSocketConnection(path=address.path, **given)
    else:
        options = {getattr(socket, name): value for name, value in _KEEPALIVE if hasattr(socket, name)}
        given |= {"socket_keepalive": True, "socket_keepalive_options": options}
        if address.has_tls:
            context = tls_context(config.tls or RedisTls(), "redis.tls")
            secure = SSLConnection(host=address.host, port=address.port, **given)
            secure.ssl_context = _Context(context)  # type: ignore[assignment]
            connection = secure
        else:
            connection = Connection(host=address.host, port=address.port, **given)
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except (exceptions.RedisError, OSError) as error:
        await connection.disconnect(nowait=True)
        if not address.path and is_unanswered(error) and (found := await tls_mismatch(_port(address), error)):
            raise found from error
        refused = None
        if context is not None and has_hung_up(error):
            refused = await refusal_of(address.host, address.port, context)
        raise unreachable(refused or error, str(address), user=user or "default") from error
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return connection


def _port(address: Address) -> Port:
    return Port(
        str(address),
        address.host,
        address.port,
        address.has_tls,
        speech=_SPEECH,
        without_tls="connect without it (redis:// in redis.url, and no redis.tls), or give the port that does TLS "
        "(tls-port of the server)",
        with_tls="let redis.url begin with rediss://; redis.tls.ca names the authority, where it is not one of the "
        "system's",
    )


class _Context:
    """Ditto's own in place of redis-py's, which trusts the system's authorities beside the given ones."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    def get(self) -> ssl.SSLContext:
        """What redis-py asks for."""
        return self._context


def login(config: Redis) -> tuple[str | None, str | None]:
    """User and password."""
    parts = urlsplit(config.url)
    if config.password is None and parts.scheme != "unix" and parts.password is not None:
        return unquote(parts.username or "") or None, unquote(parts.password)
    return config.user, config.password


def sends_password_in_plain_text(config: Redis) -> bool:
    """Over a network that others may read."""
    return bool(login(config)[1]) and _is_readable(address_of(config))


def _is_readable(address: Address) -> bool:
    return not address.has_tls and not address.path and not _is_local(address.host)


def _is_local(host: str) -> bool:
    try:
        given = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost"
    return (getattr(given, "ipv4_mapped", None) or given).is_loopback
