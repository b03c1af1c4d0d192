"""What waits to be posted, and the requests that are made of it."""

from __future__ import annotations

import re
import struct
from array import array
from bisect import bisect_right
from collections import deque
from enum import Enum
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from ditto.formats.cloudevents import CONTENT_TYPE as CLOUDEVENT
from ditto.formats.msgpack import CONTENT_TYPE as MSGPACK
from ditto.lsn import Position
from ditto.sinks.base import MessageTooLarge
from ditto.sinks.file.records import plain_lines, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ditto.sinks.base import Batch

_CLOUDEVENT_LINE: Final = f"Content-Type: {CLOUDEVENT}\r\n".encode()
_MSGPACK_LINES: Final = re.compile(
    rb"Ditto-Id: [^\r\n]+\r\n(?:Ditto-Commit-Time: [^\r\n]+\r\n)?(?:Ditto-Snapshot-Mark: [^\r\n]+\r\n)?"
    rb"Content-Type: " + re.escape(MSGPACK.encode()) + rb"\r\n"
)
"""What the format says of an event in headers: all of it is in the event, too."""
_ONE_LINE: Final = bytes.maketrans(b"\n\r", b"  ")
_AROUND: Final = 8
"""Bytes of a body that are no event's: the brackets of an array, or the length before it."""


class Kind(Enum):
    """What the bodies of a request's events are; the value is its content type. There is one kind in a request."""

    JSON = "application/json"
    LINES = "application/x-ndjson"
    CLOUDEVENTS = "application/cloudevents-batch+json"
    MSGPACK = MSGPACK


class Request(msgspec.Struct, frozen=True):
    """What is posted, the same in each attempt."""

    identifier: str
    """The `webhook-id`: two requests have the same one only where they have the same events."""
    kind: Kind
    body: bytes
    count: int
    last: Position
    """Of the last event."""


class _Run(msgspec.Struct):
    """Messages of one kind that came together; `begin` is the first that waits still."""

    kind: Kind
    data: bytes | bytearray
    ends: Sequence[int]
    """Message i is `data[ends[i - 1] + gap : ends[i]]`."""
    gap: int
    first: int
    """The delivery number of message 0."""
    lsns: Sequence[int]
    ordinals: Sequence[int]
    routes: Sequence[bytes]
    begin: int = 0

    @property
    def start(self) -> int:
        """Where the first message begins that waits still."""
        return self.ends[self.begin - 1] + self.gap if self.begin else 0


class Queue:
    """Messages in order, of which requests are taken; `key` is `event_key(…)`."""

    def __init__(self, *, body: Literal["array", "ndjson"], max_events: int, max_bytes: int, key: bytes) -> None:
        self._json = Kind.JSON if body == "array" else Kind.LINES
        self._max_events = max_events
        self._room = max_bytes - _AROUND
        self._key = key
        self._runs: deque[_Run] = deque()
        self._count = 0
        self._bytes = 0

    @property
    def first(self) -> int | None:
        """The delivery number of the first message that waits; None where none does."""
        return self._runs[0].first + self._runs[0].begin if self._runs else None

    @property
    def is_full(self) -> bool:
        """More messages would not make the next request larger."""
        is_mixed = any(run.kind is not self._runs[0].kind for run in self._runs)
        return is_mixed or self._count >= self._max_events or self._bytes >= self._room

    def add(self, batch: Batch) -> None:
        """Take all of its messages, or none: raises MessageTooLarge."""
        runs = list(self._made(batch))
        for run in runs:
            self._check_sizes(run, batch.first)
        for run in runs:
            self._runs.append(run)
            self._count += len(run.ends)
            self._bytes += len(run.data)

    def clear(self) -> None:
        """Nothing waits any more."""
        self._runs.clear()
        self._count = self._bytes = 0

    def _check_sizes(self, run: _Run, first: int) -> None:
        if len(run.data) <= self._room:
            return
        before = -run.gap
        for index, end in enumerate(run.ends):
            if (size := end - before - run.gap) > self._room:
                raise MessageTooLarge(run.first - first + index, size + _AROUND, self._room + _AROUND)
            before = end

    def _made(self, batch: Batch) -> Iterator[_Run]:
        if batch.headers is None and batch.keys is None and batch.traceparents is None:
            yield self._plain(batch)
            return
        kinds = [self._kind_of(batch, index) for index in range(batch.size)]
        payloads = list(batch.payloads.each())
        begin = 0
        for stop in range(1, batch.size + 1):
            if stop < batch.size and _sort(kinds[stop], self._json) is _sort(kinds[begin], self._json):
                continue
            kind = _sort(kinds[begin], self._json)
            gap = 0 if kind is Kind.MSGPACK else 1
            data, ends = bytearray(), []
            for index in range(begin, stop):
                if kinds[index] is None:
                    headers = b"" if batch.headers is None else batch.headers[index]
                    message_key = None if batch.keys is None else batch.keys[index]
                    data += record(batch, index, payloads[index], headers, message_key, self._key)
                else:
                    payload = payloads[index]
                    data += payload if gap == 0 else bytes(payload).translate(_ONE_LINE)
                ends.append(len(data))
                data += b"\n" * gap
            yield _Run(
                kind,
                data,
                ends,
                gap,
                batch.first + begin,
                batch.commit_lsns[begin:stop],
                batch.ordinals[begin:stop],
                batch.routes[begin:stop],
            )
            begin = stop

    def _plain(self, batch: Batch) -> _Run:
        payloads = batch.payloads
        ends: Sequence[int] = payloads.ends
        if payloads.gap != 1:
            ends = [end + index * (1 - payloads.gap) for index, end in enumerate(ends)]
        lines = plain_lines(payloads)
        return _Run(self._json, lines, ends, 1, batch.first, batch.commit_lsns, batch.ordinals, batch.routes)

    def _kind_of(self, batch: Batch, index: int) -> Kind | None:
        """None for what goes into a record of the kind JSON."""
        headers = b"" if batch.headers is None else batch.headers[index]
        has_more = batch.keys is not None and batch.keys[index] is not None
        if has_more or (batch.traceparents is not None and index in batch.traceparents):
            return None
        if not headers:
            return self._json
        if headers == _CLOUDEVENT_LINE:
            return Kind.CLOUDEVENTS if self._json is Kind.JSON else self._json
        return Kind.MSGPACK if _MSGPACK_LINES.fullmatch(headers) else None

    def take(self) -> Request:
        """The next request. There has to be a message."""
        kind, count, room = self._runs[0].kind, self._max_events, self._room
        lsns, ordinals, routes = array("Q"), array("Q"), list[bytes]()
        parts: list[bytes | bytearray] = []
        taken, last = 0, Position(0, 0)
        while self._runs and self._runs[0].kind is kind and count:
            run, begin = self._runs[0], self._runs[0].begin
            start = run.start
            stop = min(bisect_right(run.ends, start + room, begin), begin + count)
            if stop == begin:
                break
            part = run.data[start : run.ends[stop - 1]]
            parts.append(part.replace(b"\n", b",") if kind in {Kind.JSON, Kind.CLOUDEVENTS} else part)
            room -= len(part) + run.gap
            count -= stop - begin
            taken += stop - begin
            lsns.extend(run.lsns[begin:stop])
            ordinals.extend(run.ordinals[begin:stop])
            routes += run.routes[begin:stop]
            last = Position(run.lsns[stop - 1], run.ordinals[stop - 1])
            self._count -= stop - begin
            self._bytes -= len(part) + run.gap
            run.begin = stop
            if stop == len(run.ends):
                self._runs.popleft()
            else:
                break
        identity = blake2b(kind.name.encode(), digest_size=16, key=self._key)
        for part_of_it in (lsns, ordinals, b"\0".join(routes)):
            identity.update(part_of_it)
        return Request(f"msg_{identity.hexdigest()}", kind, _body(kind, parts, taken), taken, last)


def _sort(kind: Kind | None, json: Kind) -> Kind:
    return json if kind is None else kind


def _body(kind: Kind, parts: list[bytes | bytearray], count: int) -> bytes:
    if kind is Kind.MSGPACK:
        head = bytes([0x90 | count]) if count < 16 else struct.pack(">BI", 0xDD, count)
        return b"".join([head, *parts])
    if kind is Kind.LINES:
        return b"".join(chain.from_iterable((part, b"\n") for part in parts))
    return b"".join([b"[", b",".join(parts), b"]"])
