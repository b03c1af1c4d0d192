"""What a running Ditto tells the outside: over HTTP, and to OpenTelemetry; each only where it is asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from ditto.config import Config
from ditto.monitoring.counters import Counters
from ditto.monitoring.state import States

log = structlog.get_logger()

_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP_{part}ENDPOINT" for part in ("", "TRACES_", "METRICS_"))
_EXPORTERS = ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER")


@asynccontextmanager
async def exporting(config: Config, *, counters: Counters, states: States) -> AsyncIterator[None]:
    """Tell while the body runs. Raises ConfigError where `http.listen` cannot be listened on.

    What it takes is imported here: nobody else pays for it.
    """
    has_otel = is_otel_asked(os.environ)
    if config.http.listen is None and not has_otel:
        yield
        return
    from ditto.monitoring.monitor import Monitor  # noqa: PLC0415

    monitor = Monitor(config, counters=counters, states=states)
    async with AsyncExitStack() as stack:
        if config.http.listen is not None:
            from ditto.api.server import serving  # noqa: PLC0415

            await stack.enter_async_context(serving(config.http.listen, monitor))
        if has_otel:
            try:
                from ditto.monitoring.otel import exporting  # noqa: PLC0415
            except ImportError as error:
                log.warning(
                    "otel.not_installed",
                    reason=str(error),
                    hint="pip install 'ditto-cdc[otel]', or unset the OTEL_* variables",
                )
            else:
                await stack.enter_async_context(exporting(monitor, os.environ))
        await stack.enter_async_context(monitor.watching())
        yield


def is_otel_asked(environ: Mapping[str, str]) -> bool:
    """Whether the standard variables name somewhere to send traces or metrics to."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = [environ.get(name, "").strip().lower() for name in _EXPORTERS]
    return any(each not in {"", "none"} for each in exporters) or (
        exporters != ["none", "none"] and any(environ.get(name) for name in _ENDPOINTS)
    )
