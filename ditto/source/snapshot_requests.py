"""Requests for snapshots: logical messages, so that each has a position in the WAL and takes effect once.

Every role that may execute pg_logical_emit_message can send one, by Ditto's commands, over HTTP or with any SQL client.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from ditto.decoding.messages import SNAPSHOT_PREFIX
from ditto.errors import AccessDenied, ServerUnsuitable
from ditto.source.connection import connect
from ditto.source.logical_messages import EMIT
from ditto.source.sql import Control

RUN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_FIRST_WITH_FLUSH: Final = 170000
"""PostgreSQL 17 is the first whose function has an argument more."""

Verb = Literal["pause", "resume", "cancel"]


def new_run() -> str:
    """An id that no other run has, and that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def start_body(
    tables: Sequence[str], *, slot: str, run: str, where: str | None = None, max_rows_per_s: int | None = None
) -> dict[str, Any]:
    """The request to the Ditto of this slot to read tables: names or globs as in `events.tables`; none means every
    selected one.
    """
    given = {"where": where, "max_rows_per_s": max_rows_per_s}
    return {
        "start": list(tables),
        "run": run,
        "slot": slot,
        **{name: value for name, value in given.items() if value is not None},
    }


def verb_body(verb: Verb, run: str, *, slot: str) -> dict[str, Any]:
    """The request to the Ditto of this slot to change a run; an empty `run` means all that have not ended."""
    return {verb: run, "slot": slot}


async def request(dsn: str, body: dict[str, Any]) -> str:
    """Send a request; returns the LSN before which it is in the WAL.

    Raises SourceError, of which ServerUnsuitable for a standby.
    """
    async with open_writable(dsn) as control:
        return await send(control, body)


async def send(control: Control, body: dict[str, Any]) -> str:
    """The same on a connection that may write."""
    await check_primary(control)
    try:
        rows = await control.fetch(
            EMIT, [SNAPSHOT_PREFIX, msgspec.json.encode(body).decode()], doing="request a snapshot"
        )
    except AccessDenied as error:
        raise AccessDenied(
            error.message,
            hint=f"somebody has revoked it: GRANT EXECUTE ON FUNCTION {emit_function(control.version)} TO the role",
        ) from error
    return str(rows[0]["lsn"])


async def check_primary(control: Control) -> None:
    """Raise ServerUnsuitable where nobody can write into the WAL."""
    if await control.is_standby():
        raise ServerUnsuitable(
            "the server is a standby, and a snapshot needs a primary: requests and places in the WAL are written there",
            hint="give the address of the primary in postgres.dsn; a Ditto that follows a standby takes no snapshots",
        )


def emit_function(version: int) -> str:
    """The function that writes a logical message, with its arguments, as GRANT takes it."""
    flush = ", boolean" if version >= _FIRST_WITH_FLUSH else ""
    return f"pg_catalog.pg_logical_emit_message(boolean, text, text{flush})"


@asynccontextmanager
async def open_writable(dsn: str) -> AsyncIterator[Control]:
    """A connection for `send`, which is closed at the end."""
    control = Control(await connect(dsn, is_read_only=False))
    try:
        yield control
    finally:
        await control.close()
