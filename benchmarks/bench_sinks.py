"""Every sink beside JetStream, on the same WAL: `python -m benchmarks.bench_sinks`.

Trades in transactions of 100 rows; each sink drains them in turn, again and again, from a fresh copy of the same slot.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import record, servers
from benchmarks.bench_pipeline import Bench, Plan
from benchmarks.cases import terminal
from benchmarks.contenders import Contender, DittoJetStream
from benchmarks.rabbitmq_contender import RabbitMQ
from benchmarks.servers import Transport
from benchmarks.sink_contenders import DittoInto, File, Kafka, Redis, Webhook
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.kafka_server import KafkaServer
from ditto.testing.rabbitmq_server import RabbitMQServer
from ditto.testing.redis_server import RedisServer
from ditto.testing.servers import NatsServer

JETSTREAM: Final = "jetstream"
LEAST: Final = {"file": 1.2, "kafka": 0.6, "redis": 0.5, "rabbitmq": 0.4, "webhook": 0.3}
"""Events/s ÷ JetStream's, that each should reach."""
SINKS: Final = (JETSTREAM, *LEAST)


def _contenders(names: Sequence[str], folder: Path, stack: ExitStack) -> list[Contender]:
    """Those of these names, with the servers that they need."""
    nats_server = stack.enter_context(NatsServer(folder / "nats"))
    found: list[Contender] = [DittoJetStream(nats_server, name=JETSTREAM)]
    if "file" in names:
        found.append(DittoInto(File(folder)))
    if "kafka" in names:
        found.append(DittoInto(Kafka(stack.enter_context(KafkaServer(folder / "kafka")))))
    if "redis" in names:
        found.append(DittoInto(Redis(stack.enter_context(RedisServer(folder / "redis")))))
    if "rabbitmq" in names:
        found.append(DittoInto(RabbitMQ(stack.enter_context(RabbitMQServer(folder / "rabbitmq")))))
    if "webhook" in names:
        found.append(DittoInto(stack.enter_context(Webhook(folder))))
    return found


async def run(plan: Plan) -> list[dict[str, Any]]:
    """A row for each sink; `ratio` is its events/s ÷ JetStream's."""
    columns = (TextColumn("{task.description:<48}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-sinks-") as folder,
        Progress(*columns, console=terminal(), transient=True) as progress,
        servers.embedded() as server,
        ExitStack() as stack,
    ):
        bench = Bench(plan, _contenders(plan.contenders, Path(folder), stack), progress)
        await bench.run_on(server, [Transport("tcp", server, server.dsn)])
    rate = next(each["events_per_s"] for each in bench.results if each["contender"] == JETSTREAM)
    return [each | {"ratio": round(each["events_per_s"] / rate, 3)} for each in bench.results]


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="sinks (median; CPU in µs an event)", title_justify="left")
    made.add_column("sink")
    for heading in ("events/s", "low-high", "÷ jetstream", "least", "client", "walsender", "server", "peak MB"):
        made.add_column(heading, justify="right")
    for each in results:
        least = LEAST.get(each["contender"])
        made.add_row(
            each["contender"],
            f"{each['events_per_s']:,}",
            f"{each['low'] / 1000:,.0f}k-{each['high'] / 1000:,.0f}k",
            f"{each['ratio']:.2f}",
            "" if least is None else f"{least:.1f}",
            f"{each['client_cpu_us']:.2f}",
            f"{each['walsender_cpu_us']:.2f}",
            f"{each['nats_cpu_us']:.2f}",
            f"{each['peak_rss_mb']:.0f}",
        )
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_sinks")
    parser.add_argument("--quick", action="store_true", help="fewer rows")
    parser.add_argument("--sink", action="append", choices=SINKS[1:], help="only this one, and JetStream")
    parser.add_argument("--rows", type=int, help="rows in all")
    parser.add_argument("--repetitions", type=int, help="of every drain")
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    rows = arguments.rows or (60_000 if arguments.quick else 200_000)
    sinks = [JETSTREAM, *(arguments.sink or LEAST)]
    plan = Plan([Workload(SHAPES["trades"], rows, 100)], ["tcp"], arguments.repetitions or 3, sinks, 0)
    results = uvloop.run(run(plan))
    terminal().print(table(results))
    is_partial = bool(arguments.sink or arguments.rows)
    return record.write("sinks", results, quick=arguments.quick, is_partial=is_partial)


if __name__ == "__main__":
    main()
