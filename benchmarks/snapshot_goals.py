"""What the figures of `bench_snapshot` have to be, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from rich.table import Table


class Goal(NamedTuple):
    """What a figure has to be."""

    key: str
    name: str
    least: float | None = None
    most: float | None = None

    @property
    def wanted(self) -> str:
        return f"at most {self.most:g}" if self.most is not None else f"at least {self.least:g}"

    def is_met(self, value: float) -> bool:
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


_GOALS: Final = (
    Goal("to_live", "rows/s ÷ live events/s", least=1.2),
    Goal("to_copy", "rows/s ÷ COPY into /dev/null", least=0.5),
    Goal("p99_ms", "live latency meanwhile, p99 in ms", most=50),
    Goal("peak_rss_mb", "peak memory in MB", most=110),
    Goal("late_to_early", "memory at the end ÷ after a fifth", most=1.1),
    Goal("longest_transaction_s", "longest transaction in s", most=2),
    Goal("to_before", "live events/s ÷ those before", least=0.98),
)


def figures(results: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Goal]]:
    """Each result with each goal that it has a figure for."""
    return ((each, goal) for each in results for goal in _GOALS if goal.key in each)


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="snapshots", title_justify="left")
    for heading in ("part", "figure"):
        made.add_column(heading)
    for heading in ("rows", "value", "wanted", ""):
        made.add_column(heading, justify="right")
    for each in results:
        for _, goal in figures([each]):
            value = each[goal.key]
            is_met = "" if goal.is_met(value) else "no"
            made.add_row(each["part"], goal.name, f"{each['rows']:,}", f"{value:g}", goal.wanted, is_met)
        for key, value in each.items():
            if key.endswith("_per_s"):
                made.add_row(each["part"], key.replace("_", " ").replace(" per s", "/s"), "", f"{value:,}", "", "")
            elif each["part"] == "bounds" and key.endswith("_us"):
                made.add_row(each["part"], key.removesuffix("_us").replace("_", " ") + ", µs", "", f"{value:g}", "", "")
        made.add_section()
    return made
