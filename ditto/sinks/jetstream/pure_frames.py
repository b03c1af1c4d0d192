"""The framing in plain Python: the same interface and the same bytes as `_frames.pyx`.

NATS client protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol#hpub
Fast-ingest batches: https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ditto.decoding.messages import TRACEPARENT_SIZE

# What a message does in its batch, the last number of its reply subject.
OP_START: Final = b"0"
OP_APPEND: Final = b"1"
OP_COMMIT: Final = b"2"
OP_COMMIT_ONLY: Final = b"3"
"""Commits without storing this message."""


MAX_HEADERS: Final = 128
"""Bytes of headers that all messages of a block have."""


class FrameTooLarge(Exception):
    """Message `index` of the block has `size` bytes of headers and payload, more than the limit."""

    def __init__(self, index: int, size: int) -> None:
        super().__init__(index, size)
        self.index = index
        self.size = size


def frame_block(
    subjects: Sequence[bytes],
    commit_lsns: Sequence[int],
    ordinals: Sequence[int],
    payloads: bytes | bytearray,
    ends: Sequence[int],
    *,
    gap: int,
    last_sequence: int,
    reply: bytes,
    first_number: int,
    is_committed: bool,
    max_size: int,
    traceparents: Mapping[int, bytes] | None = None,
    headers: bytes = b"",
    own_headers: Sequence[bytes] | None = None,
) -> bytes | bytearray:
    """Frame a block of messages of a batch, each of which expects the stream sequence before its own.

    `payloads` holds their payloads, each with `gap` bytes after it that belong to none, and `ends` where each ends,
    without them. The first message expects `last_sequence`, and is number `first_number` of its batch: 1 begins it, and
    with `is_committed` the block's last message ends it. `reply` is what comes before the number in the reply subjects.
    `traceparents` holds, by index, 55 bytes for the header of that name.
    `headers` are whole lines, the same for every message; at most MAX_HEADERS bytes. `own_headers` are, by message, its
    own, of any length.
    Raises FrameTooLarge when headers and payload of a message exceed `max_size` bytes.
    """
    if gap < 0:
        raise ValueError("a gap of less than nothing")
    if len(headers) > MAX_HEADERS:
        raise ValueError("too many headers")
    if own_headers is not None and len(own_headers) != len(ends):
        raise ValueError("a block's lists have different lengths")
    parts: list[bytes | bytearray] = []
    start = 0
    last = len(ends) - 1
    for index, (subject, lsn, ordinal, end) in enumerate(zip(subjects, commit_lsns, ordinals, ends, strict=True)):
        if not start <= end <= len(payloads) - gap:
            raise ValueError("an end outside of the payloads")
        payload = payloads[start:end]
        start = end + gap
        trace = b""
        if traceparents is not None and (traceparent := traceparents.get(index)) is not None:
            if len(traceparent) != TRACEPARENT_SIZE:
                raise ValueError("a traceparent of another size")
            trace = b"traceparent: %b\r\n" % traceparent
        header = b"NATS/1.0\r\nNats-Expected-Last-Sequence: %d\r\nDitto-Position: %X/%X:%d\r\n%b%b%b\r\n" % (
            last_sequence + index,
            lsn >> 32,
            lsn & 0xFFFFFFFF,
            ordinal,
            headers,
            trace,
            b"" if own_headers is None else own_headers[index],
        )
        total = len(header) + len(payload)
        if total > max_size:
            raise FrameTooLarge(index, total)
        number = first_number + index
        op = OP_COMMIT if is_committed and index == last else OP_START if number == 1 else OP_APPEND
        command = b"HPUB %b %b%d.%b.$FI %d %d\r\n" % (subject, reply, number, op, len(header), total)
        parts += (command, header, payload, b"\r\n")
    return b"".join(parts)
