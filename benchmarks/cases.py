"""What the benchmarks of the core have in common: cases, their timing, their table and their record."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import record


class Case(NamedTuple):
    """One thing to time: `run` handles some events and returns how many."""

    name: str
    shape: str
    core: str
    run: Callable[[], int]


def terminal() -> Console:
    """Where tables go: wide enough for them where it is not a terminal but a file."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


class Timing(NamedTuple):
    """Events in a second of CPU time: the median of the rounds, the slowest and the fastest."""

    median: float
    low: float
    high: float


def timed(run: Callable[[], int], *, rounds: int) -> Timing:
    """Run once to warm up, then `rounds` times."""
    run()
    rates = []
    for _ in range(rounds):
        # Nothing here waits, and what else the machine does is not to count.
        started = time.thread_time()
        count = run()
        rates.append(count / (time.thread_time() - started))
    return Timing(statistics.median(rates), min(rates), max(rates))


def under_pytest(benchmark: BenchmarkFixture, run: Callable[[], int], *, group: str, expected: int) -> None:
    """Time `run` with pytest-benchmark, and check that it handled all events."""
    benchmark.group = group
    count = benchmark.pedantic(run, rounds=5, warmup_rounds=1)  # type: ignore[no-untyped-call]  # it has no types
    assert count == expected


def main(name: str, make_cases: Callable[[], Iterable[Case]], *, quick: bool | None = None) -> dict[str, Any]:
    """Time all cases, print the table, write the record; `quick` None: as the command line says."""
    if quick is None:
        parser = argparse.ArgumentParser(prog=f"python -m benchmarks.bench_{name}")
        parser.add_argument("--quick", action="store_true", help="3 rounds instead of 7")
        quick = parser.parse_args().quick
    console = terminal()
    with console.status("capturing frames from PostgreSQL"):
        cases = list(make_cases())
    results = []
    for case in track(cases, description=name, console=console, transient=True):
        timing = timed(case.run, rounds=3 if quick else 7)
        results.append(
            {
                "case": case.name,
                "shape": case.shape,
                "core": case.core,
                "events_per_s": round(timing.median),
                "low": round(timing.low),
                "high": round(timing.high),
            }
        )
    console.print(table(name, results))
    return record.write(name, results, quick=quick)


def table(name: str, results: list[dict[str, Any]]) -> Table:
    """Events a second of both cores and their ratio, a row for each case and shape."""
    made = Table(title=f"{name}, events/s (median)", title_justify="left")
    for heading in ("case", "shape", "c", "python", "c ÷ python", "ns/event (c)"):
        made.add_column(heading, justify="left" if heading in {"case", "shape"} else "right")
    rates = {(each["case"], each["shape"], each["core"]): each["events_per_s"] for each in results}
    for case, shape in dict.fromkeys((each["case"], each["shape"]) for each in results):
        compiled, plain = rates.get((case, shape, "c")), rates.get((case, shape, "python"))
        made.add_row(
            case,
            shape,
            "-" if compiled is None else f"{compiled:,}",
            "-" if plain is None else f"{plain:,}",
            f"{compiled / plain:.1f}" if compiled and plain else "-",
            f"{1e9 / compiled:,.0f}" if compiled else "-",
        )
    return made
