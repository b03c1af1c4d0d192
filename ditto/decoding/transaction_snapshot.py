"""Which transactions a snapshot of the database sees."""

from __future__ import annotations

from typing import NamedTuple

_HALF: int = 1 << 31
_MASK: int = (1 << 32) - 1


class TxSnapshot(NamedTuple):
    """`pg_current_snapshot()`: https://www.postgresql.org/docs/current/functions-info.html. Its xids have 64 bits."""

    xmin: int
    """Every transaction before this one has ended."""
    xmax: int
    """No transaction from this one on had ended."""
    in_progress: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> TxSnapshot:
        """Of `10:20:10,14,15`. Raises ValueError."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(int(each) for each in running.split(",") if each))

    def sees(self, xid: int) -> bool:
        """Whether this transaction, which has committed since, had ended when the snapshot was taken.

        Its xid has 32 bits, as pgoutput sends it: the one of 64 bits that is meant is the nearest to `xmax`, because
        PostgreSQL lets no transaction live through 2^31 others. Subtransactions are in neither.
        """
        whole = self.xmax + ((xid - self.xmax + _HALF) & _MASK) - _HALF
        return whole < self.xmin or (whole < self.xmax and whole not in self.in_progress)
