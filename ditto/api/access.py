"""Which requests are let in: by the Host header, and by the token where one is configured."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/ready"})
"""Probes need no token: where there is one, they answer the state and nothing else."""
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""
_JSON: Final = "application/json"
_ANY: Final = "*"
_INTERNAL: Final = (".localhost", ".local", ".internal", ".svc", ".cluster.local")
"""Endings that no name of the public DNS can have."""


class Gate:
    """An ASGI application in front of another one.

    A web page can make its visitor's browser ask a server of the visitor's network under a name of the page's owner
    (DNS rebinding). Such a name is one of the public DNS, and is in the Host header. `hosts` are the allowed names.

    Nor may a page change anything by a request that a browser sends without asking the server first: such a one cannot
    be JSON. Without a token only this machine may change something (`is_local`: nobody else can connect).
    """

    def __init__(self, app: ASGIApp, *, token: str | None, hosts: Iterable[str], is_local: bool = False) -> None:
        self._app = app
        self._may_change = is_local or token is not None
        self._expected = None if token is None else f"Bearer {token}".encode()
        self._hosts = own_hosts(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self.is_known(host):
            await _refuse(send, 421, "this name is not one of Ditto's: add it to http.hosts")
            return
        if self._expected is not None and scope["path"] not in OPEN_PATHS:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                await _refuse(send, 401, "give the token of http.token as: Authorization: Bearer TOKEN")
                return
        if scope.get("method", "GET") not in READING:
            if not self._may_change:
                await _refuse(
                    send, 403, "without a token only a Ditto that listens on 127.0.0.1 takes this: set http.token"
                )
                return
            kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
            if kind != _JSON:
                await _refuse(send, 415, f"send it as Content-Type: {_JSON}")
                return
        if scope.get("method") == "HEAD":
            # uvicorn sends no body in answer to HEAD.
            scope = {**scope, "method": "GET"}  # type: ignore[assignment]
        await self._app(scope, receive, send)

    def is_known(self, host: str) -> bool:
        """Whether a Host header names this machine, a name inside of its network, or one of `hosts`."""
        return is_known_host(host, self._hosts)


def own_hosts(hosts: Iterable[str]) -> frozenset[str]:
    """`hosts`, in lower case, and this machine's own name."""
    return frozenset({each.lower() for each in hosts} | {socket.getfqdn().lower()})


def is_known_host(host: str, hosts: Container[str]) -> bool:
    """Whether a Host header names this machine, a name inside of its network, or one of `hosts` (`own_hosts`)."""
    name = host_name(host)
    if "." not in name or name.endswith(_INTERNAL) or name in hosts or _ANY in hosts:
        return ":" not in name or _is_address(name)
    return _is_address(name)


def host_name(host: str) -> str:
    """The name or the address in a Host header, without the port."""
    name = host.lower().strip()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    return name.rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = msgspec.json.encode({"status_code": status, "detail": detail})
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *([(b"www-authenticate", b"Bearer")] if status == 401 else []),
    ]
    start: Any = {"type": "http.response.start", "status": status, "headers": headers}
    end: Any = {"type": "http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(end)
