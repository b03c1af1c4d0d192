"""LSNs and positions.

An LSN is a 64-bit int inside Ditto and `16/B374D848` at the edges. A position is
`(commit_lsn, ordinal)`, written `16/B374D848:12`.
"""

from __future__ import annotations

from typing import NamedTuple


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Raises ValueError when `text` is not an LSN in PostgreSQL's notation."""
    high, slash, low = text.partition("/")
    if not slash or not 0 < len(high) <= 8 or not 0 < len(low) <= 8:
        raise ValueError(f"not an LSN: {text!r}")
    return int(high, 16) << 32 | int(low, 16)


class Position(NamedTuple):
    """Where an event stands: unique in a slot, and totally ordered.

    `commit_lsn` is the LSN of the transaction's commit record (`Begin.final_lsn`); `ordinal` counts
    the changes of the transaction from 1. A checkpoint at LSN L has the position `(L, 0)`.
    """

    commit_lsn: int
    ordinal: int

    def __str__(self) -> str:
        return f"{format_lsn(self.commit_lsn)}:{self.ordinal}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read the `Ditto-Position` header. Raises ValueError when `text` is not a position."""
        lsn, colon, ordinal = text.rpartition(":")
        if not colon or not ordinal.isascii() or not ordinal.isdigit():
            raise ValueError(f"not a position: {text!r}")
        return cls(parse_lsn(lsn), int(ordinal))


ORIGIN = Position(0, 0)
"""Before every event."""
