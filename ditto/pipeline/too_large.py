"""The error for a change that no message can hold: which change, and which of its columns."""

from __future__ import annotations

from collections import Counter

import msgspec

from ditto.config import Events
from ditto.decoding.change import Change, MessageEvent
from ditto.decoding.messages import Block
from ditto.errors import EventTooLarge
from ditto.formats.snapshot_events import ControlEvent
from ditto.lsn import Position
from ditto.printable_text import printable
from ditto.sinks.base import Capabilities, MessageTooLarge


def not_taken(block: Block, error: MessageTooLarge, *, sink: Capabilities, events: Events) -> EventTooLarge:
    """The error for a message of a block that the sink does not take."""
    change = block.changes[error.index]
    if isinstance(change, ControlEvent):
        return control_too_large(change, size=error.size, limit=error.limit, sink=sink)
    if isinstance(change, MessageEvent):
        return message_too_large(change, size=error.size, limit=error.limit, sink=sink)
    return event_too_large(
        getattr(change, "action", "description"),
        f"{change.schema}.{change.table}",
        Position(block.commit_lsns[error.index], block.ordinals[error.index]),
        size=str(error.size),
        limit=error.limit,
        column=widest_column(change) if isinstance(change, Change) else None,
        sink=sink,
        events=events,
    )


def event_too_large(
    action: str,
    relation: str,
    position: Position,
    *,
    size: str,
    limit: int,
    column: str | None,
    sink: Capabilities,
    events: Events,
) -> EventTooLarge:
    """The error that names table, position and, where it is known, the column that takes most of the event."""
    is_outbox = events.outbox is not None and relation == events.outbox.table
    other = "" if is_outbox or events.oversize != "stop" else "; or give events.oversize"
    where = "" if column is None else f", most of it in the column {column}"
    return EventTooLarge(
        f"the {action} at {position} on table {relation} makes a message of {size} bytes{where}; "
        f"the server accepts {limit}",
        hint=f"{sink.size_hint}{other}. PostgreSQL keeps the change"
        if sink.size_hint
        else "PostgreSQL keeps the change",
        relation=relation,
        position=str(position),
        **({} if column is None else {"column": column}),
    )


def message_too_large(event: MessageEvent, *, size: int, limit: int, sink: Capabilities) -> EventTooLarge:
    """The error for a logical message that is an event."""
    return EventTooLarge(
        f"a logical message with the prefix {printable(event.prefix)} makes a message of {size} bytes; the server "
        f"accepts {limit}",
        hint=f"{sink.size_hint}; PostgreSQL keeps it" if sink.size_hint else "PostgreSQL keeps it",
        id=event.id,
    )


def control_too_large(event: ControlEvent, *, size: int, limit: int, sink: Capabilities) -> EventTooLarge:
    """The error for a control event of snapshots."""
    return EventTooLarge(
        f"what the stream is to keep of {len(event.snapshot.open)} open snapshots makes a message of {size} bytes; "
        f"the server accepts {limit}",
        hint=sink.size_hint or None,
    )


def widest_column(change: Change) -> str | None:
    """The column that takes most of a change, its old value counted; None where there are no values."""
    sizes: Counter[str] = Counter()
    for row in (change.data, change.data_old):
        for name, value in row.items():
            sizes[name] += len(msgspec.json.encode(value))
    return max(sizes, key=sizes.__getitem__, default=None)
