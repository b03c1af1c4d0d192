"""Hands the messages of a batch to librdkafka, one call a message: the library has no call for several with headers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ditto.lsn import Position, format_lsn
from ditto.sinks.base import Batch, MessageTooLarge
from ditto.sinks.kafka.topics import BATCH_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from ditto.sinks.kafka.topics import Topics

POSITION: Final = "Ditto-Position"
SNAPSHOT: Final = "Ditto-Snapshot"
TRACEPARENT: Final = "traceparent"

Headers: TypeAlias = list[tuple[str, bytes]]

_POSITION_BYTES: Final = len(POSITION) + 40
_ANY: Final = -1
"""The partition that the key's hash gives."""


def check_sizes(batch: Batch, limit: int) -> None:
    """Raise MessageTooLarge for the first message that is larger, with key and headers, than `limit`."""
    payloads, headers, keys = batch.payloads, batch.headers, batch.keys
    around = BATCH_BYTES + _POSITION_BYTES + len(batch.snapshot_run) + (80 if batch.traceparents else 0)
    more = sum(map(len, headers)) if headers is not None else 0
    if keys is not None:
        more += sum(len(key) for key in keys if key is not None)
    if len(payloads.data) + more + around <= limit:
        return
    start = 0
    for index, end in enumerate(payloads.ends):
        key = None if keys is None else keys[index]
        size = end - start + around + (0 if headers is None else len(headers[index])) + len(key or b"")
        start = end + payloads.gap
        if size > limit:
            raise MessageTooLarge(index, size, limit)


def produce(batch: Batch, topics: Topics, put: Callable[..., None]) -> None:
    """Give every message to `put`, which is a producer's `produce`. Messages without a key go to partition 0."""
    payloads, names = batch.payloads, topics.names
    data, gap = bytes(payloads.data), payloads.gap
    keys: Sequence[bytes | None] = batch.keys if batch.keys is not None else [None] * batch.size
    start, lsn, place = 0, -1, b""
    more = None if _is_plain(batch) else _more_headers(batch)
    own = topics.own
    for route, commit_lsn, ordinal, end, key in zip(
        batch.routes, batch.commit_lsns, batch.ordinals, payloads.ends, keys, strict=True
    ):
        if commit_lsn != lsn:
            lsn, place = commit_lsn, b"%b:" % format_lsn(commit_lsn).encode()
        topic = names[route]
        headers: Headers = [(POSITION, b"%b%d" % (place, ordinal))]
        if more is not None:
            headers += next(more)
        if topic is own:
            put(topic, data[start:end], own_key(route, headers[0][1], topics), 0, headers=headers)
        elif key is None:
            put(topic, data[start:end], None, 0, headers=headers)
        else:
            put(topic, data[start:end], key, _ANY, headers=headers)
        start = end + gap


def own_key(route: bytes, position: bytes, topics: Topics) -> bytes:
    """Of descriptions the newest one is kept, of control events all: their order is what a reader follows."""
    return route if topics.is_description(route.decode()) else b"%b@%b" % (route, position)


def last_place(batch: Batch, topics: Topics) -> tuple[Position, bytes, bytes] | None:
    """Position, payload and header lines of the last message that is not a table's description; None without one."""
    payloads = batch.payloads
    for index in range(batch.size - 1, -1, -1):
        route = batch.routes[index]
        if topics.names.get(route) is topics.own and topics.is_description(route.decode()):
            continue
        start = payloads.ends[index - 1] + payloads.gap if index else 0
        headers = b"" if batch.headers is None else batch.headers[index]
        position = Position(batch.commit_lsns[index], batch.ordinals[index])
        return position, bytes(payloads.data[start : payloads.ends[index]]), headers
    return None


def _is_plain(batch: Batch) -> bool:
    return batch.headers is None and not batch.traceparents and not batch.snapshot_run


def _more_headers(batch: Batch) -> Iterator[Headers]:
    run = [(SNAPSHOT, batch.snapshot_run.encode())] if batch.snapshot_run else []
    traces: Any = batch.traceparents or {}
    for index in range(batch.size):
        headers = list(run)
        if (trace := traces.get(index)) is not None:
            headers.append((TRACEPARENT, trace))
        if batch.headers is not None:
            headers += pairs_of(batch.headers[index])
        yield headers


def pairs_of(lines: bytes) -> Headers:
    """Names and values of header lines."""
    if not lines:
        return []
    split = (line.partition(b":") for line in lines.split(b"\r\n") if line)
    return [(name.decode(), value.strip()) for name, _, value in split]
