"""The HTTP server: uvicorn in the event loop that does the work, without any power over the process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import math
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import structlog
import uvicorn

from ditto.api.app import make_app
from ditto.api.connection_limits import IDLE_TIMEOUT_S, LimitedProtocol
from ditto.config.listen import is_loopback, split_address
from ditto.config.model import Http
from ditto.errors import ConfigError
from ditto.monitoring.configuration_status import Reload
from ditto.monitoring.pipeline_monitor import PipelineMonitor

log = structlog.get_logger()

BACKLOG = 128
SEND_BUFFER: Final = 128 * 1024
"""Bytes of an answer that the kernel keeps: slow clients take little memory, and it is soon seen that one reads."""
_CLOSE_TIMEOUT_S = 1


class QuietServer(uvicorn.Server):
    """Leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `ditto.service.run`."""
        yield


def bind(listen: str) -> list[socket.socket]:
    """Sockets that listen there: with an empty host on every address, IPv6 included where there is any.

    Raises ConfigError where that cannot be.
    """
    host, port = split_address(listen)
    try:
        if not host and socket.has_dualstack_ipv6():
            made = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "give another port, or stop what uses this one: a second Ditto on the same machine needs its own"
        if error.errno == errno.EADDRNOTAVAIL:
            hint = "give an address that this machine has, or :PORT for all that it has"
        raise ConfigError(
            f"cannot listen on {listen} (http.listen): {error.strerror or error}",
            hint=hint,
            key="http.listen",
        ) from error
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return [made]


@asynccontextmanager
async def serve_http(
    listen: str, monitors: Sequence[PipelineMonitor], http: Http, *, reload: Reload | None = None
) -> AsyncIterator[None]:
    """Serve while the body runs. Raises ConfigError before it begins."""
    sockets = bind(listen)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # one warning for each malformed request
    settings = uvicorn.Config(
        make_app(monitors, http, is_local=is_loopback(listen), reload=reload),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        loop="none",
        http=LimitedProtocol,
        backlog=BACKLOG,
        server_header=False,
        timeout_keep_alive=math.ceil(IDLE_TIMEOUT_S),
        timeout_graceful_shutdown=2 * _CLOSE_TIMEOUT_S,
    )
    server = QuietServer(settings)
    running = asyncio.create_task(server.serve(sockets=sockets))
    log.info("http.listening", address=listen, port=sockets[0].getsockname()[1])
    if http.token is None and not is_loopback(listen):
        log.warning(
            "http.open",
            address=listen,
            reason="every client that can connect reads metrics and status without a token",
            hint="set http.token, or listen on 127.0.0.1, or let only Prometheus and probes in (a NetworkPolicy)",
        )
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([running], timeout=_CLOSE_TIMEOUT_S)
        for connection in list(server.server_state.connections):  # of clients that do not take their answers
            if isinstance(connection, LimitedProtocol):
                connection.end()
        await running
        for each in sockets:
            each.close()
