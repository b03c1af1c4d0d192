"""The event: the public contract of Ditto."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import msgspec

from ditto.lsn import Position


class Meta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """What the configuration asks for about an event's place and table; only these fields are there."""

    lsn: str | msgspec.UnsetType = msgspec.UNSET
    """Of the transaction's commit record, `16/B374D848`; the event's position is `lsn` and `ordinal`."""
    xid: int | msgspec.UnsetType = msgspec.UNSET
    """The transaction's id, 32 bits."""
    ordinal: int | msgspec.UnsetType = msgspec.UNSET
    """The number of the change in its transaction, from 1."""
    primary_key: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Names of the columns that tell rows apart; empty where there are none."""
    origin: str | msgspec.UnsetType | None = msgspec.UNSET
    """The replication origin from which the transaction came; null for one of this server's own."""
    schema_version: str | msgspec.UnsetType = msgspec.UNSET
    """Stands for the table's columns, types and keys: equal as long as these are."""
    last: bool | msgspec.UnsetType = msgspec.UNSET
    """True for the last event of its transaction, absent for others."""


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

    def as_last(self) -> Event:
        """The same event, marked as the last of its transaction."""
        given = msgspec.structs.asdict(self)
        meta = given.pop("meta", Meta())
        return DetailedEvent(
            **given, meta=msgspec.structs.replace(Meta() if meta is msgspec.UNSET else meta, last=True)
        )


class DetailedEvent(Event, frozen=True, gc=False, rename="camel"):
    """An event that says more: these fields follow those that every event has.

    A class of its own: three more fields, absent from most events, cost 3 % of decoding and encoding each of them.
    """

    json_null: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The columns of `data` whose null is the JSON value null, not SQL's NULL; absent when there are none."""
    json_null_old: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The same for `data_old`."""
    meta: Meta | msgspec.UnsetType = msgspec.UNSET


def event_key(system_identifier: str, slot: str) -> bytes:
    """16 bytes that stand for one slot of one database cluster in its events' ids.

    An id is the position (64 bits of commit LSN, 58 of ordinal) XOR 122 bits of this key, laid out as a
    UUID of version 8 (RFC 9562). So two events of a slot never share an id, and two slots' ids look unrelated.
    """
    return blake2b(f"{system_identifier}/{slot}".encode(), digest_size=16, person=b"ditto event id").digest()


def event_id(position: Position, key: bytes) -> str:
    """The id of the event, or the checkpoint, at this position; `key` is `event_key(…)`. Decoders compute the same."""
    high = (position.commit_lsn >> 4) ^ (int.from_bytes(key[:8]) >> 4)
    low = ((position.commit_lsn & 0xF) << 58 | position.ordinal) ^ (int.from_bytes(key[8:16]) >> 2)
    digits = f"{high >> 12:012x}8{high & 0xFFF:03x}{0x8000000000000000 | low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
