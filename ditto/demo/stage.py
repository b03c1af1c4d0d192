"""What every demonstration has: two servers in a temporary folder, a screen, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import nats

from ditto.config import ORIGINAL_VARIABLES
from ditto.demo.screen import Screen, open_screen
from ditto.testing.servers import NatsServer, PostgresServer
from ditto.units import counted

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ditto.demo.followed import Outcome

TICK_S = 0.25
DIFFERENCES_SHOWN = 20
_ASKING = (signal.SIGINT, signal.SIGTERM)


class Stage(NamedTuple):
    screen: Screen
    folder: Path
    postgres: PostgresServer
    server: NatsServer


@contextmanager
def open_stage() -> Iterator[Stage]:
    """With PostgreSQL and nats-server. When it ends, in whichever way, no process and no folder is left."""
    _clear_environment()
    # From now on SIGTERM cleans up as SIGINT does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    screen = open_screen()
    with closing(screen), tempfile.TemporaryDirectory(prefix="ditto-demo-") as name:
        folder = Path(name)
        screen.step("Starting PostgreSQL and nats-server …")
        with PostgresServer(folder) as postgres, NatsServer(folder) as server:
            yield Stage(screen, folder, postgres, server)


def end_with_sigterm() -> None:
    """From now on SIGTERM cancels the task that called this."""
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@contextmanager
def until_signal() -> Iterator[asyncio.Event]:
    """An event that a signal sets which asks to end; afterwards the next one interrupts."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in _ASKING:
        loop.add_signal_handler(number, end.set)
    try:
        yield end
    finally:
        for number in _ASKING:
            loop.remove_signal_handler(number)


async def connect_to_nats(url: str) -> Client:
    """A client that gives up when the server ends."""
    return await nats.connect(url, allow_reconnect=False, error_cb=_ignore)


def raise_cancellation() -> None:
    """`asyncio.wait_for` of Python 3.11, and so nats-py, loses a cancellation that comes together with the result."""
    if (task := asyncio.current_task()) and task.cancelling():
        raise asyncio.CancelledError


def show_differences(screen: Screen, outcome: Outcome, *, where: str = "") -> None:
    """The first ones, with `where` in front of each."""
    for difference in outcome.differences[:DIFFERENCES_SHOWN]:
        screen.step(f"DIFFERENT  {where}{difference}")


def result_of(outcome: Outcome) -> str:
    """The outcome in a few words."""
    count = len(outcome.differences)
    return counted(count, "difference") if count else "stream equals tables"


async def _ignore(_error: Exception) -> None:
    """The call on the client raises the error, too; without a callback nats-py prints a traceback."""


def _clear_environment() -> None:
    """Remove the settings of PostgreSQL, NATS and Ditto from the environment: they are about other servers."""
    for name in list(os.environ):
        is_ditto = name.startswith("DITTO_") and name != "DITTO_IMPL"
        if is_ditto or name.startswith("PG") or name in ORIGINAL_VARIABLES.values():
            del os.environ[name]
