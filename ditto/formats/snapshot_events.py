"""Control events of snapshots: what a consumer is told about a run, and where the next session goes on with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from ditto.decoding.change import SnapshotMark
from ditto.decoding.event_id import position_of
from ditto.formats.payload_prefixes import CONTROL, CONTROL_OFFSET, EVENT, ID_LENGTH
from ditto.lsn import Position

Kind: TypeAlias = Literal["request", "initial", "gap"]
"""Why a run began: someone asked for it, the stream was new, or events were lost."""

RunState: TypeAlias = Literal["requested", "paused", "resumed", "cancelled", "finished", "refused"]
TableState: TypeAlias = Literal["begun", "reading", "done", "failed"]

_MARK: Final = b'"snapshot":'


class OpenRun(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A run that has not ended, as of a control event."""

    run: str
    wanted: tuple[str, ...] = ()
    """As the request names tables: a table, schema.table, or a glob of either; none for all that are selected."""
    tables: tuple[tuple[str, str], ...] | None = None
    """Schema and name of each that is left, the one that is being read first; None while `wanted` is not looked up."""
    has_more: bool = False
    """There are others, which come after the last of `tables` by schema and name, and are looked up again then."""
    after: tuple[str, str] | None = None
    """Where `tables` is to be looked up: only those after this one are left."""
    total: int = 0
    """How many tables there were."""
    kind: Kind = "request"
    has_begun: bool = False
    """The first of `tables` has."""
    key: tuple[str, ...] = ()
    """The columns in whose order it is read, with what decides that order; none where it has no key."""
    oid: int = 0
    """Of the table that is half read: another one may get its name."""
    cursor: tuple[str, ...] | None = None
    """Its key, PostgreSQL's text of each column, up to which its rows are stored; None before the first row."""
    rows: int = 0
    """How many rows of it are stored."""
    left_out: int = 0
    """How many were read and are no events, by a rule."""
    moved: tuple[tuple[str, ...], ...] = ()
    """Keys of rows that moved to where everything was read already: they are read again."""
    where: str = ""
    """SQL: only rows for which this is true."""
    max_rows_per_s: int = 0
    is_paused: bool = False
    requested_at: str = ""
    """The commit time of the request."""


class Control(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What has happened."""

    state: RunState | TableState
    run: str
    schema: str | None = None
    table: str | None = None
    rows: int | None = None
    """Of the table, stored so far; absent where the event is not about a table."""
    left_out: int | None = None
    """Rows that were read and are no events, by a rule; absent where there are none."""
    cursor: tuple[str, ...] | None = None
    where: str | None = None
    """Of a table of which only some rows are read, the condition: what is not read is not gone."""
    reason: str | None = None
    """Why it failed, or was refused: one sentence."""
    hint: str | None = None
    """What to do about that, where it is known."""
    open: tuple[OpenRun, ...] = ()
    """Every run that has not ended, in the order in which they are read."""


class ControlEvent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The event as it is stored; its id is that of its position, as with every other event."""

    id: str
    snapshot: Control
    commit_time: str


_control: Final = msgspec.json.Decoder(ControlEvent)
_row_mark: Final = msgspec.json.Decoder(SnapshotMark)


def read_control(payload: bytes) -> Control | None:
    """What a control event says has happened; None for every other payload."""
    event = read_control_event(payload)
    return None if event is None else event.snapshot


def read_control_event(payload: bytes) -> ControlEvent | None:
    """The control event; None for every other payload."""
    if not payload.startswith(CONTROL, CONTROL_OFFSET):
        return None
    try:
        return _control.decode(payload)
    except msgspec.MsgspecError:
        return None


def newest_runs(payloads: Iterable[bytes], key: bytes) -> tuple[OpenRun, ...]:
    """The open runs of the newest of these control events; `key` is `event_key(…)`; those of others do not count."""
    found = [(position, control) for payload in payloads for position, control in _placed(payload, key)]
    return max(found, key=lambda each: each[0])[1].open if found else ()


def _placed(payload: bytes, key: bytes) -> Iterator[tuple[Position, Control]]:
    control = read_control(payload)
    position = position_of(payload[len(EVENT) : len(EVENT) + ID_LENGTH], key)
    if control is not None and position is not None:
        yield position, control


def read_mark(payload: bytes) -> SnapshotMark | None:
    """Run and cursor of a READ event: its last field, also where the event is the last field of an envelope; None for
    every other payload.

    In the text of a value the quotation marks of `"snapshot":` would be escaped, and an embedded document ends before.
    """
    start = payload.rfind(_MARK)
    if start < 0:
        return None
    try:
        return _row_mark.decode(payload[start + len(_MARK) :].rstrip(b"}") + b"}")
    except msgspec.MsgspecError:
        return None
