"""Where Ditto's CPU time goes, in ns an event: `python -m benchmarks.bench_stages`."""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import cores, record, servers, snapshot_stages
from benchmarks.bench_pipeline import copied, written
from benchmarks.capture import captured
from benchmarks.cases import terminal, timed
from benchmarks.contenders import DittoJetStream, Task
from benchmarks.servers import Transport
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import NatsServer

STAGES: Final = ("read", "decode", "encode", "frame", "write", "acknowledge", "everything else")
"""Reading and decoding are one call. What decoding takes is measured alone, on captured frames of the same rows; the
rest of that call is `read`. `write` is the copy into the kernel; everything else is the event loop, nats-py around
these, and freeing the events."""
_REPETITIONS: Final = 3
_WORKLOADS: Final = (("trades", 300_000, 100), ("wide", 40_000, 100))


async def run(workloads: Sequence[Workload], console: Console) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A row for each workload and stage: the median of the runs, over TCP; and the same of a snapshot's rows."""
    results, snapshots = [], []
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-") as name,
        NatsServer(Path(name) / "nats") as nats_server,
        servers.embedded() as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
        console.status("stages") as status,
    ):
        output = Path(name) / "stages.json"
        program = (sys.executable, "-m", "benchmarks.staged_pipeline", str(output), "run")
        contender = DittoJetStream(nats_server, name="ditto", program=program)
        for workload in workloads:
            status.update(f"stages: {workload.name}")
            found: dict[str, list[float]] = defaultdict(list)
            frames = captured()[workload.shape.name]
            decode_s = 1 / timed(functools.partial(cores.decode, cores.CORES[0], frames), rounds=7).median
            with written(control, workload) as end_lsn:
                for _ in range(_REPETITIONS):
                    with copied(control, workload.table) as slot:
                        transport = Transport("tcp", server, server.dsn)
                        task = Task(transport, slot, workload.table, workload.rows, end_lsn)
                        drain = await contender.drain(task)
                    spent = json.loads(output.read_text())
                    spent["everything else"] = drain.client_cpu_s - sum(spent.values())
                    spent["decode"] = decode_s * workload.rows
                    spent["read"] = spent.pop("read, decode") - spent["decode"]
                    for stage in STAGES:
                        found[stage].append(spent[stage] / workload.rows * 1e9)
                snapshots += snapshot_stages.measure(server, workload)
            results += [
                {"workload": workload.name, "stage": stage, "ns": round(statistics.median(found[stage]))}
                for stage in STAGES
            ]
    return results, snapshots


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="Ditto's CPU, ns an event", title_justify="left")
    made.add_column("stage")
    workloads = list(dict.fromkeys(each["workload"] for each in results))
    figures = {(each["workload"], each["stage"]): each["ns"] for each in results}
    for workload in workloads:
        made.add_column(workload, justify="right")
    for stage in STAGES:
        made.add_row(stage, *(f"{figures[workload, stage]:,}" for workload in workloads))
    made.add_section()
    totals = (sum(figures[workload, stage] for stage in STAGES) for workload in workloads)
    made.add_row("together", *(f"{total:,}" for total in totals))
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_stages")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows")
    is_quick = parser.parse_args(None if quick is None else ["--quick"] * quick).quick
    console = terminal()
    workloads = [Workload(SHAPES[shape], rows // (5 if is_quick else 1), size) for shape, rows, size in _WORKLOADS]
    results, snapshots = uvloop.run(run(workloads, console))
    console.print(table(results))
    console.print(snapshot_stages.table(snapshots))
    record.write("snapshot_stages", snapshots, quick=is_quick)
    return record.write("stages", results, quick=is_quick)


if __name__ == "__main__":
    main()
