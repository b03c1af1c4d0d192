"""The HTTP server of a node: uvicorn in the node's event loop, without any power over the process."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import structlog
import uvicorn

from ditto.api.connection_limits import IDLE_TIMEOUT_S
from ditto.api.fleet.connections import FleetProtocol
from ditto.api.server import BACKLOG, QuietServer, bind
from ditto.config.server import HttpTls
from ditto.errors import ConfigError
from ditto.tasks import end

if TYPE_CHECKING:
    from litestar.types import ASGIApp

log = structlog.get_logger()

_CLOSE_TIMEOUT_S: Final = 1
WebSockets: TypeAlias = Literal["none", "websockets-sansio"]
"""What speaks to websockets: a library that the console's extra brings."""
_RELOAD_S: Final = 60.0
"""How often the files of the certificate are looked at: they are replaced before it ends."""


@asynccontextmanager
async def serve_fleet(
    app: ASGIApp, listen: str, tls: HttpTls, *, websockets: WebSockets = "none"
) -> AsyncIterator[int]:
    """Serve while the body runs, which gets the port. Raises ConfigError before it begins."""
    context = _context(tls)
    sockets = bind(listen)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # one warning for each malformed request
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws=websockets,
        loop="none",
        http=FleetProtocol,
        backlog=BACKLOG,
        server_header=False,
        proxy_headers=False,  # the address of a client decides whether it needs a token
        timeout_keep_alive=math.ceil(IDLE_TIMEOUT_S),
        timeout_graceful_shutdown=2 * _CLOSE_TIMEOUT_S,
    )
    settings.load()
    settings.ssl = context
    server = QuietServer(settings)
    running = asyncio.create_task(server.serve(sockets=sockets))
    reloading = asyncio.create_task(_reload(context, tls)) if context is not None else None
    port = sockets[0].getsockname()[1]
    log.info("http.listening", address=listen, port=port, tls=context is not None)
    try:
        yield port
    finally:
        if reloading is not None:
            await end(reloading)
        server.should_exit = True
        await asyncio.wait([running], timeout=_CLOSE_TIMEOUT_S)
        for connection in list(server.server_state.connections):  # streams, and clients that do not take their answers
            if isinstance(connection, FleetProtocol):
                connection.end()
        await running
        for each in sockets:
            each.close()


def _context(tls: HttpTls) -> ssl.SSLContext | None:
    """Raises ConfigError."""
    if tls.cert is None or tls.key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.cert, tls.key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise ConfigError(
            f"the certificate {tls.cert} with the key {tls.key} cannot be used: {reason}",
            hint="give http.tls.cert and http.tls.key as PEM files that belong together, the key without a password",
            key="http.tls.cert",
        ) from error
    return context


async def _reload(context: ssl.SSLContext, tls: HttpTls) -> None:
    """Take a certificate that has been replaced: connections that are made from then on have it."""
    before = _modified(tls)
    while True:
        await asyncio.sleep(_RELOAD_S)
        if (now := _modified(tls)) == before or now is None:
            continue
        before = now
        try:
            context.load_cert_chain(str(tls.cert), str(tls.key))
        except (OSError, ssl.SSLError) as error:
            log.warning("http.certificate_refused", certificate=tls.cert, kind=type(error).__name__)
        else:
            log.info("http.certificate_reloaded", certificate=tls.cert)


def _modified(tls: HttpTls) -> tuple[int, int] | None:
    try:
        return Path(str(tls.cert)).stat().st_mtime_ns, Path(str(tls.key)).stat().st_mtime_ns
    except OSError:
        return None
