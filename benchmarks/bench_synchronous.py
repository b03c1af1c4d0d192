"""What a COMMIT costs that waits for its events to be stored: `python -m benchmarks.bench_synchronous`.

One client commits rows one by one, in turns: plainly, and with Ditto as a synchronous standby
(`synchronous_commit = remote_apply`). PostgreSQL synchronises its WAL to the disk in both.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

import nats
import psycopg
import uvloop
from psycopg import Connection
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from benchmarks import record, servers
from benchmarks.bench_pipeline import written
from benchmarks.cases import terminal
from benchmarks.contenders import DittoJetStream, Ending, Stream, stop, streaming
from benchmarks.servers import ReplicationLog, Transport
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import NatsServer, PostgresServer

_KINDS: Final = {"plain": "local", "stored": "remote_apply"}
_ROUNDS: Final = 5
_START_DEADLINE_S: Final = 60.0
_WARM_UP: Final = 50


async def run(commits: int, console: Console) -> dict[str, Any]:
    """Seconds that commits took, as percentiles, by kind."""
    workload = Workload(SHAPES["trades"], 0, 1)
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-") as folder,
        NatsServer(Path(folder) / "nats") as nats_server,
        PostgresServer(
            Path(folder) / "postgres", settings=servers.SETTINGS | {"fsync": "on", "synchronous_standby_names": "ditto"}
        ) as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
    ):
        control.execute("SET synchronous_commit = local")  # nobody stands by yet
        with written(control, workload), console.status("synchronous: starting") as status:
            client = await nats.connect(nats_server.url)
            try:
                contender = DittoJetStream(nats_server, name="ditto")
                stream = Stream(client, workload.publication)
                log = ReplicationLog(server.log_path)
                process = await contender.start(
                    Transport("tcp", server, server.dsn), slot=stream.name, publication=workload.publication
                )
                async with Ending(process):
                    await log.started(stream.name)
                    async with asyncio.timeout(_START_DEADLINE_S):
                        await streaming(stream, process)
                    status.update(f"synchronous: {commits} commits of each kind")
                    taken = await asyncio.to_thread(_commit, control, workload, commits)
                    await stop(process)
            finally:
                await client.close()
    return {kind: _percentiles(seconds) for kind, seconds in taken.items()} | {"commits": commits}


def _commit(connection: Connection[TupleRow], workload: Workload, commits: int) -> dict[str, list[float]]:
    """Both kinds in turns, so that what else the machine does falls on both."""
    statement = workload.insert("%s::bigint", "%s::bigint").replace("% ", "%% ").encode()
    taken: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    number = 0
    for _ in range(_ROUNDS):
        for kind, setting in _KINDS.items():
            connection.execute(f"SET synchronous_commit = {setting}".encode())
            for count in range(_WARM_UP + commits // _ROUNDS):
                number += 1
                begun = time.perf_counter()
                connection.execute(statement, [number, number], prepare=True)
                if count >= _WARM_UP:
                    taken[kind].append(time.perf_counter() - begun)
    connection.execute("SET synchronous_commit = local")
    return taken


def _percentiles(seconds: list[float]) -> dict[str, float]:
    cuts = quantiles(seconds, n=100)
    return {f"p{percent}_ms": round(cuts[percent - 1] * 1e3, 3) for percent in (50, 95, 99)}


def table(result: dict[str, Any]) -> Table:
    """The table for the terminal."""
    made = Table(title=f"{result['commits']} commits of one row, ms", title_justify="left")
    made.add_column("COMMIT returns")
    for heading in ("p50", "p95", "p99"):
        made.add_column(heading, justify="right")
    for kind, words in (("plain", "when it is on disk"), ("stored", "when its event is stored")):
        made.add_row(words, *(f"{result[kind][f'{name}_ms']:.2f}" for name in ("p50", "p95", "p99")))
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_synchronous")
    parser.add_argument("--quick", action="store_true", help="500 commits of each kind instead of 5,000")
    is_quick = parser.parse_args(None if quick is None else ["--quick"] * quick).quick
    console = terminal()
    result = uvloop.run(run(500 if is_quick else 5_000, console))
    console.print(table(result))
    return record.write("synchronous", result, quick=is_quick)


if __name__ == "__main__":
    main()
