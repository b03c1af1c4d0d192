"""What an input has to do to both decoders: the same, and nothing but DecodeError comes out.

An input is a sequence of CopyData messages, each behind its length in 4 bytes.
"""

from __future__ import annotations

import struct

from unit.implementations import IMPLEMENTATIONS, Implementation, comparable

from ditto.errors import DecodeError


def frames(data: bytes) -> list[bytes]:
    """The messages of an input; a length that is too long takes what is left."""
    found = []
    place = 0
    while place + 4 <= len(data):
        (length,) = struct.unpack_from("!I", data, place)
        found.append(data[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def outcome(implementation: Implementation, messages: list[bytes]) -> tuple[object, ...]:
    """What the decoder makes of them, or its error."""
    try:
        return comparable(implementation.decode(messages))
    except DecodeError as error:
        return (error.message,)


def check(data: bytes) -> None:
    """Raise AssertionError when they differ."""
    messages = frames(data)
    compiled, plain = (outcome(implementation, messages) for implementation in IMPLEMENTATIONS)
    if compiled != plain:
        raise AssertionError(f"the decoders differ:\n{compiled!r}\n{plain!r}")
