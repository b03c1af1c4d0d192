"""LSNs, and what is at them: positions, transactions, checkpoints.

An LSN is a 64-bit int inside Ditto and `16/B374D848` at the edges. A position is
`(commit_lsn, ordinal)`, written `16/B374D848:12`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

_LSN: Final = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Raises ValueError when `text` is not an LSN in PostgreSQL's notation."""
    match = _LSN.fullmatch(text)
    if match is None:
        raise ValueError(f"not an LSN: {text!r}")
    return int(match[1], 16) << 32 | int(match[2], 16)


_parse_commit_lsn: Final = lru_cache(maxsize=16)(parse_lsn)
"""The events of a transaction have the same."""


class Position(NamedTuple):
    """The place of an event: unique in a slot, and totally ordered.

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
        return cls(_parse_commit_lsn(lsn), int(ordinal))


ORIGIN = Position(0, 0)
"""Before every event."""


class Transaction(NamedTuple):
    """What tells one transaction from another that has its commit record at the same LSN."""

    commit_lsn: int
    commit_time: str
    """As in an event."""
    xid: int | None = None
    """None where it is not known."""


def transaction_at(position: Position, commit_time: str) -> Transaction | None:
    """The transaction of an event; None where it belongs to none.

    Commit records lie at multiples of 8: rows that a snapshot stores before a transaction are one byte before it.
    """
    return None if position.commit_lsn & 7 else Transaction(position.commit_lsn, commit_time)


class Checkpoint(NamedTuple):
    """Everything before `lsn` is stored."""

    lsn: int
    last: Transaction | None = None
    """The last transaction before `lsn` that the slot has sent; None where none is known."""
    sequence: int | None = None
    """The stream sequence up to which everything was stored when it was written. Only in the metadata."""

    @property
    def position(self) -> Position:
        """Before every change of a transaction that commits at `lsn`."""
        return Position(self.lsn, 0)
