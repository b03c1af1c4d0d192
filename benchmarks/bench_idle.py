"""What Ditto costs while nothing happens: `python -m benchmarks.bench_idle`."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import nats
import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import record, servers
from benchmarks.bench_pipeline import written
from benchmarks.cases import terminal
from benchmarks.contenders import DittoJetStream, Ending, Stream, stop, streaming
from benchmarks.metering import Meter, peak_rss_bytes
from benchmarks.servers import ReplicationLog, Transport
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import NatsServer

_SETTLE_S: Final = 1.0
"""What the start has left to do is not idleness."""
_START_DEADLINE_S: Final = 60.0


async def run(duration_s: float, console: Console) -> dict[str, Any]:
    """CPU in % of a core of Ditto and of what serves it, for so long, on an empty table."""
    workload = Workload(SHAPES["trades"], 0, 1)
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        servers.embedded() as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
        written(control, workload),
        console.status("idle: starting") as status,
    ):
        client = await nats.connect(nats_server.url)
        try:
            contender = DittoJetStream(nats_server, name="ditto")
            stream = Stream(client, workload.publication)
            log = ReplicationLog(server.log_path)
            process = await contender.start(
                Transport("tcp", server, server.dsn), slot=stream.name, publication=workload.publication
            )
            async with Ending(process):
                _, walsender_pid = await log.started(stream.name)
                async with asyncio.timeout(_START_DEADLINE_S):
                    await streaming(stream, process)
                await asyncio.sleep(_SETTLE_S)
                status.update(f"idle: {duration_s:g} s")
                pids = {"client": process.pid, "walsender": walsender_pid, "nats": nats_server.pid}
                meters = {who: Meter(pid) for who, pid in pids.items()}
                begun = time.monotonic()
                await asyncio.sleep(duration_s)
                used_s = {who: meter.read() for who, meter in meters.items()}
                elapsed_s = time.monotonic() - begun
                peak = peak_rss_bytes(process.pid)
                await stop(process)
        finally:
            await client.close()
    shares = {f"{who}_cpu_percent": round(spent_s / elapsed_s * 100, 3) for who, spent_s in used_s.items()}
    return {"duration_s": round(elapsed_s, 1), **shares, "peak_rss_mb": round(peak / 1e6, 1)}


def table(result: dict[str, Any]) -> Table:
    """The table for the terminal."""
    made = Table(title=f"idle for {result['duration_s']:.0f} s (CPU in % of a core)", title_justify="left")
    for heading in ("ditto", "walsender", "nats", "peak MB"):
        made.add_column(heading, justify="right")
    shares = (f"{result[f'{who}_cpu_percent']:.2f}" for who in ("client", "walsender", "nats"))
    made.add_row(*shares, f"{result['peak_rss_mb']:.0f}")
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_idle")
    parser.add_argument("--quick", action="store_true", help="10 s instead of 20")
    is_quick = parser.parse_args(None if quick is None else ["--quick"] * quick).quick
    console = terminal()
    result = uvloop.run(run(10.0 if is_quick else 20.0, console))
    console.print(table(result))
    return record.write("idle", result, quick=is_quick)


if __name__ == "__main__":
    main()
