"""Snapshots beside what PostgreSQL and Ditto do without them: `python -m benchmarks.bench_snapshot`.

Up to six parts, all over TCP to JetStream, rows of trades:

- throughput: in each round the same rows are stored as live events (100-row transactions, from the start of streaming
  to the last event), then as a snapshot (from the request to the last READ), and then only read, by `COPY t TO STDOUT`
  of psql into /dev/null. The figures are ratios within a round, and their medians.
- groups: the same three with `events.group`, and the live events without it, which is what the rows are compared with.
- bounds: what a row takes with everything else removed: COPY alone, and nats-server alone with messages that are
  ready, of one row and of so many as a group has; of a snapshot in groups the CPU time of Ditto and of nats-server.
- latency: a client commits 1,000 single rows a second while snapshots run one after the other; from the return of each
  COMMIT to the time at which nats-server stored its event.
- memory: one snapshot of many rows, and Ditto's resident memory meanwhile.

- unused: live events with no snapshot running, beside the Ditto of another checkout (`--before FOLDER`), in turn.

In all but the last the longest that a transaction of Ditto's was open is measured too, twenty times a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import nats
import psycopg
import uvloop
from nats.aio.client import Client
from psycopg import Connection
from psycopg.rows import TupleRow
from rich.console import Console

from benchmarks import nats_alone, record, servers
from benchmarks.bench_latency import Pace, stored_at, summary, write
from benchmarks.bench_pipeline import copied, written
from benchmarks.cases import terminal
from benchmarks.contenders import DittoGroups, DittoJetStream, Ending, Stream, Task, WrongCount, stop, streaming
from benchmarks.metering import Meter, peak_rss_bytes
from benchmarks.servers import ReplicationLog, Transport
from benchmarks.snapshot_goals import table
from benchmarks.snapshot_watch import Watch
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import NatsServer, PostgresServer

_POLL_S: Final = 0.05
_DEADLINE_S: Final = 900.0
_PER_S: Final = 1_000
_LIVE_ROWS: Final = 100
"""In a transaction of the live events that a snapshot is compared with."""


class Snapshot(NamedTuple):
    """One run, from its request to its last READ."""

    rows: int
    duration_s: float
    cpu_s: float
    nats_cpu_s: float
    stored_bytes: int
    peak_rss_bytes: int
    rss_bytes: list[int]
    """Now and then, all the while."""
    longest_transaction_s: float


class Bench:
    """The servers, and the table with its rows."""

    def __init__(self, server: PostgresServer, nats_server: NatsServer, control: Connection[TupleRow]) -> None:
        self._server = server
        self._nats_server = nats_server
        self._control = control
        self._transport = Transport("tcp", server, server.dsn)
        self._live = DittoJetStream(nats_server, name="ditto")
        self._groups = DittoGroups(nats_server)
        self._number = 0

    # ------------------------------------------------------------------------------------ throughput

    async def throughput(self, rows: int, repetitions: int) -> dict[str, Any]:
        """Live, snapshot and COPY in turn, `repetitions` times."""
        workload = Workload(SHAPES["trades"], rows, _LIVE_ROWS)
        live, snapshots, copies = [], [], []
        with written(self._control, workload) as end_lsn:
            self._control.execute(f"ANALYZE {workload.table}".encode())
            for _ in range(repetitions):
                with copied(self._control, workload.table) as slot:
                    task = Task(self._transport, slot, workload.table, workload.rows, end_lsn)
                    drain = await self._live.drain(task)
                live.append(rows / (drain.duration_s - drain.set_up_s))
                snapshots.append(await self._snapshot(workload))
                copies.append(rows / self._copy(workload.table))
        return {"part": "throughput", "rows": rows, "repetitions": repetitions} | _compared(snapshots, live, copies)

    def _copy(self, table: str) -> float:
        """Seconds that psql takes."""
        command: list[str | Path] = [
            *(self._server.bin_dir / "psql", "--no-psqlrc", "--dbname", self._server.dsn, "--output", "/dev/null"),
            *("--command", f"COPY {table} TO STDOUT"),
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started

    async def groups(self, rows: int, repetitions: int) -> dict[str, Any]:
        """Live events one by one and in groups, a snapshot in groups, and COPY, in turn."""
        workload = Workload(SHAPES["trades"], rows, _LIVE_ROWS)
        live: dict[str, list[float]] = {self._live.name: [], self._groups.name: []}
        snapshots, copies = [], []
        with written(self._control, workload) as end_lsn:
            self._control.execute(f"ANALYZE {workload.table}".encode())
            for _ in range(repetitions):
                for contender in (self._live, self._groups):
                    with copied(self._control, workload.table) as slot:
                        task = Task(self._transport, slot, workload.table, workload.rows, end_lsn)
                        drain = await contender.drain(task)
                    live[contender.name].append(rows / (drain.duration_s - drain.set_up_s))
                snapshots.append(await self._snapshot(workload, in_groups=True))
                copies.append(rows / self._copy(workload.table))
        found = _compared(snapshots, live[self._live.name], copies)
        found |= {"live_events_in_groups_per_s": round(statistics.median(live[self._groups.name]))}
        return {"part": "groups", "rows": rows, "repetitions": repetitions} | found

    async def _snapshot(self, workload: Workload, *, in_groups: bool = False) -> Snapshot:
        contender = self._groups if in_groups else self._live
        async with self._ditto(workload.table, contender) as (process, stream, _):
            with Watch(self._server.dsn, process.pid) as watch:
                meter, nats_meter, begun = Meter(process.pid), Meter(self._nats_server.pid), time.time()
                self._request("run", workload.table)
                await _finished(stream, "run", process)
                cpu_s, nats_cpu_s, peak = meter.read(), nats_meter.read(), peak_rss_bytes(process.pid)
            ended, size = await stream.last_event_at(), await stream.stored_bytes()
            count = await (stream.grouped_count() if in_groups else stream.event_count())
        if count != workload.rows:
            raise WrongCount(f"the stream holds {count} rows where the table has {workload.rows}")
        return Snapshot(count, ended - begun, cpu_s, nats_cpu_s, size, peak, watch.rss_bytes, watch.longest_s)

    def _request(self, run: str, table: str) -> None:
        body = json.dumps({"start": [f"public.{table}"], "run": run})
        # A slot delivers nothing before it is on disk, and commits are asynchronous here.
        with psycopg.connect(self._server.dsn, options="-c synchronous_commit=on") as connection:
            connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s)", [body])

    @asynccontextmanager
    async def _ditto(
        self, publication: str, contender: DittoJetStream | None = None
    ) -> AsyncIterator[tuple[Process, Stream, Client]]:
        """`ditto run` on a slot that begins now, until it is left."""
        self._number += 1
        slot = f"snapshot_{self._number}"
        self._control.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        log = ReplicationLog(self._server.log_path)
        client = await nats.connect(self._nats_server.url)
        stream = Stream(client, slot)
        try:
            process = await (contender or self._live).start(self._transport, slot=slot, publication=publication)
            async with Ending(process):
                await log.started(slot)
                async with asyncio.timeout(_DEADLINE_S):
                    await streaming(stream, process)
                    yield process, stream, client
                await stop(process)
            await stream.delete()
        finally:
            await client.close()
        self._control.execute("SELECT pg_drop_replication_slot(%s)", [slot])

    async def unused(self, before: Path, rows: int, repetitions: int) -> dict[str, Any]:
        """Live events alone, by this Ditto and by that of the checkout `before`."""
        program = (str(before / ".venv" / "bin" / "python"), "-m", "ditto", "run")
        other = DittoJetStream(self._nats_server, name="before", program=program, folder=before)
        workload = Workload(SHAPES["trades"], rows, _LIVE_ROWS)
        rates: dict[str, list[float]] = {self._live.name: [], other.name: []}
        with written(self._control, workload) as end_lsn:
            for number in range(2 * repetitions):
                for contender in (self._live, other) if number % 2 else (other, self._live):
                    with copied(self._control, workload.table) as slot:
                        task = Task(self._transport, slot, workload.table, workload.rows, end_lsn)
                        drain = await contender.drain(task)
                    rates[contender.name].append(rows / (drain.duration_s - drain.set_up_s))
        return {
            "part": "unused",
            "rows": rows,
            "repetitions": 2 * repetitions,
            "live_events_per_s": round(statistics.median(rates[self._live.name])),
            "before_events_per_s": round(statistics.median(rates[other.name])),
            "to_before": _median_ratio(rates[self._live.name], rates[other.name]),
        }

    # ------------------------------------------------------------------------------------ bounds

    async def bounds(self, rows: int, repetitions: int) -> dict[str, Any]:
        """Each in turn, `repetitions` times; µs a row."""
        workload = Workload(SHAPES["trades"], rows, min(rows, 100_000))
        found: dict[str, list[float]] = {}
        with self._filled(workload):
            for _ in range(repetitions):
                snapshot = await self._snapshot(workload, in_groups=True)
                row_bytes = snapshot.stored_bytes // rows
                figures = {
                    "copy_us": self._copy(workload.table) / rows * 1e6,
                    "snapshot_us": snapshot.duration_s / rows * 1e6,
                    "snapshot_ditto_cpu_us": snapshot.cpu_s / rows * 1e6,
                    "snapshot_nats_cpu_us": snapshot.nats_cpu_s / rows * 1e6,
                }
                for size in nats_alone.ROWS_A_MESSAGE:
                    alone = await nats_alone.store(
                        self._nats_server, rows=rows, row_bytes=row_bytes, rows_a_message=size
                    )
                    figures |= {f"nats_alone_{size}_{key}": value for key, value in alone.items()}
                for key, value in figures.items():
                    found.setdefault(key, []).append(value)
        medians = {key: round(statistics.median(values), 3) for key, values in found.items()}
        return {"part": "bounds", "rows": rows, "repetitions": repetitions, "row_bytes": row_bytes, **medians}

    # ------------------------------------------------------------------------------------ latency

    async def latency(self, rows: int, duration_s: float) -> dict[str, Any]:
        """Commits at a steady pace beside snapshots of another table."""
        table = Workload(SHAPES["trades"], rows, rows)
        pace = Pace(_PER_S, 1, duration_s)
        live = Workload(SHAPES["narrow"], pace.transaction_count, 1)
        with self._filled(table), psycopg.connect(self._server.dsn, autocommit=True) as connection:
            connection.execute("SET synchronous_commit = on")
            live.prepare(connection)
            connection.execute(f"ALTER PUBLICATION {live.table} ADD TABLE {table.table}".encode())
            async with self._ditto(live.table) as (process, stream, client):
                with Watch(self._server.dsn, process.pid) as watch:
                    writing = asyncio.ensure_future(asyncio.to_thread(write, connection, live, pace))
                    runs: list[tuple[float, float]] = []
                    while not writing.done():
                        run, begun = f"run-{len(runs)}", time.time()
                        self._request(run, table.table)
                        await _finished(stream, run, process)
                        runs.append((begun, time.time()))
                    committed = await writing
                await stream.wait_for(live.rows + rows * len(runs), period_s=_POLL_S)
                stored = await stored_at(client, stream.name, live.rows, subject=f"ditto_public_{live.table}")
            live.remove(connection)
        if len(stored) != len(committed):
            raise WrongCount(f"{len(stored)} events where {len(committed)} rows were committed")
        ended = runs[-1][1]
        taken = [
            at - committed_at
            for committed_at, at in zip(committed, stored, strict=True)
            if runs[0][0] < committed_at < ended
        ]
        found = summary(f"{_PER_S:,} transactions/s", taken)
        found |= {"part": "latency", "rows": rows, "runs": len(runs)}
        return found | {"longest_transaction_s": round(watch.longest_s, 3)}

    @contextmanager
    def _filled(self, workload: Workload) -> Iterator[None]:
        workload.prepare(self._control)
        workload.write(self._control)
        self._control.execute(f"VACUUM ANALYZE {workload.table}".encode())
        try:
            yield
        finally:
            workload.remove(self._control)

    # ------------------------------------------------------------------------------------ memory

    async def memory(self, rows: int) -> dict[str, Any]:
        """One snapshot of so many rows."""
        workload = Workload(SHAPES["trades"], rows, min(rows, 100_000))
        with self._filled(workload):
            found = await self._snapshot(workload)
        fifth = max(1, len(found.rss_bytes) // 5)
        early, late = found.rss_bytes[fifth : 2 * fifth], found.rss_bytes[-fifth:]
        return {
            "part": "memory",
            "rows": rows,
            "snapshot_rows_per_s": round(rows / found.duration_s),
            "peak_rss_mb": round(found.peak_rss_bytes / 1e6, 1),
            "late_to_early": round(statistics.median(late or [0]) / max(statistics.median(early or [1]), 1), 3),
            "longest_transaction_s": round(found.longest_transaction_s, 3),
        }


def _compared(snapshots: Sequence[Snapshot], live: Sequence[float], copies: Sequence[float]) -> dict[str, Any]:
    """Snapshots beside live events and COPY, both in rows a second, of the same rounds."""
    rates = [each.rows / each.duration_s for each in snapshots]
    return {
        "live_events_per_s": round(statistics.median(live)),
        "snapshot_rows_per_s": round(statistics.median(rates)),
        "copy_rows_per_s": round(statistics.median(copies)),
        "to_live": _median_ratio(rates, live),
        "to_copy": _median_ratio(rates, copies),
        "client_cpu_us": round(statistics.median(each.cpu_s / each.rows for each in snapshots) * 1e6, 3),
        "peak_rss_mb": round(max(each.peak_rss_bytes for each in snapshots) / 1e6, 1),
        "longest_transaction_s": round(max(each.longest_transaction_s for each in snapshots), 3),
    }


def _median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return round(statistics.median(one / other for one, other in zip(ours, theirs, strict=True)), 3)


async def _finished(stream: Stream, run: str, process: Process) -> None:
    """Wait until that run is finished. Raises RuntimeError where it ends otherwise, or the process does."""
    while True:
        control = (await stream.newest("ditto._snapshot.run") or {}).get("snapshot", {})
        if control.get("run") == run and control["state"] == "finished":
            return
        if control.get("state") == "refused":
            raise RuntimeError(f"the request was refused: {control.get('reason')}")
        if process.returncode is not None:
            raise RuntimeError(f"ditto ended with exit code {process.returncode}")
        await asyncio.sleep(_POLL_S)


class Plan(NamedTuple):
    """What to run."""

    parts: Sequence[str]
    rows: int
    repetitions: int
    latency_s: float
    memory_rows: int
    before: Path | None


async def run(plan: Plan, console: Console) -> list[dict[str, Any]]:
    """A row for each part."""
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        servers.embedded() as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
        console.status("snapshot") as status,
    ):
        bench = Bench(server, nats_server, control)
        for part in plan.parts:
            status.update(f"snapshot: {part}")
            match part:
                case "throughput":
                    results.append(await bench.throughput(plan.rows, plan.repetitions))
                case "groups":
                    results.append(await bench.groups(plan.rows, plan.repetitions))
                case "bounds":
                    results.append(await bench.bounds(plan.rows, plan.repetitions))
                case "latency":
                    results.append(await bench.latency(plan.rows, plan.latency_s))
                case "memory":
                    results.append(await bench.memory(plan.memory_rows))
                case "unused" if plan.before is not None:
                    results.append(await bench.unused(plan.before, plan.rows, plan.repetitions))
    return results


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_snapshot")
    parser.add_argument("--quick", action="store_true", help="small tables, and no other checkout")
    parser.add_argument(
        "--part", action="append", choices=["throughput", "groups", "bounds", "latency", "memory", "unused"]
    )
    parser.add_argument("--rows", type=int, help="of the table, in each part but memory")
    parser.add_argument("--memory-rows", type=int, help="of the table whose snapshot's memory is measured")
    parser.add_argument("--seconds", type=float, help="of the commits whose latency is measured")
    parser.add_argument("--repetitions", type=int, help="of everything that is compared")
    parser.add_argument("--before", type=Path, help="a checkout with its .venv, to compare the live events with")
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    is_quick = arguments.quick
    parts = arguments.part or ["throughput", "groups", "latency", "memory", *["unused"] * bool(arguments.before)]
    if "unused" in parts and arguments.before is None:
        parser.error("--part unused needs --before")
    plan = Plan(
        parts,
        arguments.rows or (100_000 if is_quick else 500_000),
        arguments.repetitions or 3,
        arguments.seconds or (3.0 if is_quick else 20.0),
        arguments.memory_rows or (300_000 if is_quick else 5_000_000),
        arguments.before and arguments.before.resolve(),
    )
    console = terminal()
    results = uvloop.run(run(plan, console))
    console.print(table(results))
    is_partial = bool(arguments.part or arguments.rows or arguments.memory_rows)
    return record.write("snapshot", results, quick=is_quick, is_partial=is_partial)


if __name__ == "__main__":
    main()
