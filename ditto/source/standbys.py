"""The standbys of a slot, as PostgreSQL knows them: sessions that share an advisory lock for as long as they stand by.

A session that ends loses its locks, so nothing is left of a standby that died. The lock
excludes nothing: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Any, Final
from zlib import crc32

import msgspec

from ditto.source.sql import Control

_CLASS: Final = 0x64747473
"""Of the two numbers of the lock; it only has to differ from what applications of this database use."""
_LONGEST_HOST: Final = 40
"""PostgreSQL cuts an application_name off after 63 bytes."""
_NAME: Final = re.compile(r"ditto on (\S+) pid ([0-9]{1,18})")


class Standby(msgspec.Struct, frozen=True):
    """A session that stands by."""

    pid: int
    """Of its session in PostgreSQL."""
    address: str | None
    """From where it is connected; null for a Unix socket, and where this role may not see it."""
    since: str | None
    """When it connected, RFC 3339."""
    host: str | None = None
    """The host that it names; null for a standby of an older version."""
    host_pid: int | None = None
    """Of its process, on that host."""


def _key(slot: str) -> int:
    """As a signed integer of 32 bits."""
    number = crc32(slot.encode())
    return number - (1 << 32) if number >> 31 else number


async def join_group(control: Control, slot: str) -> None:
    """Be seen as a standby from now on, and on which host and with which process id."""
    await _call_itself(control, f"ditto on {socket.gethostname()[:_LONGEST_HOST]} pid {os.getpid()}")
    await control.fetch(
        "SELECT pg_catalog.pg_try_advisory_lock_shared(%s, %s)", [_CLASS, _key(slot)], doing="stand by visibly"
    )


async def leave_group(control: Control, slot: str) -> None:
    """Stop being seen as a standby."""
    await control.fetch(
        "SELECT pg_catalog.pg_advisory_unlock_shared(%s, %s)", [_CLASS, _key(slot)], doing="stand by no longer"
    )
    await _call_itself(control, "ditto")


async def _call_itself(control: Control, name: str) -> None:
    await control.fetch(
        "SELECT pg_catalog.set_config('application_name', %s, false)", [name], doing="say who stands by"
    )


async def find_standbys(control: Control, slot: str) -> list[Standby]:
    """The standbys of the slot, in the order in which they connected."""
    rows = await control.fetch(
        "SELECT l.pid, pg_catalog.host(a.client_addr) AS address, a.application_name AS name, "
        "pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS since "
        "FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_stat_activity AS a USING (pid) "
        "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 "
        "AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) "
        "AND l.classid = %s::oid AND l.objid = %s::oid ORDER BY a.backend_start, l.pid",
        [_CLASS, crc32(slot.encode())],
        doing="look up the standbys",
    )
    return [_standby(row) for row in rows]


def _standby(row: Mapping[str, Any]) -> Standby:
    named = _NAME.fullmatch(row["name"] or "")
    host, pid = (named[1], int(named[2])) if named else (None, None)
    return Standby(row["pid"], row["address"], row["since"], host, pid)
