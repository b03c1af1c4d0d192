"""A page takes messages of the person it was made for, and of nobody else.

NiceGUI takes them of everybody who knows the page's number. The number is random, but browsers send it in the address
of the websocket, which proxies write into their logs: a reader of those must not be able to use another one's page.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from nicegui.client import Client

from ditto.console.gate import SESSION

_MESSAGES: Final = ("handshake", "event", "javascript_response", "ack", "log")
"""All that the library takes, beside `connect`; each names the page."""


def guard(server: Any) -> None:
    """Put a check before the library's handlers of messages."""
    handlers = server.handlers["/"]
    handlers["connect"] = _checked_connect(handlers["connect"])
    for name in _MESSAGES:
        handlers[name] = _checked(server, handlers[name])


def _checked_connect(connect: Any) -> Any:
    async def checked(socket: str, environ: dict[str, Any], auth: object = None) -> Any:
        page = parse_qs(environ.get("QUERY_STRING", "")).get("client_id", [""])[0]
        return await connect(socket, environ, auth) if not page or _is_own(environ, page) else False

    return checked


def _checked(server: Any, handle: Any) -> Any:
    async def checked(socket: str, message: dict[str, Any]) -> Any:
        if not _is_own(server.get_environ(socket), message["client_id"]):
            return False
        result = handle(socket, message)
        return await result if hasattr(result, "__await__") else result

    return checked


def _is_own(environ: dict[str, Any] | None, page: str) -> bool:
    """Whether that page was made for the person whose socket this is."""
    client = Client.instances.get(page)
    if client is None or environ is None:
        return False
    session = environ["asgi.scope"].get(SESSION)
    return session is not None and client.request.scope.get(SESSION) == session
