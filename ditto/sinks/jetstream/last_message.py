"""Classifies the messages that a start may go on from: whether each is Ditto's own, and its place in the slot.

An id is computed from a message's position and a key of cluster and slot: one that does not fit was not written by
Ditto, or not for this slot.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, auto
from typing import Final, NamedTuple

import msgspec

from ditto.config import Nats
from ditto.decoding.change import SnapshotMark
from ditto.decoding.event_id import event_id
from ditto.errors import TailForged
from ditto.formats.checkpoint import decode_checkpoint
from ditto.formats.own_headers import read_own
from ditto.formats.payload_prefixes import CHECKPOINT, COMMIT_TIME, DESCRIPTION, EVENT, ID_LENGTH
from ditto.formats.snapshot_events import read_mark
from ditto.formats.stored_groups import GROUP
from ditto.hints import delete_message
from ditto.lsn import ORIGIN, Position, Transaction, transaction_at
from ditto.sinks.jetstream.api_answers import StoredMessage

POSITION_HEADER: Final = "Ditto-Position"
MARKER_HEADER: Final = "Nats-Marker-Reason"
"""On messages that the server stores itself where a subject's last one was deleted (subject_delete_marker_ttl)."""


class Kind(Enum):
    """The kinds of messages in a stream."""

    PLACE = auto()
    """An event or a checkpoint of Ditto's."""
    DESCRIPTION = auto()
    """Of a table: no place of its own, it says what the next event is like."""
    MARKER = auto()
    """The server's own."""
    FOREIGN = auto()
    """Another client's, without a position."""


class Classified(NamedTuple):
    """One message."""

    kind: Kind
    sequence: int
    position: Position = ORIGIN
    last: Transaction | None = None
    """The last transaction at or before the position."""
    mark: SnapshotMark | None = None
    """Of a row of a snapshot."""
    group: int = 0
    """The number of its group in its transaction, or of the group before; 0 for none."""
    is_proven: bool = True
    """False for a checkpoint of a version that gave them no id."""


def classify(message: StoredMessage, *, keys: Collection[bytes] | None, config: Nats) -> Classified:
    """Raises TailForged where a message claims a position, and is not Ditto's own.

    `keys` are those that its id may have been computed with (`event_key`); with None, ids are not looked at.
    """
    sequence, payload = message.seq, message.data
    text = message.header(POSITION_HEADER)
    if text is None:
        return Classified(Kind.FOREIGN if message.header(MARKER_HEADER) is None else Kind.MARKER, sequence)
    try:
        position = Position.parse(text)
    except ValueError:
        raise _forged(config, sequence, "a position that is none") from None
    own = read_own(message.header)
    if own is None and payload.startswith(DESCRIPTION):
        return Classified(Kind.DESCRIPTION, sequence)
    mark = None
    if own is not None and position.ordinal:
        given: str | None = own.id
        mark = own.mark
        last = None if own.commit_time is None else transaction_at(position, own.commit_time)
    elif payload.startswith(EVENT) and position.ordinal:
        mark = read_mark(payload)
        given = payload[len(EVENT) : len(EVENT) + ID_LENGTH].decode("ascii", "replace")
        last = transaction_at(position, _commit_time(payload))
    elif payload.startswith(CHECKPOINT):
        try:
            checkpoint, given = decode_checkpoint(payload)
        except (ValueError, msgspec.MsgspecError):
            raise _forged(config, sequence, f"position {position}, and is no checkpoint") from None
        if checkpoint.position != position:
            raise _forged(config, sequence, f"position {position}, and another one in its body")
        last = checkpoint.last
    else:
        raise _forged(config, sequence, f"position {position}, and is neither an event nor a checkpoint")
    if keys is not None and given is not None and all(given != event_id(position, key) for key in keys):
        raise _forged(config, sequence, f"position {position}, to which its id does not belong")
    return Classified(Kind.PLACE, sequence, position, last, mark, _group(message), is_proven=given is not None)


def position_of(message: StoredMessage) -> Position | None:
    """The position that the message claims; None without one."""
    try:
        return Position.parse(message.header(POSITION_HEADER) or "")
    except ValueError:
        return None


def _group(message: StoredMessage) -> int:
    text = message.header(GROUP) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def _commit_time(payload: bytes) -> str:
    start = payload.rfind(COMMIT_TIME) + len(COMMIT_TIME)
    return payload[start : payload.find(b'"', start)].decode("ascii", "replace")


def _forged(config: Nats, sequence: int, claims: str) -> TailForged:
    return TailForged(
        f"message {sequence} of stream {config.stream} claims {claims}: Ditto did not write it for this slot, and "
        "does not go on from there",
        hint="find out who may publish on the stream's subjects, and take that right away; then delete the message "
        f"({delete_message(config, sequence)}), and start again",
        stream=config.stream,
        sequence=sequence,
    )
