"""The bytes of `Publish` commands, and what confirms them: nothing is done for each message but to put it in.

https://github.com/rabbitmq/rabbitmq-server/blob/main/deps/rabbitmq_stream/docs/PROTOCOL.adoc
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, unpack_from
from typing import Final

_PUBLISH: Final = 2
_head: Final = Struct(">IHHBI")
"""Length, key, version, publisher, how many messages."""
_before: Final = Struct(">QI").pack
"""Publishing id, length."""

FRAME_BYTES: Final = _head.size
MESSAGE_BYTES: Final = 12
"""What a frame has around each message."""


def publish_frames(messages: Sequence[bytes], *, publisher: int, first_id: int, frame_max: int) -> list[bytes]:
    """Of at most `frame_max` bytes each. The messages get publishing ids from `first_id` on."""
    frames = []
    parts: list[bytes] = [b""]
    count, size = 0, FRAME_BYTES
    for number, message in enumerate(messages, first_id):
        length = len(message)
        if count and size + MESSAGE_BYTES + length > frame_max:
            parts[0] = _head.pack(size - 4, _PUBLISH, 1, publisher, count)
            frames.append(b"".join(parts))
            parts, count, size = [b""], 0, FRAME_BYTES
        parts += (_before(number, length), message)
        count += 1
        size += MESSAGE_BYTES + length
    if count:
        parts[0] = _head.pack(size - 4, _PUBLISH, 1, publisher, count)
        frames.append(b"".join(parts))
    return frames


def confirmed_ids(frame: bytes) -> tuple[int, Sequence[int]]:
    """Publisher and publishing ids of a `PublishConfirm`, which begins with key and version."""
    publisher, count = unpack_from(">BI", frame, 4)
    return publisher, unpack_from(f">{count}Q", frame, 9)
