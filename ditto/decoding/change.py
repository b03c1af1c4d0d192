"""A change, in the shape in which the default format publishes it: the public contract of Ditto."""

from __future__ import annotations

from typing import Any

import msgspec


class Meta(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The details of a change's position and table for which the configuration asks; only these fields are there."""

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
    """A hash of the table's columns, types and keys: equal as long as these are."""
    last: bool | msgspec.UnsetType = msgspec.UNSET
    """True for the last event of its transaction, absent for others."""


class Change(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """One committed change, as consumers read it: an event.

    The fields encode in this order, without white space. A decoder fills them by position.
    """

    id: str
    """UUID (version 8) computed from the database, the slot and the position: the same on every delivery."""
    schema: str
    table: str
    action: str
    """INSERT, UPDATE, DELETE or TRUNCATE; READ for a row of a snapshot."""
    data: dict[str, Any]
    """The new row; {} for DELETE and TRUNCATE."""
    data_old: dict[str, Any]
    """What PostgreSQL sent of the old row: the whole row with REPLICA IDENTITY FULL, else key columns, else {}."""
    commit_time: str
    """RFC 3339, UTC, microseconds."""
    unchanged: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The columns that `data` leaves out because their TOASTed value did not change; absent when there are none."""

    def as_last(self) -> Change:
        """The same change, marked as the last of its transaction."""
        given = msgspec.structs.asdict(self)
        meta = given.pop("meta", Meta())
        return DetailedChange(
            **given, meta=msgspec.structs.replace(Meta() if meta is msgspec.UNSET else meta, last=True)
        )


class DetailedChange(Change, frozen=True, gc=False, rename="camel"):
    """A change that says more: these fields follow those that every change has.

    A class of its own: three more fields, absent from most changes, cost 3 % of decoding and encoding each of them.
    """

    json_null: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The columns of `data` whose null is the JSON value null, not SQL's NULL; absent when there are none."""
    json_null_old: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The same for `data_old`."""
    meta: Meta | msgspec.UnsetType = msgspec.UNSET


class MessageEvent(msgspec.Struct, frozen=True, gc=False):
    """A logical message that is an event of its own: what is stored is its content, not this object as JSON."""

    id: str
    """As a change's."""
    prefix: str
    content: bytes
    is_transactional: bool
    commit_time: str
    """As a change's; empty for a message that is no part of a transaction: PostgreSQL sends no time with it."""
    is_last: bool = False
    """The last event of its transaction, where `Extras.marks_last` asks for that mark."""

    def as_last(self) -> MessageEvent:
        """The same, marked as the last event of its transaction."""
        return msgspec.structs.replace(self, is_last=True)


class SnapshotMark(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Which run of a snapshot read a row, and where the run goes on after it."""

    run: str
    cursor: list[str] | None = None
    """The key up to which the table has been read, as PostgreSQL's text; absent where the run cannot go on."""


class ReadRow(DetailedChange, frozen=True, gc=False, rename="camel"):
    """A row that a snapshot read; `action` is READ, and `snapshot` is always there."""

    snapshot: SnapshotMark | msgspec.UnsetType = msgspec.UNSET


class StoredObject(msgspec.Struct, frozen=True, gc=False):
    """Where a whole event is, of which the message only has a part."""

    bucket: str
    name: str
    size: int
    """Bytes."""
    digest: str
    """`SHA-256=` and the hash in base64, as object stores have it."""


class ReducedChange(DetailedChange, frozen=True, gc=False, rename="camel"):
    """A change that was too large for a message; one of these fields is there."""

    stripped: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The columns that `data` and `data_old` leave out because of their size."""
    object: StoredObject | msgspec.UnsetType = msgspec.UNSET
    """The whole event; `data` and `data_old` have the primary key."""


class ReducedRow(ReducedChange, frozen=True, gc=False, rename="camel"):
    """The same of a row that a snapshot read."""

    snapshot: SnapshotMark | msgspec.UnsetType = msgspec.UNSET
