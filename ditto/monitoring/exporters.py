"""Where a running Ditto's metrics, status and traces go: HTTP, and OpenTelemetry; each only where it is asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from ditto.config.model import Http
from ditto.monitoring.configuration_status import Reload
from ditto.pipeline.pipeline import Pipeline

if TYPE_CHECKING:
    from ditto.monitoring.otel import Telemetry

log = structlog.get_logger()

_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT" for part in ("", "TRACES_", "METRICS_"))
_EXPORTERS = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")


@asynccontextmanager
async def run_exporters(pipelines: Sequence[Pipeline], *, http: Http, reload: Reload) -> AsyncIterator[None]:
    """Serve and export while the body runs. Raises ConfigError where `http.listen` cannot be listened on.

    The libraries are imported here: a process without exporters does not pay for them.
    """
    has_otel = is_otel_asked(os.environ)
    if http.listen is None and not has_otel:
        yield
        return
    from ditto.monitoring.pipeline_monitor import PipelineMonitor  # noqa: PLC0415

    monitors = [PipelineMonitor(each) for each in pipelines]
    async with AsyncExitStack() as stack:
        if http.listen is not None:
            from ditto.api.server import serve_http  # noqa: PLC0415

            await stack.enter_async_context(serve_http(http.listen, monitors, http, reload=reload))
        telemetry = await stack.enter_async_context(opentelemetry(os.environ, instance=monitors[0].counters.run_id))
        if telemetry is not None:
            for monitor in monitors:
                telemetry.add(monitor)
        for monitor in monitors:
            await stack.enter_async_context(monitor.watch_servers())
        yield


@asynccontextmanager
async def opentelemetry(environ: Mapping[str, str], *, instance: str) -> AsyncIterator[Telemetry | None]:
    """Metrics and traces of this process while the body runs; None where they are not asked for, or cannot be."""
    if not is_otel_asked(environ):
        yield None
        return
    try:
        from ditto.monitoring.otel import run_opentelemetry  # noqa: PLC0415
    except ImportError as error:
        log.warning(
            "otel.not_installed",
            reason=str(error),
            hint="pip install 'ditto-cdc[otel]', or unset the OTEL_* variables",
        )
        yield None
        return
    async with run_opentelemetry(environ, instance=instance) as telemetry:
        yield telemetry


def is_otel_asked(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables name somewhere to send traces or metrics to."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = [environ.get(name, "").strip().lower() for name in _EXPORTERS]
    return any(each not in {"", "none"} for each in exporters) or (
        exporters != ["none", "none"] and any(environ.get(name) for name in _ENDPOINTS)
    )
