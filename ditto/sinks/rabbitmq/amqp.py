"""AMQP 1.0 messages, as streams hold them, made without an object for each.

http://docs.oasis-open.org/amqp/core/v1.0/os/amqp-core-messaging-v1.0-os.html
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import repeat
from struct import Struct
from typing import TYPE_CHECKING, Final

from ditto.lsn import format_lsn

if TYPE_CHECKING:
    from ditto.sinks.base import Batch

POSITION: Final = "Ditto-Position"
SNAPSHOT: Final = "Ditto-Snapshot"
KEY: Final = "Ditto-Key"
TRACEPARENT: Final = "traceparent"

_PROPERTIES: Final = b"\x00\x53\x73"
_APPLICATION_PROPERTIES: Final = b"\x00\x53\x74"
_DATA: Final = b"\x00\x53\x75\xb0"
_NULL: Final = b"\x40"
_length: Final = Struct(">I").pack


def _string(text: bytes) -> bytes:
    if len(text) < 256:
        return b"\xa1%c%b" % (len(text), text)
    return b"\xb1%b%b" % (_length(len(text)), text)


def _compound(small: bytes, large: bytes, count: int, items: bytes) -> bytes:
    if len(items) < 255 and count < 256:
        return b"%b%c%c%b" % (small, len(items) + 1, count, items)
    return b"%b%b%b%b" % (large, _length(len(items) + 4), _length(count), items)


@lru_cache(maxsize=10_000)
def subject_section(route: bytes) -> bytes:
    """The properties of a message: only the subject is given."""
    return _PROPERTIES + _compound(b"\xc0", b"\xd0", 4, _NULL * 3 + _string(route))


def headers_section(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The application properties, all of them text; nothing where there are none."""
    if not headers:
        return b""
    items = b"".join([_string(part) for pair in headers for part in pair])
    return _APPLICATION_PROPERTIES + _compound(b"\xc1", b"\xd1", 2 * len(headers), items)


def message(route: bytes, headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """One message."""
    return b"%b%b%b%b%b" % (subject_section(route), headers_section(headers), _DATA, _length(len(body)), body)


_BEFORE_POSITION: Final = [
    _APPLICATION_PROPERTIES
    + bytes((0xC1, 1 + 2 + len(POSITION) + 2 + length, 2))
    + _string(POSITION.encode())
    + bytes((0xA1, length))
    for length in range(64)
]
"""By the length of a position: the application properties of a message that has no others, up to it."""


def messages(batch: Batch) -> list[bytes]:
    """Every message of the batch."""
    payloads, gap = batch.payloads, batch.payloads.gap
    data = bytes(payloads.data)
    result = []
    start, lsn, place = 0, -1, b""
    plain = batch.headers is None and batch.keys is None and not batch.traceparents and not batch.snapshot_run
    others: Iterator[list[tuple[bytes, bytes]] | None] = repeat(None) if plain else _other_headers(batch)
    for route, commit_lsn, ordinal, end, more in zip(
        batch.routes, batch.commit_lsns, batch.ordinals, payloads.ends, others, strict=False
    ):
        if commit_lsn != lsn:
            lsn, place = commit_lsn, b"%b:" % format_lsn(commit_lsn).encode()
        position = b"%b%d" % (place, ordinal)
        if more is None:
            head = _BEFORE_POSITION[len(position)] + position
        else:
            head = headers_section([(POSITION.encode(), position), *more])
        result.append(b"%b%b%b%b%b" % (subject_section(route), head, _DATA, _length(end - start), data[start:end]))
        start = end + gap
    return result


def _other_headers(batch: Batch) -> Iterator[list[tuple[bytes, bytes]]]:
    """By message, what its application properties have besides the position."""
    run = [(SNAPSHOT.encode(), batch.snapshot_run.encode())] if batch.snapshot_run else []
    traces = batch.traceparents or {}
    for index in range(batch.size):
        headers = list(run)
        if (trace := traces.get(index)) is not None:
            headers.append((TRACEPARENT.encode(), trace))
        if batch.headers is not None:
            headers += pairs_of(batch.headers[index])
        if batch.keys is not None and (key := batch.keys[index]) is not None:
            headers.append((KEY.encode(), key))
        yield headers


def pairs_of(lines: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of header lines."""
    split = (line.partition(b":") for line in lines.split(b"\r\n") if line)
    return [(name, value.strip()) for name, _, value in split]
