"""Logical messages that Ditto itself sends: transactions that come at their place in the stream of changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from ditto.decoding.messages import SNAPSHOT_PREFIX
from ditto.errors import SnapshotRefused
from ditto.source.sql import Control

EMIT: Final = "SELECT pg_catalog.pg_logical_emit_message(true, %s::text, %s::text)::text AS lsn"
"""A transactional message. Arguments: prefix and content."""


async def emit(control: Control, prefix: str, content: str) -> None:
    """Send a transactional message. Raises SnapshotRefused on a standby, which cannot."""
    if await control.is_standby():
        raise SnapshotRefused(
            "the server is a standby, and a snapshot needs a primary: Ditto marks places in the WAL",
            hint="let Ditto follow the primary (postgres.dsn), or take the snapshot there",
        )
    await control.change(EMIT, [prefix, content], doing="send a logical message")


async def request(control: Control, *, slot: str, kind: str, tables: Sequence[str] = ()) -> None:
    """Ask the Ditto of this slot for a snapshot of these tables, or of all.

    The request comes back with the changes, and is stored.
    """
    body = {"start": list(tables), "kind": kind, "slot": slot}
    await emit(control, SNAPSHOT_PREFIX, msgspec.json.encode(body).decode())
