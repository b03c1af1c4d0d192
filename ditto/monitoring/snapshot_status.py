"""The state of a pipeline's snapshots: written by the runner of the snapshots, read by HTTP, status and metrics.

Times are RFC 3339 in UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from msgspec import Struct, field

RunState: TypeAlias = Literal["waiting", "reading", "paused", "done", "failed", "cancelled"]
TableState: TypeAlias = Literal["queued", "waiting", "reading", "done", "failed", "cancelled"]
RunKind: TypeAlias = Literal["request", "initial", "gap"]

KEPT_RUNS: Final = 20
"""Runs that have ended and are still in the status."""
_ENDED: Final = frozenset({"done", "failed", "cancelled"})


class TableStatus(Struct, kw_only=True):
    """One table of a run."""

    schema: str
    table: str
    state: TableState = "queued"
    """`waiting`: for something that `waits_for` names, before its rows are read."""
    rows: int = 0
    """Stored so far; after a restart those from before it are counted, too."""
    left_out: int = 0
    """Rows that were read and are no events, by a rule of `events.tables`."""
    estimated_rows: int | None = None
    """By PostgreSQL's statistics; null where there are none, before the run's turn, and under a condition."""
    bytes: int = 0
    """Of the events so far, in JSON."""
    began_at: str | None = None
    ended_at: str | None = None
    rows_per_s: float | None = None
    """Over the last seconds; null before rows are read."""
    reason: str | None = None
    """Why it failed or was cancelled."""
    hint: str | None = None
    """What to do about a failure, where that is known."""
    waits_for: str | None = None
    """Such as `transaction 812 of pid 4711, 12 s old`."""

    @property
    def is_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in _ENDED

    @property
    def remaining_rows(self) -> int:
        """As far as the estimate tells; 0 without one."""
        return 0 if self.is_ended else max(0, (self.estimated_rows or 0) - self.rows - self.left_out)


class RunStatus(Struct, kw_only=True):
    """One run: some tables, one after the other."""

    run: str
    kind: RunKind
    """`request`: somebody asked for it; `initial`: the stream was new; `gap`: events were lost."""
    state: RunState = "waiting"
    """`failed` where one of its tables has failed; the others are read all the same."""
    requested_at: str
    reason: str | None = None
    """Why it was refused or has failed, where that is not the reason of one of its tables."""
    hint: str | None = None
    """What to do about that, where it is known."""
    where: str | None = None
    max_rows_per_s: int | None = None
    tables: list[TableStatus] = field(default_factory=list)
    """In the order in which they are read."""

    @property
    def is_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in _ENDED

    @property
    def current(self) -> TableStatus | None:
        """The table that is being read, or the next one."""
        return next((each for each in self.tables if not each.is_ended), None)

    @property
    def rows_per_s(self) -> float | None:
        """Of the table that is being read."""
        current = self.current
        return None if self.state != "reading" or current is None else current.rows_per_s

    @property
    def rows(self) -> int:
        """Stored so far, of all tables."""
        return sum(each.rows for each in self.tables)

    @property
    def remaining_rows(self) -> int:
        """Of all tables, as far as the estimates tell."""
        return 0 if self.is_ended else sum(each.remaining_rows for each in self.tables)


class SnapshotStatus(Struct):
    """The runs that have not ended, and the last `KEPT_RUNS` that this process has seen the end of, the newest last."""

    runs: list[RunStatus] = field(default_factory=list)

    def find(self, run: str) -> RunStatus | None:
        """The run of this id."""
        return next((each for each in self.runs if each.run == run), None)

    def unended(self) -> Iterator[RunStatus]:
        """The runs that have not ended."""
        return (each for each in self.runs if not each.is_ended)

    def trim(self) -> None:
        """Forget the oldest of those that have ended."""
        ended = [each for each in self.runs if each.is_ended]
        for each in ended[: max(0, len(ended) - KEPT_RUNS)]:
            self.runs.remove(each)
