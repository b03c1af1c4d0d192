"""An ASGI application in front of the API: by which name it is asked, who asks, and what kind of body comes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ditto.api.access import READING, is_known_host, own_hosts
from ditto.api.fleet.auth import LOOPBACK, Authenticator
from ditto.api.fleet.problems import MEDIA_TYPE, ProblemDocument, headers_of, plain_problem, problem_of
from ditto.errors import TokenRefused

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Probes need no token: they give a state, and no reason."""
IDENTITY: Final = "identity"
"""Where the request has the `Identity` of who asks, in its `state`."""
_JSON: Final = "application/json"


class FleetGate:
    """Lets requests through to the API, or answers them.

    A web page can make its visitor's browser ask a server of the visitor's network under a name of the page's owner
    (DNS rebinding): such a name is one of the public DNS, and is in the Host header. `hosts` are the allowed names.
    Nor may a page change anything where no token is needed, by a request that a browser sends without asking the
    server first: such a request cannot be JSON. One without a body need not be JSON, where no browser has sent it.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, *, hosts: Iterable[str]) -> None:
        self._app = app
        self._authenticator = authenticator
        self._hosts = own_hosts(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer it."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not is_known_host(headers.get("host", ""), self._hosts):
            hint = "add it to http.hosts in the node's configuration, or use the node's address"
            await _refuse(send, plain_problem(421, "this name is not one of Ditto's", hint=hint))
            return
        method = str(scope.get("method", "GET"))
        if scope["path"] not in OPEN_PATHS:
            client = scope.get("client")
            identity = self._authenticator.identify(headers, client[0] if client else None)
            if identity is None:
                await _refuse(send, problem_of(_token_refused(is_given="authorization" in headers)))
                return
            if method not in READING and not _is_json(headers):
                has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
                if has_body or (identity.name == LOOPBACK and _is_from_browser(headers)):
                    hint = f"curl: -H 'Content-Type: {_JSON}'"
                    await _refuse(send, plain_problem(415, f"send it as Content-Type: {_JSON}", hint=hint))
                    return
            scope = {**scope, "state": {**scope.get("state", {}), IDENTITY: identity}}  # type: ignore[assignment]
        if method == "HEAD":
            # uvicorn sends no body in answer to HEAD.
            scope = {**scope, "method": "GET"}  # type: ignore[assignment]
        await self._app(scope, receive, send)


def _is_json(headers: dict[str, str]) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON


def _is_from_browser(headers: dict[str, str]) -> bool:
    """Every browser says where the page is from that makes it send a request which can change anything."""
    return "origin" in headers or "sec-fetch-site" in headers


def _token_refused(*, is_given: bool) -> TokenRefused:
    if is_given:
        return TokenRefused(
            "this token is not one of those that the node knows",
            hint="send Authorization: Bearer TOKEN (commands: --token or DITTO_TOKEN) with a token whose SHA-256 is in "
            "auth.tokens of the node",
        )
    return TokenRefused(
        "no token is given, and the node asks for one",
        hint="send Authorization: Bearer TOKEN (commands: --token or DITTO_TOKEN); ditto token makes one",
    )


async def _refuse(send: Send, problem: ProblemDocument) -> None:
    body = msgspec.json.encode(problem)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in headers_of(problem).items()),
    ]
    start: Any = {"type": "http.response.start", "status": problem.status, "headers": headers}
    end: Any = {"type": "http.response.body", "body": body, "more_body": False}
    await send(start)
    await send(end)
