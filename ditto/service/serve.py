"""The process of `ditto serve`: signals, heartbeat, systemd, the HTTP server, and the node of the fleet."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog

from ditto.api.fleet.server import serve_fleet
from ditto.config import ServerConfig
from ditto.config.listen import is_loopback, split_address
from ditto.console.mount import websockets, with_console
from ditto.fleet.node import Node
from ditto.service import signals, systemd
from ditto.service.heartbeat import keep_heartbeat

log = structlog.get_logger()


async def serve(config: ServerConfig) -> None:
    """Run until a signal asks to stop. The first one drains the node, a second one quits.

    Raises the DittoError that cannot be retried, and CancelledError after the second signal.
    """
    node = Node(config, api_url=api_url(config))
    with _on_signals(node):
        async with keep_heartbeat(node), systemd.keep_notified(node), _serve_http(node):
            await node.run()
    log.info("node.stopped", node=node.name)


@asynccontextmanager
async def _serve_http(node: Node) -> AsyncIterator[None]:
    """API and console, while the body runs. Both answer for the whole fleet, also before the control plane does."""
    config = node.config
    if not config.auth.tokens and not config.auth.allow_loopback:
        log.warning(
            "http.closed",
            reason="nobody may use the API: auth has no token",
            hint="ditto token makes one for auth.tokens; auth.allow_loopback lets programs of this machine in without",
        )
    async with (
        with_console(node) as app,
        serve_fleet(app, config.http.listen, config.http.tls, websockets=websockets()),
    ):
        yield


def api_url(config: ServerConfig) -> str:
    """Under which the node is reached, as far as is known."""
    if config.http.url is not None:
        return config.http.url.rstrip("/")
    host, port = split_address(config.http.listen)
    if not host or (not is_loopback(config.http.listen) and host in {"0.0.0.0", "::"}):  # noqa: S104  no binding
        host = socket.getfqdn()
    scheme = "https" if config.http.tls.cert else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def _on_signals(node: Node) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    root = asyncio.current_task()
    has_begun = False

    def on_signal(number: int) -> None:
        nonlocal has_begun
        if not has_begun:
            has_begun = True
            log.info("node.stopping", signal=signal.Signals(number).name)
            systemd.send("STOPPING=1", "STATUS=draining")
            node.stop()
        elif root is not None:
            log.warning("node.quitting", signal=signal.Signals(number).name)
            node.workers.kill()
            root.cancel()

    numbers = [*signals.STOPPING, *([] if signals.is_hang_up_ignored() else [signal.SIGHUP])]
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            # The process ends in a moment: a second signal that comes too late must not change its exit code.
            signal.signal(number, signal.SIG_IGN)
