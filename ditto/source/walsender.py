"""The process of PostgreSQL that serves the slot's reader: its client, and how to end it."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from ditto.errors import ConnectionLost, SlotInUse
from ditto.source.sql import Control

_TIMEOUT_S: Final = 25.0
"""Together with the few seconds between two queries: a connection on which a device in between acknowledges and
PostgreSQL does not answer is noticed within 30 s. The kernel ends earlier a connection that is not acknowledged."""


_GRACE_S: Final = 1.0


async def check_holder(control: Control, slot: str, walsender_pid: int) -> None:
    """Raise SlotInUse or ConnectionLost when that walsender holds the slot no longer, or PostgreSQL is silent."""
    rows = await control.fetch(
        "SELECT active_pid FROM pg_catalog.pg_replication_slots WHERE slot_name = %s",
        [slot],
        doing=f"see who holds slot {slot}",
        timeout_s=_TIMEOUT_S,
    )
    active_pid = rows[0]["active_pid"] if rows else None
    if active_pid == walsender_pid:
        return
    if active_pid is None:
        # The walsender's last message has the reason: its reader gets the time to report it first.
        await asyncio.sleep(_GRACE_S)
        raise ConnectionLost(f"PostgreSQL has ended the connection that held slot {slot}", slot=slot)
    raise SlotInUse(
        f"slot {slot} was taken over while this one was not heard of (walsender {active_pid})",
        hint="it stands by from now on",
        slot=slot,
    )


class Walsender(msgspec.Struct, frozen=True):
    """A walsender, as far as this role may see it."""

    address: str | None
    """Where its client is; None for a Unix socket."""
    since: str | None
    """When the client connected, RFC 3339."""


async def find_walsender(control: Control, pid: int) -> Walsender:
    """The walsender with that process id; nothing is known of one that has ended."""
    rows = await control.fetch(
        "SELECT pg_catalog.host(client_addr) AS address, "
        "pg_catalog.to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since "
        "FROM pg_catalog.pg_stat_replication WHERE pid = %s",
        [pid],
        doing=f"look up the walsender {pid}",
    )
    return Walsender(**rows[0]) if rows else Walsender(None, None)


async def describe_holder(control: Control, slot: str) -> dict[str, str | int]:
    """The reader of the slot: `pid`, and `application`, `user` and `address` as far as this role may see them."""
    rows = await control.fetch(
        "SELECT s.active_pid AS pid, nullif(a.application_name, '') AS application, a.usename AS user, "
        "pg_catalog.host(a.client_addr) AS address FROM pg_catalog.pg_replication_slots AS s "
        "LEFT JOIN pg_catalog.pg_stat_activity AS a ON a.pid = s.active_pid "
        "WHERE s.slot_name = %s AND s.active_pid IS NOT NULL",
        [slot],
        doing=f"see who holds slot {slot}",
    )
    return {key: value for row in rows for key, value in row.items() if value is not None}


async def end_walsender(control: Control, slot: str, pid: int) -> bool:
    """End the walsender `pid` if it is the one that holds the slot; returns whether it was.

    Raises AccessDenied where this role may not: that takes the role of the walsender's own connection, or
    pg_signal_backend.
    """
    rows = await control.fetch(
        "SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots "
        "WHERE slot_name = %s AND active_pid = %s",
        [slot, pid],
        doing=f"end the walsender that holds slot {slot}",
    )
    return bool(rows)
