"""The ids of events and checkpoints: UUIDs that are computed from the position, the same on every delivery."""

from __future__ import annotations

from hashlib import blake2b

from ditto.lsn import Position


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
