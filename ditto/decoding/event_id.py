"""The ids of events and checkpoints: UUIDs that are computed from the position, the same on every delivery."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from ditto.lsn import Position

_LSN_LIMIT: Final = 1 << 56
_ORDINAL_LIMIT: Final = 1 << 40
"""Positions beyond are impossible: the key of another slot gives such a one, but for one time in 67 million."""


def event_key(system_identifier: str, slot: str) -> bytes:
    """16 bytes that stand for one slot of one database cluster in its events' ids.

    An id is the position (64 bits of commit LSN, 58 of ordinal) XOR 122 bits of this key, laid out as a
    UUID of version 8 (RFC 9562). So two events of a slot never share an id, and two slots' ids look unrelated.
    """
    return blake2b(f"{system_identifier}/{slot}".encode(), digest_size=16, person=b"ditto event id").digest()


def event_id(position: Position, key: bytes) -> str:
    """The id of the event, or the checkpoint, at this position; `key` is `event_key(…)`. Decoders compute the same."""
    high = (position.commit_lsn >> 4) ^ (int.from_bytes(key[:8]) >> 4)
    low = ((position.commit_lsn & 0xF) << 58 | position.ordinal) ^ (int.from_bytes(key[8:16]) >> 2)
    digits = f"{high >> 12:012x}8{high & 0xFFF:03x}{0x8000000000000000 | low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def position_of(identifier: bytes, key: bytes) -> Position | None:
    """The inverse of `event_id`; None for what is no id of this slot, as far as can be told."""
    try:
        digits = int(identifier.replace(b"-", b""), 16)
    except ValueError:
        return None
    high = (digits >> 80 << 12 | digits >> 64 & 0xFFF) ^ int.from_bytes(key[:8]) >> 4
    low = (digits & (1 << 62) - 1) ^ int.from_bytes(key[8:16]) >> 2
    position = Position(high << 4 | low >> 58, low & (1 << 58) - 1)
    is_possible = position.commit_lsn < _LSN_LIMIT and position.ordinal < _ORDINAL_LIMIT
    return position if is_possible and event_id(position, key).encode() == identifier else None


def key_of(identifier: bytes, position: Position) -> bytes | None:
    """A key that gives this id at this position: as good as `event_key(…)`, of which 6 bits are in no id.

    None for what is no id.
    """
    try:
        digits = int(identifier.replace(b"-", b""), 16)
    except ValueError:
        return None
    high = (digits >> 80 << 12 | digits >> 64 & 0xFFF) ^ position.commit_lsn >> 4
    low = (digits & (1 << 62) - 1) ^ ((position.commit_lsn & 0xF) << 58 | position.ordinal)
    if high >> 60:
        return None
    key = (high << 4).to_bytes(8) + (low << 2).to_bytes(8)
    return key if event_id(position, key).encode() == identifier else None
