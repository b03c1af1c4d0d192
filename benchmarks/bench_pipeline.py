"""The whole pipeline beside pg_recvlogical: `python -m benchmarks.bench_pipeline`.

Each workload's WAL is written once and then drained again and again, by every contender in turn, each time from a
fresh copy of the same slot.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from benchmarks.cases import terminal
from benchmarks.contenders import (
    LAST_RECORDS_BYTES,
    Contender,
    DittoGroups,
    DittoJetStream,
    DittoNull,
    Drain,
    RecvLogical,
    Task,
    WrongCount,
)
from benchmarks.metering import processor_ticks
from benchmarks.servers import Transport
from benchmarks.workloads import SHAPES, Workload, Writable
from ditto.testing.servers import NatsServer, PostgresServer

# The shape, rows in all, rows in a transaction.
_QUICK: Final = (("trades", 60_000, 1), ("trades", 60_000, 100), ("trades", 100_000, 100_000), ("wide", 10_000, 100))
_FULL: Final = (
    ("trades", 200_000, 1),
    ("trades", 200_000, 100),
    ("trades", 200_000, 100_000),
    ("narrow", 200_000, 100),
    ("wide", 40_000, 100),
    ("updates", 150_000, 100),
)
_GROUPS: Final = "ditto-groups"
_PYTHON: Final = "ditto, DITTO_IMPL=python"


_CALM_SHARE: Final = 0.05
"""Of the processor time that was wanted, what may be missing in a round that counts."""


class Plan(NamedTuple):
    """What to run."""

    workloads: Sequence[Workload]
    transports: Sequence[str]
    repetitions: int
    contenders: Sequence[str]
    extra_rounds: int
    """At most so many more, for those in which the hypervisor gave the processors to others."""


class Bench:
    """Runs a plan; `results` has a row for each transport, workload and contender that the plan names."""

    def __init__(self, plan: Plan, known: Sequence[Contender], progress: Progress) -> None:
        self._plan = plan
        self._contenders = [each for each in known if each.name in plan.contenders]
        self._progress = progress
        drains = len(plan.workloads) * plan.repetitions * len(plan.transports) * len(self._contenders)
        self._bar = progress.add_task("starting", total=drains)
        self.results: list[dict[str, Any]] = []

    async def run_on(self, server: PostgresServer, transports: Sequence[Transport]) -> None:
        """All workloads over these transports of one server."""
        with psycopg.connect(server.dsn, autocommit=True) as control:
            for workload in self._plan.workloads:
                self._progress.update(self._bar, description=f"{workload.name}: writing the WAL")
                with written(control, workload) as end_lsn:
                    for transport in transports:
                        await self._compare(control, transport, workload, end_lsn)

    async def _compare(
        self, control: Connection[TupleRow], transport: Transport, workload: Workload, end_lsn: str
    ) -> None:
        rounds: list[tuple[float, dict[str, Drain]]] = []
        while self._needs_round([stolen for stolen, _ in rounds]):
            stolen_before, wanted_before = processor_ticks()
            drains = {}
            for contender in self._contenders:
                self._progress.update(self._bar, description=f"{transport.name}, {workload.name}: {contender.name}")
                with copied(control, workload.table) as slot:
                    task = Task(
                        transport,
                        slot,
                        workload.table,
                        workload.rows,
                        end_lsn,
                        -(-workload.rows // workload.rows_per_transaction),
                    )
                    drains[contender.name] = await contender.drain(task)
                    _check_confirmed(control, slot, end_lsn)
                self._progress.advance(self._bar)
            stolen, wanted = processor_ticks()
            rounds.append(((stolen - stolen_before) / max(wanted - wanted_before, 1), drains))
        # Chosen by what disturbed the round, never by what came out of it.
        chosen = sorted(rounds, key=lambda each: each[0])[: self._plan.repetitions]
        self.results += _summaries(transport.name, workload, chosen)

    def _needs_round(self, stolen: Sequence[float]) -> bool:
        """Whether another round is due: too few so far, or too few that the hypervisor left alone."""
        calm_count = sum(share <= _CALM_SHARE for share in stolen)
        if len(stolen) < self._plan.repetitions:
            return True
        if calm_count >= self._plan.repetitions or len(stolen) >= self._plan.repetitions + self._plan.extra_rounds:
            return False
        task = self._progress.tasks[self._bar]
        self._progress.update(self._bar, total=(task.total or 0) + len(self._contenders))
        return True


def _contenders(nats_server: NatsServer) -> list[Contender]:
    return [
        RecvLogical(),
        DittoNull(),
        DittoJetStream(nats_server, name="ditto"),
        DittoGroups(nats_server),
        DittoJetStream(nats_server, name=_PYTHON, environment={"DITTO_IMPL": "python"}),
    ]


@contextmanager
def written(control: Connection[TupleRow], workload: Writable) -> Iterator[str]:
    """The workload's WAL with a slot before it, which has the publication's name; gives the LSN after it."""
    workload.prepare(control)
    control.execute("CHECKPOINT")
    control.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [workload.publication])
    try:
        workload.write(control)
        row = control.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
        # The asynchronous commits have to be on disk: a slot delivers nothing before.
        control.execute("SELECT pg_switch_wal()")
        if row is None:
            raise RuntimeError("no WAL position")
        yield str(row[0])
    finally:
        control.execute("SELECT pg_drop_replication_slot(%s)", [workload.publication])
        workload.remove(control)


@contextmanager
def copied(control: Connection[TupleRow], source: str) -> Iterator[str]:
    """A copy of the slot `source`, dropped at the end."""
    slot = f"{source}_copy"
    control.execute("SELECT pg_copy_logical_replication_slot(%s, %s)", [source, slot])
    try:
        yield slot
    finally:
        control.execute(
            "SELECT pg_terminate_backend(active_pid, 30000) FROM pg_replication_slots WHERE slot_name = %s AND active",
            [slot],
        )
        control.execute("SELECT pg_drop_replication_slot(%s)", [slot])


def _check_confirmed(control: Connection[TupleRow], slot: str, end_lsn: str) -> None:
    """Raise WrongCount unless the slot was confirmed up to the last transaction (its commit record, or past it)."""
    query = "SELECT %s::pg_lsn - confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s"
    row = control.execute(query, [end_lsn, slot]).fetchone()
    if row is None or row[0] > LAST_RECORDS_BYTES:
        raise WrongCount(f"slot {slot} ends {row and row[0]} bytes before the last transaction")


def _summaries(
    transport: str, workload: Workload, rounds: Sequence[tuple[float, dict[str, Drain]]]
) -> Iterator[dict[str, Any]]:
    drains = {name: [each[name] for _, each in rounds] for name in rounds[0][1]}

    def median_of(found: list[Drain], figure: Callable[[Drain], float]) -> float:
        return statistics.median(figure(drain) for drain in found)

    def rate(found: list[Drain]) -> float:
        return workload.rows / median_of(found, lambda drain: drain.duration_s)

    def cpu_us(found: list[Drain], figure: Callable[[Drain], float]) -> float:
        return round(median_of(found, figure) / workload.rows * 1e6, 3)

    for name, found in drains.items():
        yield {
            "transport": transport,
            "workload": workload.name,
            "rows": workload.rows,
            "contender": name,
            "events_per_s": round(rate(found)),
            "low": round(workload.rows / max(drain.duration_s for drain in found)),
            "high": round(workload.rows / min(drain.duration_s for drain in found)),
            "repetitions": len(found),
            "stolen_percent": round(100 * statistics.median(stolen for stolen, _ in rounds), 1),
            "ratio": round(rate(found) / rate(drains[RecvLogical.name]), 3) if RecvLogical.name in drains else None,
            "client_cpu_us": cpu_us(found, lambda drain: drain.client_cpu_s),
            "walsender_cpu_us": cpu_us(found, lambda drain: drain.walsender_cpu_s),
            "nats_cpu_us": cpu_us(found, lambda drain: drain.nats_cpu_s),
            "peak_rss_mb": round(max(drain.peak_rss_bytes for drain in found) / 1e6, 1),
        }


async def run(plan: Plan, console: Console) -> tuple[list[dict[str, Any]], list[str]]:
    """The results, and notes about what could not be run."""
    notes: list[str] = []
    bin_dir = servers.installed_bin_dir()
    if "tls" in plan.transports and bin_dir is None:
        notes.append("TLS skipped: it needs an installed PostgreSQL, the embedded one is built without")
        plan = plan._replace(transports=[name for name in plan.transports if name != "tls"])
    columns = (TextColumn("{task.description:<48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        bench = Bench(plan, _contenders(nats_server), progress)
        plain = {"tcp", "unix"} & set(plan.transports)
        if plain:
            with servers.embedded() as server:
                known = (Transport("tcp", server, server.dsn), Transport("unix", server, server.socket_dsn))
                await bench.run_on(server, [each for each in known if each.name in plain])
        if "tls" in plan.transports and bin_dir is not None:
            with servers.with_tls(bin_dir) as server:
                await bench.run_on(server, [Transport("tls", server, f"{server.dsn}?sslmode=require")])
            notes.append(f"TLS: PostgreSQL {bin_dir.parent.name}; the others: the embedded one")
    order = list(plan.transports)
    return sorted(bench.results, key=lambda each: order.index(each["transport"])), notes


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="pipeline (median; CPU in µs an event)", title_justify="left")
    for heading in ("transport", "workload", "contender"):
        made.add_column(heading)
    for heading in ("events/s", "low-high", "÷ pg_recvlogical", "client", "walsender", "nats", "peak MB", "stolen %"):
        made.add_column(heading, justify="right")
    previous = None
    for each in results:
        group = (each["transport"], each["workload"])
        if previous not in {None, group}:
            made.add_section()
        previous = group
        made.add_row(
            *group,
            each["contender"],
            f"{each['events_per_s']:,}",
            f"{each['low'] / 1000:,.0f}k-{each['high'] / 1000:,.0f}k",
            "-" if each["ratio"] is None else f"{each['ratio']:.2f}",
            f"{each['client_cpu_us']:.2f}",
            f"{each['walsender_cpu_us']:.2f}",
            f"{each['nats_cpu_us']:.2f}",
            f"{each['peak_rss_mb']:.0f}" if each["peak_rss_mb"] else "-",
            f"{each['stolen_percent']:.0f}",
        )
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_pipeline")
    parser.add_argument("--quick", action="store_true", help="small workloads over TCP, without plain Python")
    parser.add_argument("--transport", action="append", choices=["tcp", "unix", "tls"], help="only this one")
    parser.add_argument("--workload", action="append", metavar="SHAPE/ROWS", help="only this one, such as trades/100")
    parser.add_argument("--contender", action="append", help="only this one; repeat for several")
    parser.add_argument("--rows", type=int, help="rows of each workload")
    parser.add_argument("--repetitions", type=int, help="of every drain")
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    is_quick = arguments.quick
    wanted = [tuple(name.split("/")) for name in arguments.workload or ()]
    workloads = [
        Workload(SHAPES[shape], arguments.rows or rows, size)
        for shape, rows, size in (_QUICK if is_quick else _FULL)
        if not wanted or (shape, str(size)) in wanted
    ]
    contenders = [RecvLogical.name, DittoNull.name, "ditto", _GROUPS] + [_PYTHON] * (not is_quick)
    plan = Plan(
        workloads,
        arguments.transport or (["tcp"] if is_quick else ["tcp", "unix", "tls"]),
        arguments.repetitions or 3,
        arguments.contender or contenders,
        0 if is_quick else 4,
    )
    console = terminal()
    results, notes = uvloop.run(run(plan, console))
    console.print(table(results))
    for note in notes:
        console.print(note)
    is_partial = bool(arguments.workload or arguments.contender or arguments.rows)
    return record.write("pipeline", results, quick=is_quick, notes=notes, is_partial=is_partial)


if __name__ == "__main__":
    main()
