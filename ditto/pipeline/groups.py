"""Groups: the events of a transaction that follow each other become one message (`events.group`).

A group never has events of two transactions, and its position is that of its last event: what is stored is a whole
number of events, from where the next session goes on. A group waits in memory until another event comes, or its
transaction ends: only then is it known whether it is the last one. pgoutput sends a transaction in one go, so that the
next message is on its way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ditto.config import Events, Group
from ditto.decoding.messages import Block
from ditto.formats.layouts import ARRAY, LINES, MOST_AROUND, MSGPACK, Layout
from ditto.formats.own_headers import own_lines
from ditto.formats.packing import join, split
from ditto.formats.payloads import Payloads
from ditto.pipeline.beginning import Ready

_HEADER_ROOM: Final = 64 << 10
"""For the headers of a group, of which the mark of a snapshot's row has its key: or a quarter of what a message may be.
"""


class _Open:
    """The group that is being filled, or waits to be told whether it is the last."""

    def __init__(self, lsn: int, first: int, change: Any) -> None:
        self.body = bytearray()
        self.count = 0
        self.lsn = lsn
        self.first = first
        self.last = first
        self.change = self.last_change = change
        self.traceparent: bytes | None = None
        self.headers = b""
        """Those that the format gives the last event."""

    def header_lines(self, number: int, *, is_last: bool) -> bytes:
        """What says which events these are; and of the last one all by which the next session goes on."""
        last = self.last_change
        headers = self.headers or own_lines(last.id, last.commit_time, mark=getattr(last, "snapshot", None))
        return b"%bDitto-First: %d\r\nDitto-Events: %d\r\nDitto-Group: %d\r\n%b" % (
            headers,
            self.first,
            self.count,
            number,
            b"Ditto-Group-Last: true\r\n" if is_last else b"",
        )


class _Own(NamedTuple):
    """A message with a route of its own, which waits behind the open group."""

    change: Any
    route: bytes
    lsn: int
    ordinal: int
    payload: bytes
    headers: bytes
    key: bytes | None
    traceparent: bytes | None


class Packed(NamedTuple):
    """What goes to the sink: a block whose entries are messages, each with its first change."""

    block: Block
    payloads: Payloads
    traceparents: dict[int, bytes] | None
    events: int
    """In these messages; those that wait are not counted."""


class Groups:
    """Of one session. `route` is where groups go, `max_bytes` what the sink takes (0 for no limit).

    `tail` is the commit LSN of the sink's last event and the number of its group: the transaction may go on.
    """

    def __init__(
        self, config: Group, *, layout: Layout, route: bytes, max_bytes: int = 0, tail: tuple[int, int] = (0, 0)
    ) -> None:
        self._layout = layout
        self._route = route
        self._max_events = config.max_events
        room = min(_HEADER_ROOM, max_bytes // 4)
        limit = min(config.max_bytes, max_bytes - room) if max_bytes else config.max_bytes
        self._max_bytes = max(limit - MOST_AROUND, 1)
        self._open: _Open | None = None
        self._behind: list[_Own] = []
        self._behind_bytes = 0
        self._lsn, self._number = tail
        self._start()

    def _start(self) -> None:
        """Begin what goes to the sink next."""
        self._parts: list[bytes | bytearray] = []  # joined once: a buffer that grows is copied again and again
        self._size = 0
        self._ends: list[int] = []
        self._changes: list[Any] = []
        self._routes: list[bytes] = []
        self._lsns: list[int] = []
        self._ordinals: list[int] = []
        self._headers: list[bytes] = []
        self._keys: list[bytes | None] = []
        self._traceparents: dict[int, bytes] = {}
        self._events = 0

    def pack(
        self, block: Block, payloads: Payloads, traceparents: dict[int, bytes] | None, *, is_made: bool = False
    ) -> Packed:
        """What is to be sent now. `is_made`: rows or control events of a snapshot, none of which waits."""
        lsns, ends, group = block.commit_lsns, payloads.ends, self._open
        stops = split(
            block.routes,
            lsns,
            ends,
            gap=payloads.gap,
            route=self._route,
            max_events=self._max_events,
            max_bytes=self._max_bytes,
            lsn=0 if group is None else group.lsn,
            count=0 if group is None or self._behind else group.count,
            size=0 if group is None else len(group.body),
        )
        start = 0
        for stop in stops:
            if stop == start:
                continue
            is_continued = start == 0 and stops[0] != 0 and not self._behind
            if block.routes[start] == self._route:
                self._add(block, payloads, traceparents, start, stop, is_continued=is_continued)
            else:
                self._add_own(block, payloads, traceparents, start)
            start = stop
        delivered = block.delivered
        if is_made:
            self._close(is_last=False)
        elif delivered is not None and self._open is not None and self._open.lsn <= delivered.commit_lsn:
            self._close(is_last=True)
        if delivered is not None:
            delivered = msgspec.structs.replace(delivered, event_count=bisect_right(self._lsns, delivered.commit_lsn))
        packed = Packed(
            msgspec.structs.replace(
                block,
                changes=self._changes,
                routes=self._routes,
                commit_lsns=self._lsns,
                ordinals=self._ordinals,
                headers=self._headers,
                keys=self._keys if any(key is not None for key in self._keys) else None,
                delivered=delivered,
            ),
            Payloads(b"".join(self._parts), self._ends, 0),
            self._traceparents or None,
            self._events,
        )
        self._start()
        return packed

    def _add(
        self,
        block: Block,
        payloads: Payloads,
        traceparents: dict[int, bytes] | None,
        start: int,
        stop: int,
        *,
        is_continued: bool,
    ) -> None:
        """A run of events of one group."""
        lsn, group = block.commit_lsns[start], self._open
        if group is None or not is_continued:
            self._close(is_last=group is not None and group.lsn != lsn)
            group = self._open = _Open(lsn, block.ordinals[start], block.changes[start])
        layout = self._layout
        join(
            group.body,
            payloads.data,
            payloads.ends,
            start,
            stop,
            gap=payloads.gap,
            separator=layout.separator,
            is_line=layout.is_line,
        )
        group.count += stop - start
        group.last, group.last_change = block.ordinals[stop - 1], block.changes[stop - 1]
        if block.headers is not None:
            group.headers = block.headers[stop - 1]
        if traceparents is not None and group.traceparent is None:
            group.traceparent = next((traceparents[each] for each in range(start, stop) if each in traceparents), None)

    def _add_own(self, block: Block, payloads: Payloads, traceparents: dict[int, bytes] | None, index: int) -> None:
        """A message of its own: behind the open group, as long as that may be the last one of the transaction."""
        lsn = block.commit_lsns[index]
        begin = payloads.ends[index - 1] + payloads.gap if index else 0
        own = _Own(
            block.changes[index],
            block.routes[index],
            lsn,
            block.ordinals[index],
            bytes(memoryview(payloads.data)[begin : payloads.ends[index]]),
            b"" if block.headers is None else block.headers[index],
            None if block.keys is None else block.keys[index],
            None if traceparents is None else traceparents.get(index),
        )
        group = self._open
        if group is not None and group.lsn != lsn:
            self._close(is_last=True)
        elif group is not None:
            self._behind.append(own)
            self._behind_bytes += len(own.payload)
            if self._behind_bytes > self._max_bytes or len(self._behind) > self._max_events:
                self._close(is_last=False)
            return
        self._put_own(own)

    def _close(self, *, is_last: bool) -> None:
        """The open group, and what came behind it, go to the sink."""
        group, self._open = self._open, None
        if group is None:
            return
        self._number = self._number + 1 if group.lsn == self._lsn else 1
        self._lsn = group.lsn
        payload = (self._layout.head(group.count), group.body, self._layout.tail)
        self._events += group.count
        self._put(
            payload,
            group.change,
            self._route,
            group.lsn,
            group.last,
            group.header_lines(self._number, is_last=is_last),
            None,
            group.traceparent,
        )
        behind, self._behind, self._behind_bytes = self._behind, [], 0
        for own in behind:
            self._put_own(own)

    def _put_own(self, own: _Own) -> None:
        self._events += 1
        number = b"Ditto-Group: %d\r\n" % self._number if own.lsn == self._lsn and self._number else b""
        headers = own.headers + number
        self._put((own.payload,), own.change, own.route, own.lsn, own.ordinal, headers, own.key, own.traceparent)

    def _put(
        self,
        payload: Sequence[bytes | bytearray],
        change: Any,
        route: bytes,
        lsn: int,
        ordinal: int,
        headers: bytes,
        key: bytes | None,
        traceparent: bytes | None,
    ) -> None:
        """One message."""
        self._parts += payload
        self._size += sum(map(len, payload))
        if traceparent is not None:
            self._traceparents[len(self._ends)] = traceparent
        self._ends.append(self._size)
        self._changes.append(change)
        self._routes.append(route)
        self._lsns.append(lsn)
        self._ordinals.append(ordinal)
        self._headers.append(headers)
        self._keys.append(key)


def make_groups(ready: Ready) -> Groups | None:
    """Those of a session; None where each event is a message."""
    prepared, config = ready.prepared, ready.prepared.ends.config.events.group
    route = prepared.planner.group_route
    if config is None or route is None:
        return None
    return Groups(
        config,
        layout=layout_of(prepared.ends.config.events),
        route=route,
        max_bytes=prepared.ends.sink.capabilities.max_bytes,
        tail=(ready.start.after.commit_lsn, ready.tail_group),
    )


def layout_of(events: Events) -> Layout:
    """How a message holds the events of a group."""
    if events.format == "msgpack":
        return MSGPACK
    return LINES if events.group is not None and events.group.layout == "lines" else ARRAY
