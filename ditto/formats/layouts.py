"""How several events become one payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple


class Layout(NamedTuple):
    """What is around events that follow each other."""

    head: Callable[[int], bytes]
    """Before the first, of so many."""
    separator: int
    """The byte between two; -1 for none."""
    tail: bytes
    """After the last."""
    is_line: bool = False
    """A line break within an event, which is white space of embedded JSON, would end it."""


def _array_of(count: int) -> bytes:
    """The header of an array of MessagePack: https://github.com/msgpack/msgpack/blob/master/spec.md#array-format-family."""
    if count < 1 << 4:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2) if count < 1 << 16 else b"\xdd" + count.to_bytes(4)


ARRAY: Final = Layout(lambda _: b"[", ord(","), b"]")
LINES: Final = Layout(lambda _: b"", ord("\n"), b"\n", is_line=True)
MSGPACK: Final = Layout(_array_of, -1, b"")

MOST_AROUND: Final = 5
"""Bytes of head and tail together."""
