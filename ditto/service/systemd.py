"""Notifications to systemd for a unit with `Type=notify`: ready, alive, stopping. See sd_notify(3).

Without NOTIFY_SOCKET, which systemd sets, nothing is sent. Ready means that Ditto streams or stands by. A
unit cannot become unready again; the state of the moment is its status text (`systemctl status` shows it). The watchdog
is fed from the event loop that does the work, so that a process whose loop hangs is restarted.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from ditto.monitoring.state import READY
from ditto.service.heartbeat import HasState

log = structlog.get_logger()

VARIABLE: Final = "NOTIFY_SOCKET"
_LOOK_S: Final = 0.25
_READY: Final = frozenset({*READY, "live"})
"""Of a pipeline, and of a node of a fleet."""


def send(*lines: str) -> None:
    """Send one notification, such as `STOPPING=1`; it never waits."""
    name = os.environ.get(VARIABLE)
    if not name:
        return
    # A name that begins with @ means an abstract socket, whose address begins with a zero byte.
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.sendto("\n".join(lines).encode(), address)
    except OSError as error:
        log.warning("notify.cannot_send", socket=name, error=error.strerror)


@asynccontextmanager
async def keep_notified(source: HasState) -> AsyncIterator[None]:
    """Send the state of `source`, and feed the watchdog, while the body runs."""
    if not os.environ.get(VARIABLE):
        yield
        return
    notifying = asyncio.create_task(_notify(source, feed_every_s=_feeding_s()))
    try:
        yield
    finally:
        notifying.cancel()


def _feeding_s() -> float:
    """How often the watchdog is fed: twice in the time that the unit's WatchdogSec allows."""
    try:
        allowed_s = int(os.environ.get("WATCHDOG_USEC", "")) / 1e6
    except ValueError:
        return float("inf")
    return allowed_s / 2


async def _notify(source: HasState, *, feed_every_s: float) -> None:
    sent = ""
    fed_at = time.monotonic()
    while True:
        if source.state != sent:
            sent = source.state
            send(*(["READY=1"] if sent in _READY else []), f"STATUS={sent}")
        if time.monotonic() - fed_at >= feed_every_s:
            fed_at = time.monotonic()
            send("WATCHDOG=1")
        await asyncio.sleep(min(_LOOK_S, feed_every_s))
