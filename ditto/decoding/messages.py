"""What a decoder hands on: relations, and blocks of events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

WAIT_PREFIX: Final = "ditto.wait"
"""The prefix of a logical message (`pg_logical_emit_message`) that asks for a checkpoint at once."""

TRACE_PREFIX: Final = "traceparent"
"""The prefix of a transactional logical message that says to which trace the changes after it belong."""

TRACEPARENT_SIZE: Final = 55
"""Bytes of a traceparent of version 00; a message of another size is none."""


class Targets(NamedTuple):
    """What the caller of a decoder says about a relation.

    The first four are for the actions: what the caller wants back with each event, or None to skip the change.
    """

    insert: object
    update: object
    delete: object
    truncate: object
    primary_key: list[str] | None = None
    """For the events' `meta`; may be filled in until they are encoded."""
    schema_version: str | None = None
    """For the events' `meta`."""
    describe: Callable[[], tuple[object, object] | None] | None = None
    """Asked once, before the relation's first event: a message that has to be stored before it and the target that this
    one gets, or None."""


class Extras(NamedTuple):
    """What a decoder adds to events, besides what they always have."""

    metadata: frozenset[str] = frozenset()
    """Fields of `Meta`: lsn, xid, ordinal, primary_key, origin, schema_version."""
    marks_last: bool = False
    """Mark the last event of each transaction. An event then waits until the next message of its transaction says
    whether it is the last: pgoutput sends a transaction in one go, so that this one is on its way already."""


NO_EXTRAS: Final = Extras()


class Column(msgspec.Struct, frozen=True):
    """One column of a Relation message."""

    name: str
    type_oid: int
    typmod: int
    is_key: bool
    """Part of the replica identity; with identity FULL every column is."""
    type_name: str = ""
    """`int4`, `numeric[]`, `public.mood`; the base type's for a domain."""


class Relation(msgspec.Struct, frozen=True):
    """A Relation message: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html."""

    oid: int
    namespace: str
    name: str
    replica_identity: str
    """`d` default, `n` nothing, `f` full, `i` index."""
    columns: tuple[Column, ...]


class ChangeTooLarge(Exception):
    """A change whose event cannot be stored, found before its values are converted. The decoder says where it is."""

    def __init__(self, size: int, column: str) -> None:
        super().__init__(size, column)
        self.size = size
        """At least so many bytes."""
        self.column = column
        """The one that takes most of them."""
        self.relation = ""
        self.action = ""
        self.commit_lsn = 0
        self.ordinal = 0


class Delivered(NamedTuple):
    """A transaction of which every change has been delivered and at least one was selected."""

    commit_lsn: int
    end_lsn: int
    event_count: int
    """How many of the block's events come before or belong to it."""


class Block(msgspec.Struct):
    """What one wake-up brought: four lists of the same length, one entry an event, and where the stream stands."""

    events: list[Any]
    """Each an Event, or a relation's description (see Targets): all before the event behind it is stored."""
    targets: list[Any]
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
    """The LSN of the last logical message `ditto.wait`: whoever wrote it waits for the stream to reach that LSN."""
    is_drained: bool = True
    """libpq holds nothing more; False when a limit ended the block."""
    is_ended: bool = False
    """The server ended the COPY; the connection's next result says why."""
    traceparents: list[tuple[int, int, bytes]] = []
    """What transactional logical messages `traceparent` say, with commit LSN and ordinal of each; not checked."""


class Encoded(NamedTuple):
    """A block's events in JSON, each with a newline after it."""

    data: bytes | bytearray
    ends: list[int]
    """Where each event ends in `data`, without its newline."""
    traceparents: dict[int, bytes] | None = None
    """By index of the event, the value of its header `traceparent`."""
