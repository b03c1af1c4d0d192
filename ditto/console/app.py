"""The console as one ASGI application, and which requests go to it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from fastapi import FastAPI, Request
from nicegui import app as pages
from nicegui import core, ui
from nicegui.client import Client
from nicegui.page import page
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse, Response

from ditto.api.fleet.auth import Authenticator
from ditto.config.server import ServerConfig
from ditto.console.courses import Courses
from ditto.console.creation import creation_page
from ditto.console.fleet import Fleet
from ditto.console.gate import BUILT_IN, SESSION, ConsoleGate
from ditto.console.headers import SafePages
from ditto.console.nodes import nodes_page
from ditto.console.not_found import no_page, no_pipeline
from ditto.console.overview import overview
from ditto.console.own_pages import guard
from ditto.console.pipeline import pipeline_page
from ditto.console.sessions import Sessions
from ditto.console.visit import Visit
from ditto.errors import PipelineUnknown

if TYPE_CHECKING:
    from starlette.types import ASGIApp

log = structlog.get_logger()

_HERE: Final = Path(__file__).parent
_RECONNECT_S: Final = 10.0
"""How long a page keeps its place while its browser is not connected."""


@asynccontextmanager
async def console(fleet: Fleet, config: ServerConfig, courses: Courses) -> AsyncIterator[ASGIApp]:
    """The pages, while the body runs; once in a process, because NiceGUI has one application."""
    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    sessions = Sessions()
    _register(fleet, courses, sessions)
    pages.add_static_file(local_file=_HERE / "style.css", url_path="/console/style.css", max_cache_age=60)
    pages.add_static_file(local_file=_HERE / "icon.svg", url_path="/console/icon.svg", max_cache_age=3600)
    ui.run_with(
        outer,
        title="Ditto",
        dark=None,
        tailwind=False,
        favicon=_HERE / "icon.svg",
        reconnect_timeout=_RECONNECT_S,
        binding_refresh_interval=None,
        gzip_middleware_factory=None,
        show_welcome_message=False,
    )
    core.app.config.socket_io_js_transports = ["websocket"]
    logging.getLogger("nicegui").setLevel(logging.CRITICAL + 1)  # its texts may quote what a page shows
    pages.on_exception(_log)
    guard(core.sio)
    gate = ConsoleGate(
        outer,
        Authenticator(config.auth),
        sessions,
        node=fleet.node,
        hosts=config.http.hosts,
        is_tls=config.http.tls.cert is not None,
    )
    async with outer.router.lifespan_context(outer):
        yield GZipMiddleware(SafePages(gate))


def _log(error: Exception) -> None:
    """An unexpected error on a page: its kind and its place, without its text, which may quote a row."""
    frame = traceback.extract_tb(error.__traceback__)[-1:]
    where = [f"{Path(each.filename).name}:{each.lineno}" for each in frame]
    log.error("console.failed", kind=type(error).__name__, where="".join(where))


def _register(fleet: Fleet, courses: Courses, sessions: Sessions) -> None:
    def visit(request: Request) -> Visit:
        return Visit(request, fleet, courses, sessions)

    @ui.page("/")
    def _overview(request: Request) -> None:
        overview(visit(request))

    @ui.page("/nodes")
    def _nodes(request: Request) -> None:
        nodes_page(visit(request))

    @ui.page("/new")
    def _new(request: Request) -> None:
        creation_page(visit(request))

    @ui.page("/pipelines/{name}")
    def _pipeline(request: Request, name: str, tab: str = "") -> None:
        here = visit(request)
        try:
            pipeline_page(here, name, tab)
        except PipelineUnknown:
            no_pipeline(here, name)
            here.client.status_code = 503 if fleet.is_starting() else 404

    @pages.exception_handler(404)
    async def _nothing(request: Request, _error: Exception) -> Response:
        """Of an asset, or for nobody who is signed in, without a page."""
        if request.scope.get(SESSION) is None or request.url.path.startswith(BUILT_IN):
            return PlainTextResponse("there is nothing here\n", status_code=404)
        with Client(page(""), request=request) as client:
            no_page(visit(request))
        return client.build_response(request, 404)
