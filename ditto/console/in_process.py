"""Requests to the API in the same process, as the person who is signed in: its handlers, without a socket.

So the console has the API's own rules: roles, revisions, checks, the audit log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

import msgspec

import ditto.errors
from ditto.api.fleet.auth import Identity
from ditto.api.fleet.gate import IDENTITY
from ditto.api.fleet.problems import ProblemDocument
from ditto.errors import DittoError

if TYPE_CHECKING:
    from litestar.types import ASGIApp

_ERROR: Final = "urn:ditto:error:"
_AT_ONCE: Final = 64
"""Parts of an answer that wait for the reader: then the sender waits."""


class Caller(NamedTuple):
    """Who asks, and from where."""

    identity: Identity
    address: str


class InProcess:
    """The API behind its gate: who asks is known already."""

    def __init__(self, api: ASGIApp) -> None:
        self._api = api

    async def ask(
        self,
        caller: Caller,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> bytes:
        """The body of the answer. Raises the DittoError that the API answers with."""
        async with self.open(caller, method, path, body=body, query=query, headers=headers) as parts:
            return b"".join([part async for part in parts])

    @asynccontextmanager
    async def open(
        self,
        caller: Caller,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Sequence[tuple[str, str]] = (),
        headers: Sequence[tuple[str, str]] = (),
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of the answer as it comes; the API sees a client that leaves when this is left."""
        content = b"" if body is None else msgspec.json.encode(body)
        sent = [(b"host", b"localhost"), *((name.encode(), value.encode()) for name, value in headers)]
        if body is not None:
            sent += [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        exchange = _Exchange(content)
        scope: Any = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": sent,
            "client": (caller.address, 0),
            "server": ("localhost", 0),
            "state": {IDENTITY: caller.identity},
        }
        running = asyncio.create_task(exchange.run(self._api, scope), name="console-request")
        try:
            status = await exchange.status()
            if status >= 400:
                raise error_of(b"".join([part async for part in exchange.parts()]), status)
            yield exchange.parts()
        finally:
            exchange.leave()
            if not running.done():
                await asyncio.wait([running], timeout=1.0)
            running.cancel()
            await asyncio.wait([running])


class _Exchange:
    """One request and its answer."""

    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content
        self._has_left = asyncio.Event()
        self._status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._parts: asyncio.Queue[bytes | None] = asyncio.Queue(_AT_ONCE)

    async def run(self, api: Any, scope: Any) -> None:
        try:
            await api(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 -- whoever waits for the answer gets it
            if not self._status.done():
                self._status.set_exception(error)
        finally:
            if not self._status.done():
                self._status.set_result(500)
            if not self._has_left.is_set():
                await self._parts.put(None)

    async def status(self) -> int:
        return await asyncio.shield(self._status)

    async def parts(self) -> AsyncIterator[bytes]:
        while (part := await self._parts.get()) is not None:
            yield part

    def leave(self) -> None:
        self._has_left.set()
        while not self._parts.empty():  # a sender that waits for room goes on
            self._parts.get_nowait()

    async def _receive(self) -> Any:
        if self._content is not None:
            content, self._content = self._content, None
            return {"type": "http.request", "body": content, "more_body": False}
        await self._has_left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status.set_result(message["status"])
        elif message["type"] == "http.response.body" and not self._has_left.is_set() and message.get("body"):
            await self._parts.put(message["body"])


def error_of(body: bytes, status: int) -> DittoError:
    """The error that a problem document tells of, of its own class."""
    try:
        problem = msgspec.json.decode(body, type=ProblemDocument)
    except msgspec.MsgspecError:
        return DittoError(f"the node answers {status}", hint="the log of the node says more")
    kind = getattr(ditto.errors, problem.type.removeprefix(_ERROR), DittoError)
    if not (isinstance(kind, type) and issubclass(kind, DittoError)):
        kind = DittoError
    return kind(problem.detail, hint=problem.hint)
