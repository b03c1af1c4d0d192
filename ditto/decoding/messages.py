"""What a decoder hands on: relations, and blocks of changes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

WAIT_PREFIX: Final = "ditto.wait"
"""The prefix of a logical message (`pg_logical_emit_message`) that asks for a checkpoint at once."""

TRACE_PREFIX: Final = "traceparent"
"""The prefix of a transactional logical message that says to which trace the changes after it belong."""

TRACEPARENT_SIZE: Final = 55
"""Bytes of a traceparent of version 00; a message of another size is none."""

SNAPSHOT_PREFIX: Final = "ditto.snapshot"
"""The prefix of a transactional logical message that asks for a snapshot, or says what becomes of one."""

MARKER_PREFIX: Final = "ditto.marker"
"""The prefix of the transactional logical message that marks the place of a chunk of rows."""

WATCHED: Final = 2
"""So many transactions a decoder notes from `watch_lsn` on: the last one that the sink knows of, and the next one."""


OWN_PREFIXES: Final = frozenset({WAIT_PREFIX, TRACE_PREFIX, SNAPSHOT_PREFIX, MARKER_PREFIX})
"""Those of the logical messages that tell Ditto something; they are never events."""

MESSAGE_ACTION: Final = "MESSAGE"
"""What stands in place of a change's action for a logical message that is an event."""

PG_EPOCH_US: Final = 946_684_800_000_000
"""PostgreSQL's epoch, 2000-01-01 UTC, in µs since 1970."""

BEFORE_MESSAGE_END: Final = 2
"""Bytes: so far before the end of its record, which PostgreSQL sends as its LSN, is a message that is no part of a
transaction. The next record may be a commit: its changes are at that LSN, and rows of a snapshot one byte before it."""


class Extras(NamedTuple):
    """What a decoder adds to changes, besides the fields that they always have."""

    metadata: frozenset[str] = frozenset()
    """Fields of `Meta`: lsn, xid, ordinal, primary_key, origin, schema_version."""
    has_transactions: bool = False
    """Say of each block's changes to which transactions they belong."""
    marks_last: bool = False
    """Mark the last change of each transaction. A change then waits until the next message of its transaction says
    whether it is the last: pgoutput sends a transaction in one go, so that this one is on its way already."""


NO_EXTRAS: Final = Extras()

NO_DESCRIPTIONS: Final[Mapping[bytes, str]] = MappingProxyType({})


class Column(msgspec.Struct, frozen=True):
    """One column of a Relation message."""

    name: str
    type_oid: int
    typmod: int
    is_key: bool
    """Part of the replica identity; with identity FULL every column is."""
    type_namespace: str = ""
    """As the Type message has it: empty for `pg_catalog`, and where there was none, as for all built-in types."""
    type_name: str = ""
    """The same; for a domain the base type's, for an array type `_` and its element."""


class Relation(msgspec.Struct, frozen=True):
    """A Relation message: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html."""

    oid: int
    namespace: str
    name: str
    replica_identity: str
    """`d` default, `n` nothing, `f` full, `i` index."""
    columns: tuple[Column, ...]


class ChangeRefused(Exception):
    """A change that cannot become an event: everything before it is handed over first. The decoder says where it is."""

    relation = ""
    action = ""
    commit_lsn = 0
    ordinal = 0


class RuleFailed(ChangeRefused):
    """A rule of the configuration cannot be worked out for this change."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(rule, reason)
        self.rule = rule
        """The key: `events.tables.orders.when`."""
        self.reason = reason
        """Completes "…, because …"; without any value of the row."""


class ChangeTooLarge(ChangeRefused):
    """A change whose event cannot be stored, found before its values are converted."""

    def __init__(self, size: int, column: str) -> None:
        super().__init__(size, column)
        self.size = size
        """At least so many bytes."""
        self.column = column
        """The one that takes most of them."""


class Delivered(msgspec.Struct, frozen=True):
    """A transaction of which every change has been delivered and at least one was selected."""

    commit_lsn: int
    end_lsn: int
    event_count: int
    """How many of the block's changes come before or belong to it."""


class LogicalMessage(NamedTuple):
    """A transactional logical message with one of the two prefixes of snapshots, at the place that it has."""

    prefix: str
    content: bytes
    commit_lsn: int
    ordinal: int
    """Nothing has this position yet: what is stored for the message may have it."""
    commit_time: str
    xid: int
    """32 bits."""


class Moved(NamedTuple):
    """A row of the recorded relation that got another key, by an update that does not carry all of its columns."""

    xid: int
    """32 bits."""
    commit_lsn: int
    key: tuple[str, ...]
    """The new one, as PostgreSQL's text."""


class Begun(NamedTuple):
    """A transaction, for the formats that tell of it."""

    xid: int
    """32 bits."""
    commit_time_us: int
    """Since 1970-01-01 UTC."""
    origin: str | None


class Block(msgspec.Struct):
    """What one wake-up brought: four lists of the same length, one entry a change, and how far the source has got."""

    changes: list[Any]
    """Each a Change, a MessageEvent, or the description of a table: all before the change behind it is stored."""
    routes: list[bytes]
    commit_lsns: list[int]
    ordinals: list[int]
    size: int = 0
    """Bytes of CopyData that were read."""
    frame_count: int = 0
    """CopyData messages that were read, keepalives included."""
    delivered: Delivered | None = None
    """The last such transaction in this block."""
    idle_lsn: int = 0
    """Every transaction that begins to commit before this LSN has been delivered; 0 inside a transaction."""
    is_reply_requested: bool = False
    """The server asked for a status message at once."""
    wanted_lsn: int = 0
    """The LSN of the last logical message `ditto.wait`: its writer waits for the stream to reach that LSN."""
    is_drained: bool = True
    """libpq holds nothing more; False when a limit, a message or the barrier ended the block."""
    is_ended: bool = False
    """The server ended the COPY; the connection's next result says why."""
    traceparents: list[tuple[int, int, bytes]] = []
    """What transactional logical messages `traceparent` say, with commit LSN and ordinal of each; not checked."""
    relation: Relation | None = None
    """The Relation message that ended the block: its changes can be decoded once `Decoder.define` was called."""
    message: LogicalMessage | None = None
    """The logical message that ended the block, if it was not skipped; the transaction is still open."""
    is_at_barrier: bool = False
    """The next transaction commits at or after the barrier (`Decoder.stop_before`), and waits until that is gone."""
    snapshot_run: str = ""
    """The run, where the changes are rows of a snapshot."""
    headers: list[bytes] | None = None
    """By change, header lines of its own; None where no change has any."""
    keys: list[bytes | None] | None = None
    """By change, the message's key; None where no change has one."""
    layouts: list[Any] | None = None
    """By change, `TablePlan.layout`; None where no change has one."""
    transactions: dict[int, Begun] = {}
    """By commit LSN, those of the changes, where `Extras.has_transactions` asks for them."""
