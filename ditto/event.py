"""The event: the public contract of Ditto."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One committed change, as consumers read it.

    The fields encode in this order, without white space. A decoder fills them by position.
    """

    id: str
    """UUID (version 8) computed from the database, the slot and the position: the same on every delivery."""
    schema: str
    table: str
    action: str
    """INSERT, UPDATE, DELETE or TRUNCATE."""
    data: dict[str, Any]
    """The new row; {} for DELETE and TRUNCATE."""
    data_old: dict[str, Any]
    """What PostgreSQL sent of the old row: the whole row with REPLICA IDENTITY FULL, else key columns, else {}."""
    commit_time: str
    """RFC 3339, UTC, microseconds."""
    unchanged: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The columns that `data` leaves out because their TOASTed value did not change; absent when there are none."""


def event_key(system_identifier: str, slot: str) -> bytes:
    """16 bytes that stand for one slot of one database cluster in its events' ids.

    An id is the position (64 bits of commit LSN, 58 of ordinal) XOR 122 bits of this key, laid out as a
    UUID of version 8 (RFC 9562). So two events of a slot never share an id, and two slots' ids look unrelated.
    """
    return blake2b(f"{system_identifier}/{slot}".encode(), digest_size=16, person=b"ditto event id").digest()
