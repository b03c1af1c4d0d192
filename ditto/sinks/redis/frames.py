"""The bytes of the commands: nothing is done for each message in Python, but where it has headers.

https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, groupby
from typing import Final, TypeAlias

import msgspec

from ditto.sinks.base import Batch

MOST_MESSAGES: Final = 1000
MOST_BYTES: Final = 1 << 20
"""Of one script: the server answers nobody else while it runs. A single larger message has a script of its own."""

Buffer: TypeAlias = bytes | bytearray | memoryview

_pack: Final = msgspec.msgpack.Encoder().encode


def command(*arguments: Buffer) -> list[Buffer]:
    """A command in RESP; large arguments are not copied."""
    parts: list[Buffer] = [b"*%d\r\n" % len(arguments)]
    for argument in arguments:
        parts += (b"$%d\r\n" % memoryview(argument).nbytes, argument, b"\r\n")
    return parts


def spans(ends: Sequence[int], gap: int) -> Iterator[tuple[int, int]]:
    """First message and the one after the last, of each script."""
    first, start = 0, 0
    for index, end in enumerate(ends):
        if index > first and (index - first >= MOST_MESSAGES or end - start > MOST_BYTES):
            yield first, index
            first, start = index, ends[index - 1] + gap
    if len(ends) > first:
        yield first, len(ends)


def packed(
    batch: Batch, first: int, end: int, *, places: Sequence[int], kinds: Sequence[int]
) -> tuple[bytes, memoryview, bytes]:
    """Messages `first` to `end` of the batch: what the script PUBLISH reads of them, their payloads, their headers.

    `places` has for each of them where its stream is among KEYS; `kinds` for each of KEYS whether it is a table's
    stream (0), one of control events (1) or one of descriptions (2). The server reads no bytes in MessagePack, only
    text: hence headers are an argument of their own.
    """
    payloads = batch.payloads
    start = payloads.ends[first - 1] + payloads.gap if first else 0
    ends = payloads.ends[first:end]
    runs: list[str | int] = []
    for lsn, same in groupby(batch.commit_lsns[first:end]):
        runs += (str(lsn), sum(1 for _ in same))
    traces = keys = header_ends = None
    headers: Sequence[bytes] = ()
    if batch.traceparents is not None:
        traces = {
            index - first + 1: value.decode() for index, value in batch.traceparents.items() if first <= index < end
        }
    if batch.keys is not None:
        keys = [False if key is None else key.decode() for key in batch.keys[first:end]]
    if batch.headers is not None:
        headers = batch.headers[first:end]
        header_ends = list(accumulate(map(len, headers)))
    fields = (
        ends if not start else [each - start for each in ends],
        batch.ordinals[first:end],
        runs,
        places,
        kinds,
        ("Ditto-Snapshot", batch.snapshot_run) if batch.snapshot_run else (),
        header_ends or False,
        keys or False,
        traces or False,
    )
    return _pack(fields), memoryview(payloads.data)[start : ends[-1]], b"".join(headers)
