"""The console beside the API in one server: which requests go where, and what is at `/` without the extra."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import structlog

from ditto.api.fleet.app import gated, make_api
from ditto.api.fleet.server import WebSockets
from ditto.console.courses import Courses
from ditto.console.fleet import Fleet
from ditto.console.in_process import InProcess
from ditto.tasks import end

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

    from ditto.config import ServerConfig
    from ditto.fleet.interface import FleetNode

log = structlog.get_logger()

_API: Final = ("/v1", "/metrics", "/healthz", "/readyz", "/schema")
"""What the API answers; all the rest is the console's."""
_LIBRARY: Final = "nicegui"
_HINT: Final = (
    b"This node has no console: the extra is not installed. Install it with\n\n"
    b"    pip install 'ditto-cdc[console]'\n\n"
    b"and start the node again. The API is at /v1, its description at /schema/openapi.json.\n"
)


def has_console() -> bool:
    """Whether the extra `console` is installed."""
    return importlib.util.find_spec(_LIBRARY) is not None


def websockets() -> WebSockets:
    """What the server needs to serve them: only the console has any."""
    return "websockets-sansio" if has_console() else "none"


@asynccontextmanager
async def with_console(node: FleetNode, *, courses: Courses | None = None) -> AsyncIterator[ASGIApp]:
    """The whole application of a node, API and console, while the body runs. `courses` that are known already."""
    api = make_api(node)
    if not has_console():
        log.info("console.missing", hint="pip install 'ditto-cdc[console]'")
        yield _Beside(gated(api, node), _no_console)
        return
    courses = courses or Courses(node.view)
    keeping = asyncio.create_task(courses.keep(), name="courses")
    fleet = Fleet(
        node.name,
        node.view,
        InProcess(api),
        is_starting=lambda: node.state == "connecting",
        cut_off_by=lambda: node.cut_off_by,
    )
    pages = _Pages(fleet, node.config, courses)
    try:
        yield _Beside(gated(api, node), pages)
    finally:
        await end(keeping)
        await pages.close()


class _Pages:
    """The pages, made when somebody asks for the first one: NiceGUI takes two seconds and 40 MB, and a node that nobody
    looks at needs neither.
    """

    def __init__(self, fleet: Fleet, config: ServerConfig, courses: Courses) -> None:
        self._fleet = fleet
        self._config = config
        self._courses = courses
        self._stack = AsyncExitStack()
        self._lock = asyncio.Lock()
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            async with self._lock:
                if self._app is None:
                    self._app = await self._open()
        await self._app(scope, receive, send)

    async def close(self) -> None:
        await self._stack.aclose()

    async def _open(self) -> Any:
        # In a thread: meanwhile the node goes on.
        module = await asyncio.to_thread(importlib.import_module, "ditto.console.app")
        return await self._stack.enter_async_context(module.console(self._fleet, self._config, self._courses))


class _Beside:
    """Gives each request to the API or to the console."""

    def __init__(self, api: Any, pages: Any) -> None:
        self._api = api
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, kind = scope["path"], str(scope["type"])
        is_for_api = kind == "http" and any(path == each or path.startswith(f"{each}/") for each in _API)
        await (self._api if is_for_api else self._pages)(scope, receive, send)


async def _no_console(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await receive()
        await send({"type": "websocket.close", "code": 1000})
        return
    is_first = scope["path"] == "/"
    body = _HINT if is_first else b"there is nothing here\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if is_first else 404, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
