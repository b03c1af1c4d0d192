"""Numbers and states in the words of the pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from ditto.fleet.status import PipelineSummary
from ditto.units import size, span

ORDER: Final = (
    "failed",
    "unassigned",
    "waiting",
    "connecting",
    "starting",
    "changing",
    "assigned",
    "draining",
    "stopped",
    "paused",
    "standby",
    "streaming",
)
"""States, the ones that need somebody first."""
NONE: Final = "–"  # noqa: RUF001  a dash in a table


def state_rank(state: str) -> int:
    """Its place in `ORDER`."""
    return ORDER.index(state) if state in ORDER else len(ORDER)


def lag(seconds: float | None) -> str:
    """How far behind."""
    return NONE if seconds is None else "0 s" if seconds < 0.0005 else span(seconds)


def rate(per_s: float | None) -> str:
    """Events a second."""
    if per_s is None:
        return NONE
    if per_s >= 99_950:
        return f"{per_s / 1000:,.0f} k"
    if per_s >= 9_995:
        return f"{per_s / 1000:.1f} k"
    return f"{per_s:,.0f}" if per_s >= 10 or per_s == 0 else f"{per_s:.1f}"


def wal(retained_bytes: int | None) -> str:
    """Retained WAL."""
    return NONE if retained_bytes is None else size(max(0, retained_bytes))


def wal_ratio(summary: PipelineSummary) -> float | None:
    """The part of the limit that the slot keeps, from 0 to 1; None without a limit."""
    if summary.retained_bytes is None or summary.safe_bytes is None:
        return None
    retained = max(0, summary.retained_bytes)
    return min(1.0, retained / max(1, retained + max(0, summary.safe_bytes)))


def wal_of_limit(summary: PipelineSummary) -> str:
    """Retained WAL against its limit."""
    if summary.retained_bytes is None:
        return NONE
    if summary.safe_bytes is None:
        return f"{wal(summary.retained_bytes)}, no limit"
    limit = max(0, summary.retained_bytes) + max(0, summary.safe_bytes)
    return f"{wal(summary.retained_bytes)} of {size(limit)}"


def ago(at: str, now: datetime | None = None) -> str:
    """A time of RFC 3339 as how long ago it was."""
    try:
        then = datetime.fromisoformat(at)
    except ValueError:
        return at or NONE
    seconds = ((now or datetime.now(UTC)) - then).total_seconds()
    return "just now" if seconds < 1 else f"{span(round(seconds))} ago"


def clock(at: str) -> str:
    """A time of RFC 3339 with date, to the second, in UTC."""
    try:
        return datetime.fromisoformat(at).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return at or NONE
