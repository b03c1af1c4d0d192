"""The bytes of many messages in one buffer."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec


class Payloads(msgspec.Struct, frozen=True):
    """Payload i is `data[ends[i - 1] + gap : ends[i]]`, and the first one begins at 0."""

    data: bytes | bytearray
    ends: list[int]
    gap: int
    """Bytes between two payloads and after the last, which belong to none: 0, or 1 for newlines."""

    def each(self) -> Iterator[memoryview]:
        """One payload after the other, without a copy."""
        whole, start = memoryview(self.data), 0
        for end in self.ends:
            yield whole[start:end]
            start = end + self.gap
