"""How the cost of an event grows with everything that can grow: `python -m benchmarks.bench_growth`.

Three series, all rows of trades over TCP to JetStream: the number of events, the number of tables that they are
spread over, and the number of rows in a transaction. The points of a series are drained in turn, each from a fresh
copy of its slot.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg
import uvloop
from psycopg import Connection
from psycopg.rows import TupleRow
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import record, servers
from benchmarks.bench_pipeline import copied, written
from benchmarks.cases import terminal
from benchmarks.contenders import DittoJetStream, Drain, Task
from benchmarks.servers import Transport
from benchmarks.workloads import Spread
from ditto.testing.servers import NatsServer, PostgresServer

DOTTED: Final = "{prefix}.{schema}.{table}"
DEFAULT: Final = "{prefix}_{schema}_{table}"
_TEMPLATES: Final = {DOTTED: "dotted", DEFAULT: "default"}
"""One wildcard covers all dotted subjects; of the default ones each is added to the stream."""
_SIZE: Final = 100
"""Rows in a transaction where that is not what grows."""


class Point(NamedTuple):
    """What is drained, and how much there is of what grows."""

    amount: int
    spread: Spread
    template: str = DOTTED


def series(*, quick: bool) -> dict[str, list[Point]]:
    """The points of each series by what grows, from the smallest to the largest."""
    if quick:
        counts: Sequence[int] = (10_000, 100_000)
        tables: Sequence[int] = (1, 100)
        table_rows = 10_000
        rows_by_size = {1: 20_000, 20_000: 20_000}
    else:
        counts = (10_000, 100_000, 1_000_000, 5_000_000)
        tables = (1, 10, 100, 1_000)
        table_rows = 500_000  # PostgreSQL describes each table once, which is to be a small part
        # A million transactions would take longer to write than everything else together.
        rows_by_size = {1: 100_000, 100: 1_000_000, 10_000: 1_000_000, 1_000_000: 1_000_000}
    return {
        "events": [Point(count, Spread(count, _SIZE, 1)) for count in counts],
        "tables": [
            *(Point(count, Spread(table_rows, _SIZE, count)) for count in tables),
            Point(tables[-1], Spread(table_rows, _SIZE, tables[-1]), DEFAULT),
        ],
        "rows in a transaction": [Point(size, Spread(rows, size, 1)) for size, rows in rows_by_size.items()],
    }


class Bench:
    """Drains series after series; `results` has a row for each point."""

    def __init__(
        self, server: PostgresServer, nats_server: NatsServer, control: Connection[TupleRow], progress: Progress
    ) -> None:
        self._transport = Transport("tcp", server, server.dsn)
        self._contenders = {
            template: DittoJetStream(nats_server, name="ditto", environment={"DITTO_EVENTS_SUBJECT": template})
            for template in _TEMPLATES
        }
        self._control = control
        self._progress = progress
        self.results: list[dict[str, Any]] = []

    async def run(self, what: str, points: Sequence[Point], repetitions: int) -> None:
        """One series. Raises WrongCount unless every stream then holds each event once."""
        drains: dict[Point, list[Drain]] = defaultdict(list)
        bar = self._progress.add_task(what, total=len(points) * repetitions)
        with ExitStack() as stack:
            end_lsns: dict[Spread, str] = {}
            for spread in dict.fromkeys(point.spread for point in points):
                self._progress.update(bar, description=f"{what}: writing {spread.rows:,} rows of WAL")
                end_lsns[spread] = stack.enter_context(written(self._control, spread))
            for _ in range(repetitions):
                for point in points:
                    self._progress.update(bar, description=f"{what}: {point.amount:,}")
                    spread = point.spread
                    with copied(self._control, spread.publication) as slot:
                        task = Task(self._transport, slot, spread.publication, spread.rows, end_lsns[spread])
                        drains[point].append(await self._contenders[point.template].drain(task))
                    self._progress.advance(bar)
        self.results += _summaries(what, drains)


def _summaries(what: str, drains: Mapping[Point, Sequence[Drain]]) -> Iterator[dict[str, Any]]:
    smallest_us = None
    for point, found in drains.items():
        rows = point.spread.rows
        times_us = [(drain.duration_s - drain.set_up_s) / rows * 1e6 for drain in found]
        cpu_us = [(drain.client_cpu_s - drain.set_up_cpu_s) / rows * 1e6 for drain in found]
        time_us = statistics.median(times_us)
        smallest_us = smallest_us or time_us
        yield {
            "series": what,
            "amount": point.amount,
            "subjects": _TEMPLATES[point.template],
            "rows": rows,
            "rows_per_transaction": point.spread.rows_per_transaction,
            "tables": point.spread.tables,
            "us_per_event": round(time_us, 3),
            "low": round(min(times_us), 3),
            "high": round(max(times_us), 3),
            "ratio": round(time_us / smallest_us, 3),
            "client_cpu_us": round(statistics.median(cpu_us), 3),
            "peak_rss_mb": round(max(drain.peak_rss_bytes for drain in found) / 1e6, 1),
            "repetitions": len(found),
        }


async def run(wanted: Mapping[str, Sequence[Point]], repetitions: int, console: Console) -> list[dict[str, Any]]:
    """A row for each point of the wanted series."""
    columns = (TextColumn("{task.description:<48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        servers.embedded() as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        bench = Bench(server, nats_server, control, progress)
        for what, points in wanted.items():
            await bench.run(what, points, repetitions)
        return bench.results


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="growth (µs an event, median)", title_justify="left")
    made.add_column("what grows")
    made.add_column("", justify="right")
    made.add_column("subjects")
    for heading in ("events", "time", "low-high", "÷ smallest", "ditto's CPU", "peak MB"):
        made.add_column(heading, justify="right")
    previous = None
    for each in results:
        if previous not in {None, each["series"]}:
            made.add_section()
        previous = each["series"]
        made.add_row(
            each["series"],
            f"{each['amount']:,}",
            each["subjects"],
            f"{each['rows']:,}",
            f"{each['us_per_event']:.2f}",
            f"{each['low']:.2f}-{each['high']:.2f}",
            f"{each['ratio']:.2f}",
            f"{each['client_cpu_us']:.2f}",
            f"{each['peak_rss_mb']:.0f}",
        )
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_growth")
    parser.add_argument("--quick", action="store_true", help="up to 100,000 events and 100 tables, once each")
    parser.add_argument("--series", action="append", choices=list(series(quick=True)), help="only this one")
    parser.add_argument("--repetitions", type=int, help="of every drain")
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    is_quick = arguments.quick
    wanted = {
        what: points
        for what, points in series(quick=is_quick).items()
        if not arguments.series or what in arguments.series
    }
    console = terminal()
    results = uvloop.run(run(wanted, arguments.repetitions or (1 if is_quick else 3), console))
    console.print(table(results))
    return record.write("growth", results, quick=is_quick, is_partial=bool(arguments.series))


if __name__ == "__main__":
    main()
