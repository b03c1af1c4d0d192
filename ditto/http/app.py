"""The routes. No handler waits for anything: all that they tell stands in memory."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ditto import __version__
from ditto.http.prometheus import registry
from ditto.monitor import Monitor
from ditto.status import Status


class Health(msgspec.Struct, frozen=True):
    """The answer of a probe."""

    state: str
    reason: str


def make_app(monitor: Monitor) -> Litestar:
    """The application for one running Ditto."""
    metrics_of = registry(monitor)

    @get("/healthz", summary="Whether the process is alive", sync_to_thread=False)
    def healthz() -> Health:
        """Always 200: whoever gets an answer knows that the event loop, which does all the work, runs."""
        return Health(monitor.state, monitor.reason)

    @get(
        ["/readyz", "/ready"],
        summary="Whether it streams or stands by",
        sync_to_thread=False,
        raises=[],
    )
    def readyz() -> Response[Health]:
        """200 while it streams or stands by, otherwise 503 with the reason. `/ready` is the name that wal-listener
        gave it.
        """
        return Response(Health(monitor.state, monitor.reason), status_code=200 if monitor.is_ready else 503)

    @get("/metrics", summary="Metrics for Prometheus", media_type=MediaType.TEXT, sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """In the text format 0.0.4."""
        return Response(generate_latest(metrics_of), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @get("/v1/status", summary="Everything that `ditto status` shows", sync_to_thread=False)
    def status() -> Status:
        """Its own numbers as of now, those of the two servers as of a few seconds ago."""
        return monitor.status()

    handlers: list[Any] = [healthz, readyz, metrics, status]
    return Litestar(
        handlers,
        openapi_config=OpenAPIConfig(
            title="Ditto", version=__version__, path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
    )
