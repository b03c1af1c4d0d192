"""The routes. No GET waits for anything: all its answers are made from memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Litestar, MediaType, Response, get
from litestar.exceptions import ClientException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from ditto import __version__
from ditto.api.access import Gate
from ditto.api.reload import reload_handler
from ditto.api.snapshots import refuse, snapshot_handlers
from ditto.config.model import Http
from ditto.monitoring.configuration_status import Reload
from ditto.monitoring.pipeline_monitor import PipelineMonitor
from ditto.monitoring.prometheus import registry
from ditto.monitoring.state import ProcessState
from ditto.monitoring.status_document import Status

if TYPE_CHECKING:
    from litestar.types import ASGIApp

FRESH_S: Final = 1.0


class Health(msgspec.Struct, frozen=True):
    """The answer of a probe."""

    state: str
    reason: str


class Cached:
    """The last rendering, for as long as it is fresh: many who ask at once cost one rendering."""

    def __init__(self, render: Callable[[], bytes], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._render = render
        self._clock = clock
        self._rendered_at = -math.inf
        self._rendered = b""

    def __call__(self) -> bytes:
        """Not older than `FRESH_S`."""
        now = self._clock()
        if now - self._rendered_at > FRESH_S:
            self._rendered, self._rendered_at = self._render(), now
        return self._rendered


def make_app(
    monitors: Sequence[PipelineMonitor], http: Http, *, is_local: bool, reload: Reload | None = None
) -> ASGIApp:
    """The application for one running Ditto with these pipelines. `is_local`: only this machine can connect."""
    process = ProcessState([each.states for each in monitors])
    metrics_of = registry(monitors)
    rendered = Cached(lambda: generate_latest(metrics_of))

    def health() -> Health:
        return Health(process.state, process.reason if http.token is None else "")

    @get("/healthz", summary="Whether the process is alive", sync_to_thread=False)
    def healthz() -> Health:
        """Always 200: an answer proves that the event loop, which does all the work, runs."""
        return health()

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
        return Response(health(), status_code=200 if process.is_ready else 503)

    @get("/metrics", summary="Metrics for Prometheus", media_type=MediaType.TEXT, sync_to_thread=False)
    def metrics() -> Response[bytes]:
        """In the text format 0.0.4, not older than a second."""
        return Response(rendered(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    @get("/v1/status", summary="Everything that `ditto status` shows", sync_to_thread=False)
    def status() -> Status:
        """Ditto's own numbers as of now, those of the two servers as of a few seconds ago."""
        return monitors[0].status()

    handlers: list[Any] = [healthz, readyz, metrics, status, *snapshot_handlers(list(monitors))]
    if reload is not None:
        handlers.append(reload_handler(reload))
    app = Litestar(
        handlers,
        openapi_config=OpenAPIConfig(
            title="Ditto", version=__version__, path="/schema", render_plugins=[JsonRenderPlugin()]
        ),
        logging_config=None,
        exception_handlers={ClientException: refuse},
    )
    return Gate(app, token=http.token, hosts=http.hosts, is_local=is_local)
