"""Waits until the stream holds everything before an LSN, so that a program can read what it has written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from ditto.config import Config
from ditto.decoding.messages import WAIT_PREFIX
from ditto.errors import DittoError
from ditto.lsn import Position, format_lsn
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.stream import Stream
from ditto.source.sql import Control, open_control

_FIRST_PERIOD_S: Final = 0.002
_LONGEST_PERIOD_S: Final = 0.1


class NotReached(DittoError):
    """The stream did not get there in time."""


@asynccontextmanager
async def open_client(config: Config) -> AsyncIterator[Connection]:
    """A connection to NATS for a command that looks at the stream. Raises what `servers.connect` does."""
    client = await servers.connect(config.nats, accept=partial(servers.usable, config=config.nats))
    try:
        yield client
    finally:
        await servers.close(client)


async def wait(config: Config, lsn: int, *, timeout_s: float) -> Position:
    """Return the stream's tail once it has reached `lsn`.

    A logical message asks the running Ditto for a checkpoint: there is no need to wait for the next one that comes
    by itself. Raises NotReached, and whatever keeps this from reaching PostgreSQL or NATS.
    """
    async with open_control(config.postgres.dsn) as control, open_client(config) as client:
        stream = Stream(client, config.nats)
        deadline = time.monotonic() + timeout_s
        period_s, is_asked = _FIRST_PERIOD_S, False
        while True:
            exists = await stream.look()
            tail = (await stream.find_tail()).tail if exists else None
            if tail is not None and tail.commit_lsn >= lsn:
                return tail
            if not is_asked:
                await _ask(control, lsn)
                is_asked = True
            if time.monotonic() >= deadline:
                raise NotReached(
                    f"stream {stream.name} has not reached {format_lsn(lsn)} within {timeout_s:g} s: "
                    f"{_place(tail, exists=exists)}",
                    hint="is ditto run streaming? ditto slot status shows how far behind it is",
                )
            await asyncio.sleep(min(period_s, max(0.0, deadline - time.monotonic())))
            period_s = min(2 * period_s, _LONGEST_PERIOD_S)


def _place(tail: Position | None, *, exists: bool) -> str:
    if tail is not None:
        return f"it is at {format_lsn(tail.commit_lsn)}"
    return "it holds nothing of Ditto's" if exists else "it does not exist"


async def _ask(control: Control, lsn: int) -> None:
    """Write the message that asks for a checkpoint; a standby cannot, and there the next one has to do."""
    (row,) = await control.fetch(
        "SELECT pg_catalog.pg_is_in_recovery() AS is_standby", doing="see whether this server is a standby"
    )
    end_lsn = await control.wal_lsn()
    if lsn > end_lsn:
        raise NotReached(
            f"{format_lsn(lsn)} lies in the future: this server's WAL ends at {format_lsn(end_lsn)}",
            hint="is it from another server? pg_current_wal_lsn() gives the LSN to wait for",
        )
    if not row["is_standby"]:
        await control.fetch(
            "SELECT pg_catalog.pg_logical_emit_message(false, %s, '')", [WAIT_PREFIX], doing="ask for a checkpoint"
        )
