"""Differences between a stream and its tables, and tables that cannot be compared."""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """One difference.

    `kind` says what is wrong in a few words; `where` is a row's key or a message's sequence and position. Of a row's
    values only the key is shown; a row of a table without a key shows as a hash.
    """

    kind: str
    table: str
    where: str
    columns: tuple[str, ...] = ()

    def __str__(self) -> str:
        columns = f" in {', '.join(self.columns)}" if self.columns else ""
        return " ".join(part for part in (self.table, self.where) if part) + f": {self.kind}{columns}"


class Unjudged(NamedTuple):
    """A table that, or some rows of which, cannot be compared: the stream cannot hold what it would take, or it cannot
    be read.
    """

    table: str
    reason: str
    is_obstacle: bool = False
    """Whether it can be compared after what the reason asks for is done."""

    def __str__(self) -> str:
        return f"{self.table}: {self.reason}"
