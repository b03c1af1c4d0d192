"""Reads a sink from its first message to its last, and keeps what the tables should hold."""

from __future__ import annotations

import time
from array import array
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from ditto.formats import stored_groups
from ditto.formats.own_headers import MESSAGE, OUTBOX
from ditto.formats.snapshot_events import read_control
from ditto.formats.stored_events import READ, Header, read_event
from ditto.formats.stored_groups import events_in
from ditto.lsn import ORIGIN, Position, format_lsn
from ditto.sinks.base import MessageKind
from ditto.verify.difference import Difference
from ditto.verify.latest_rows import LatestRows
from ditto.verify.tables import TableCopy, copy_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Mapping, Sequence

    from ditto.decoding.change import StoredObject
    from ditto.sinks.base import Reader, ReadMessage

TableName: TypeAlias = tuple[str, str]
"""Schema and name."""
_IN_JSON = b',"object":{"bucket":"'
_IN_MESSAGEPACK = b"\xa6object\x84\xa6bucket"
"""A reference to an object. In the text of a value the quotation marks would be escaped; a document of type json may
look so, too."""
# The attributes of an enumeration are looked up by a function.
_CONTROL, _DESCRIPTION, _CHECKPOINT = MessageKind.CONTROL, MessageKind.DESCRIPTION, MessageKind.CHECKPOINT
_OF_APPLICATIONS = frozenset({MESSAGE, OUTBOX})


@dataclass(kw_only=True)
class Replay:
    """The tables by the stream, and the faults of the stream itself."""

    events: int = 0
    """Changes."""
    reads: int = 0
    """Rows that snapshots read."""
    dropped: int = 0
    """Rows that were dropped at the end of a snapshot, which had not found them."""
    open_runs: tuple[str, ...] = ()
    """The snapshots that have not ended."""
    messages: int = 0
    """Logical messages, and rows of an outbox: no table is made of them."""
    checkpoints: int = 0
    position: Position = ORIGIN
    """Of the last message."""
    tables: dict[TableName, TableCopy] = field(default_factory=dict)
    """By schema and table."""
    keys: Mapping[TableName, Sequence[str]] = field(default_factory=dict)
    """The columns by which the rows of each table were told apart."""
    stripped: dict[TableName, set[str]] = field(default_factory=dict)
    """By schema and table, the columns that events left out because of their size."""
    differences: list[Difference] = field(default_factory=list)
    latencies_s: array[float] = field(default_factory=lambda: array("d"))
    """From commit to stored, one for each event, by the two servers' clocks; none where the sink keeps no times."""
    duration_s: float = 0.0
    """How long the reading took."""

    def latency_s(self, percent: float) -> float:
        """The latency that `percent` of the events did not exceed; 0 without events."""
        ordered = sorted(self.latencies_s)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else 0.0


async def replay(
    reader: Reader,
    *,
    keys: Mapping[TableName, Sequence[str]],
    conditional: Container[TableName] = (),
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Replay:
    """Read what the sink holds now. `keys` are each table's key columns, by schema and table.

    `conditional` are the tables of which not all changes have events. `on_progress` gets how much was read and how much
    there is. Raises what the reader does. A fault of what is stored does not raise: it is in `differences` of the
    result, and events that do not fit the earlier ones are the `faults` of their tables.
    """
    replaying = Replaying(keys, conditional, noun=reader.noun, find_object=reader.read_object)
    started = time.monotonic()
    async with aclosing(reader.read()) as parts:
        async for part in parts:
            for message in part.messages:
                if _IN_JSON in message.payload or _IN_MESSAGEPACK in message.payload:
                    await replaying.fetch(message)
                replaying.apply(message)
            on_progress(part.done, part.total)
    replaying.replay.duration_s = time.monotonic() - started
    return replaying.replay


class Replaying:
    """Applies one message after the other. `find_object` is a reader's `read_object`."""

    def __init__(
        self,
        keys: Mapping[TableName, Sequence[str]],
        conditional: Container[TableName] = (),
        *,
        noun: str = "message",
        find_object: Callable[[StoredObject], Awaitable[bytes | None]] | None = None,
    ) -> None:
        self.replay = Replay(keys=keys)
        self._keys = keys
        self._conditional = conditional
        self._noun = noun
        self._find_object = find_object
        self._objects: dict[str, bytes] = {}
        """By name, those to which the events of the message refer; empty where one is not what the event says."""
        self._commit_lsn, self._commit = 0, format_lsn(0)
        """Of the last position, also as text: the events of a transaction have the same."""
        self._gaps: set[TableName] = set()
        """Tables that a snapshot reads because events were lost."""

    async def fetch(self, message: ReadMessage) -> None:
        """Read what it refers to, before it is applied."""
        self._objects.clear()
        header = message.headers.get
        with suppress(ValueError):
            for payload in events_in(message.payload, header):
                reference = read_event(payload, header).object
                if reference is None or self._find_object is None:
                    continue
                found = await self._find_object(reference)
                if found is not None:
                    self._objects[reference.name] = found

    def apply(self, message: ReadMessage) -> None:
        """Apply it; what it refers to has to be known."""
        where = self._check_position(message)
        kind, headers = message.kind, message.headers
        if kind is _CHECKPOINT:
            self.replay.checkpoints += 1
        elif kind is _CONTROL:
            self._follow_snapshot(message, where)
        elif kind is _DESCRIPTION:
            pass
        elif headers and not _OF_APPLICATIONS.isdisjoint(headers):
            self.replay.messages += 1
        else:
            header = headers.get
            for payload in self._events(message, where):
                self._apply(payload, header, where, message.stored_at)

    def _events(self, message: ReadMessage, where: str) -> list[bytes]:
        """Those of a message, which may be a group."""
        headers = message.headers
        try:
            found = events_in(message.payload, headers.get)
        except msgspec.DecodeError:
            self._report("not an event", "", where)
            return []
        said = headers.get(stored_groups.EVENTS)
        if (len(found) != 1) if said is None else (said != str(len(found))):
            self._report("a group of another size than it says", "", where)
        return found

    def _check_position(self, message: ReadMessage) -> str:
        """Returns where it is. A table's description may have the position of the message before it, or none.

        The position of a group is that of its last event, and a header has the ordinal of its first.
        """
        position, may_repeat = message.position, message.kind is _DESCRIPTION
        if position is None:
            where = f"{self._noun} {message.number} at no position"
            if not may_repeat:
                self._report("no position", "", where)
            return where
        if position.commit_lsn != self._commit_lsn:
            self._commit_lsn, self._commit = position.commit_lsn, format_lsn(position.commit_lsn)
        where = f"{self._noun} {message.number} at {self._commit}:{position.ordinal}"
        first = position
        if (ordinal := message.headers.get(stored_groups.FIRST)) is not None:
            try:
                first = position._replace(ordinal=int(ordinal))
            except ValueError:
                self._report("no position", "", where)
                return where
        before = self.replay.position
        if position > before:
            self.replay.position = position
        if first <= before <= position and not may_repeat:
            self._report("stored twice", "", where)
        elif position < before:
            self._report(f"out of order, after {before}", "", where)
        return where

    def _apply(self, payload: bytes, header: Header, where: str, stored_at: float | None) -> None:
        try:
            event = read_event(payload, header)
            if event.object is not None:
                whole = self._objects.get(event.object.name)
                if not whole:
                    kind = "a reference to an object that is gone" if whole is None else "a reference to another object"
                    self._report(kind, f"{event.schema}.{event.table}", where)
                    return
                event = read_event(whole, header)
            committed_at = event.committed_at()
        except ValueError:
            self._report("not an event", "", where)
            return
        if event.stripped:
            self.replay.stripped.setdefault((event.schema, event.table), set()).update(event.stripped)
        copy = self._copy(event.schema, event.table)
        copy.apply(event, self.replay.position.commit_lsn, where)
        if event.action == READ:
            self.replay.reads += 1
            return
        self.replay.events += 1
        if stored_at is not None:
            self.replay.latencies_s.append(stored_at - committed_at.timestamp())

    def _copy(self, schema: str, table: str) -> TableCopy:
        name = (schema, table)
        copy = self.replay.tables.get(name)
        if copy is None:
            key = self._keys.get(name, ())
            copy = LatestRows(key) if key and name in self._conditional else copy_for(key)
            self.replay.tables[name] = copy
        return copy

    def _follow_snapshot(self, message: ReadMessage, where: str) -> None:
        """A control event. Only a snapshot of a whole table tells which rows it does not have."""
        control = read_control(message.payload)
        if control is None:
            self._report("not an event", "", where)
            return
        self.replay.open_runs = tuple(each.run for each in control.open)
        if control.schema is None or control.table is None:
            return
        name = (control.schema, control.table)
        run = next((each for each in control.open if each.run == control.run), None)
        if control.state == "begun" and control.where is None:
            self._copy(*name).begin_snapshot(self.replay.position.commit_lsn)
            is_after_gap = run is not None and run.kind == "gap"
            (self._gaps.add if is_after_gap else self._gaps.discard)(name)
        elif control.state == "done":
            self.replay.dropped += self._copy(*name).end_snapshot(is_after_gap=name in self._gaps)

    def _report(self, kind: str, table: str, where: str) -> None:
        self.replay.differences.append(Difference(kind, table, where))
