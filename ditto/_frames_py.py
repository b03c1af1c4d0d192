"""The framing in plain Python: the same interface and the same bytes as `_frames.pyx`.

NATS client protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol#hpub
"""

from __future__ import annotations

from collections.abc import Sequence


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
    payloads: bytearray,
    ends: Sequence[int],
    *,
    last_sequence: int,
    reply: bytes,
    reply_every: int,
    is_first_answered: bool,
    max_size: int,
) -> tuple[bytes | bytearray, list[tuple[int, int]]]:
    """Frame a block of messages, each of which expects the stream sequence before its own.

    `payloads` holds their payloads without a gap, and `ends` where each ends. The first message expects
    `last_sequence`. Every `reply_every`-th message and the last one carry `reply`; with `is_first_answered`
    the first one too. Returns the bytes and, for each message with a reply, its stream sequence and the
    number of bytes since the one before.
    Raises FrameTooLarge when headers and payload of a message exceed `max_size` bytes.
    """
    parts: list[bytes | bytearray] = []
    marks: list[tuple[int, int]] = []
    size = 0
    start = 0
    last = len(ends) - 1
    for index, (subject, lsn, ordinal, end) in enumerate(zip(subjects, commit_lsns, ordinals, ends, strict=True)):
        payload = payloads[start:end]
        start = end
        header = b"NATS/1.0\r\nNats-Expected-Last-Sequence: %d\r\nDitto-Position: %X/%X:%d\r\n\r\n" % (
            last_sequence + index,
            lsn >> 32,
            lsn & 0xFFFFFFFF,
            ordinal,
        )
        total = len(header) + len(payload)
        if total > max_size:
            raise FrameTooLarge(index, total)
        is_answered = index == last or (index + 1) % reply_every == 0 or (index == 0 and is_first_answered)
        inbox = reply + b" " if is_answered else b""
        command = b"HPUB %b %b%d %d\r\n" % (subject, inbox, len(header), total)
        parts += (command, header, payload, b"\r\n")
        size += len(command) + total + 2
        if is_answered:
            marks.append((last_sequence + index + 1, size))
            size = 0
    return b"".join(parts), marks
