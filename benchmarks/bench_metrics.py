"""What the metrics cost at full speed: `python -m benchmarks.bench_metrics`.

Ditto drains the same WAL again and again: without HTTP, and with `http.listen` and /metrics read every second. With
`--baseline FOLDER` another checkout of Ditto, such as one from before a change, takes part as a third.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psycopg
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks import record, servers
from benchmarks.bench_pipeline import copied, written
from benchmarks.cases import terminal
from benchmarks.contenders import DittoJetStream, Drain, Task
from benchmarks.servers import Transport
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer

_SCRAPE_PERIOD_S: Final = 1.0
_OFF: Final = "off"
_ON: Final = "on, read every second"
_BASELINE: Final = "baseline"


async def _scraped(port: int, sizes: list[int]) -> None:
    """Read the metrics every second, as soon as somebody listens."""

    def read() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            content: bytes = answer.read()
            return content

    while True:
        with contextlib.suppress(OSError):
            sizes.append(len(await asyncio.to_thread(read)))
            await asyncio.sleep(_SCRAPE_PERIOD_S)
            continue
        await asyncio.sleep(0.05)


async def run(rows: int, repetitions: int, baseline: Path | None, console: Console) -> list[dict[str, Any]]:
    """A row for each contender: medians of the interleaved rounds, trades in transactions of 100 over TCP."""
    workload = Workload(SHAPES["trades"], rows, 100)
    drains: dict[str, list[Drain]] = defaultdict(list)
    sizes: list[int] = []
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        servers.embedded() as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
        console.status("metrics: writing the WAL") as progress,
    ):
        listen = {"DITTO_HTTP_LISTEN": f"127.0.0.1:{port}"}
        contenders = [
            DittoJetStream(nats_server, name=_OFF),
            DittoJetStream(nats_server, name=_ON, environment=listen),
        ]
        if baseline is not None:
            code = f"import sys; sys.path.insert(0, {str(baseline)!r}); from ditto.cli import main; main()"
            contenders.append(DittoJetStream(nats_server, name=_BASELINE, program=(sys.executable, "-c", code, "run")))
        with written(control, workload) as end_lsn:
            for number in range(repetitions):
                # In turn from both ends: whoever comes first has no advantage.
                for contender in contenders if number % 2 else contenders[::-1]:
                    progress.update(f"metrics: round {number + 1} of {repetitions}, {contender.name}")
                    scraping = asyncio.create_task(_scraped(port, sizes)) if contender.name == _ON else None
                    with copied(control, workload.table) as slot:
                        transport = Transport("tcp", server, server.dsn)
                        drain = await contender.drain(Task(transport, slot, workload.table, workload.rows, end_lsn))
                    drains[contender.name].append(drain)
                    if scraping is not None:
                        scraping.cancel()
    if len(sizes) < repetitions:
        raise RuntimeError("the metrics were hardly ever read")
    return [
        _summary(name, found, drains[_OFF], rows, len(sizes) if name == _ON else 0) for name, found in drains.items()
    ]


def _summary(name: str, found: list[Drain], off: list[Drain], rows: int, scrapes: int) -> dict[str, Any]:
    def ratio(figure: Callable[[Drain], float]) -> float:
        """The median of the ratios within a round."""
        pairs = zip(found, off, strict=True)
        return round(statistics.median(figure(each) / figure(other) for each, other in pairs), 4)

    return {
        "contender": name,
        "rows": rows,
        "rounds": len(found),
        "events_per_s": round(rows / statistics.median(drain.duration_s for drain in found)),
        "duration_ratio": ratio(lambda drain: drain.duration_s),
        "client_cpu_us": round(statistics.median(drain.client_cpu_s for drain in found) / rows * 1e6, 3),
        "client_cpu_ratio": ratio(lambda drain: drain.client_cpu_s),
        "scrapes": scrapes,
    }


def table(results: list[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="metrics (medians; ratios to off within a round)", title_justify="left")
    made.add_column("metrics")
    for heading in ("events/s", "time ÷ off", "CPU, µs an event", "CPU ÷ off", "scrapes"):
        made.add_column(heading, justify="right")
    for each in results:
        made.add_row(
            each["contender"],
            f"{each['events_per_s']:,}",
            f"{each['duration_ratio']:.3f}",
            f"{each['client_cpu_us']:.3f}",
            f"{each['client_cpu_ratio']:.3f}",
            str(each["scrapes"]),
        )
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_metrics")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows, three rounds")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--baseline", type=Path, help="another checkout of Ditto, built in place")
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    console = terminal()
    rows, repetitions = (arguments.rows // 5, 3) if arguments.quick else (arguments.rows, arguments.repetitions)
    results = uvloop.run(run(rows, repetitions, arguments.baseline, console))
    console.print(table(results))
    return record.write("metrics", results, quick=arguments.quick)


if __name__ == "__main__":
    main()
