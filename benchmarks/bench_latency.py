"""From commit to stored: `python -m benchmarks.bench_latency`.

A client commits at a steady pace and notes the time at which each COMMIT has returned; nats-server notes in each
message when it stored it. Both clocks are the machine's. The reference is the round trip of a bare publish to JetStream
in the same run, one at a time: through nats-py, and as bytes on a socket. CPU is that of `ditto run`, from the first
transaction on until the last one is stored.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import nats
import psycopg
import uvloop
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from psycopg import Connection
from psycopg.rows import TupleRow
from rich.console import Console
from rich.table import Table

from benchmarks import record, servers
from benchmarks.cases import terminal
from benchmarks.contenders import Ending, Stream, stop, stored, streaming
from benchmarks.metering import Meter
from benchmarks.servers import ReplicationLog
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import NatsServer, PostgresServer

# Events a second, and events in a transaction: one client cannot commit 10,000 times a second.
_RATES: Final = ((100, 1), (1_000, 1), (10_000, 10))
_WARM_UP_S: Final = 1.0
_BARE_PER_S: Final = 1_000
_BARE_PAYLOAD: Final = b"x" * 400
_ANSWER: Final = re.compile(rb"^MSG answers 1 [0-9]+\r\n\{.*\}\r\n", re.MULTILINE | re.DOTALL)
_FETCHED: Final = 500  # messages that are read at a time
_DEADLINE_S: Final = 60.0
_SETTLE_S: Final = 7.0
"""Five seconds after it has begun to stream, Ditto checks both servers once: a tenth of a second of CPU."""


class Pace(NamedTuple):
    """How much is written, and for how long."""

    events_per_s: int
    events_per_transaction: int
    duration_s: float

    @property
    def transaction_count(self) -> int:
        return round(self.events_per_s / self.events_per_transaction * (self.duration_s + _WARM_UP_S))

    def due(self) -> Iterator[float]:
        """When each transaction is to begin, in seconds from the first."""
        return (number * self.events_per_transaction / self.events_per_s for number in range(self.transaction_count))


async def bare_round_trips(url: str, duration_s: float) -> list[float]:
    """Seconds that each publish took to be acknowledged."""
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        await jetstream.add_stream(name="BARE", subjects=["bare"])
        taken: list[float] = []
        begun = time.perf_counter()
        for number in range(round(_BARE_PER_S * (duration_s + _WARM_UP_S))):
            await asyncio.sleep(begun + number / _BARE_PER_S - time.perf_counter())
            started = time.perf_counter()
            await jetstream.publish("bare", _BARE_PAYLOAD)
            taken.append(time.perf_counter() - started)
        await jetstream.delete_stream("BARE")
        return taken[round(_BARE_PER_S * _WARM_UP_S) :]
    finally:
        await client.close()


async def raw_round_trips(port: int, duration_s: float) -> list[float]:
    """The same without a client library: what the server and the kernel take."""
    return await asyncio.to_thread(_raw_round_trips, port, duration_s)


def _raw_round_trips(port: int, duration_s: float) -> list[float]:
    taken: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE_S) as channel:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _ask(
            channel,
            b'CONNECT {"verbose":false}\r\nSUB answers 1\r\nPING\r\n',
            end=re.compile(rb"^PONG\r\n", re.MULTILINE),
        )
        made = b'{"name":"BARE","subjects":["bare"],"storage":"file"}'
        _ask(channel, b"PUB $JS.API.STREAM.CREATE.BARE answers %d\r\n%b\r\n" % (len(made), made))
        publish = b"PUB bare answers %d\r\n%b\r\n" % (len(_BARE_PAYLOAD), _BARE_PAYLOAD)
        begun = time.perf_counter()
        for number in range(round(_BARE_PER_S * (duration_s + _WARM_UP_S))):
            if (wait_s := begun + number / _BARE_PER_S - time.perf_counter()) > 0:
                time.sleep(wait_s)
            started = time.perf_counter()
            _ask(channel, publish)
            taken.append(time.perf_counter() - started)
        _ask(channel, b"PUB $JS.API.STREAM.DELETE.BARE answers 0\r\n\r\n")
    return taken[round(_BARE_PER_S * _WARM_UP_S) :]


def _ask(channel: socket.socket, request: bytes, *, end: re.Pattern[bytes] = _ANSWER) -> None:
    """Send, and read until the answer is there; a PING of the server may come with it."""
    channel.sendall(request)
    answer = b""
    while not end.search(answer):
        if not (received := channel.recv(1 << 16)):
            raise RuntimeError("nats-server has ended the connection")
        answer += received


async def commit_to_stored(server: PostgresServer, nats_server: NatsServer, pace: Pace) -> tuple[list[float], float]:
    """Seconds from the return of each COMMIT until its last event was stored; and Ditto's CPU seconds an event."""
    workload = Workload(SHAPES["trades"], pace.transaction_count * pace.events_per_transaction, 1)
    name, target = workload.table, f"LATENCY_{pace.events_per_s}"  # of its own: Ditto remembers who held the slot
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        # A walsender only sends what is flushed; an asynchronous commit returns before it is.
        connection.execute("SET synchronous_commit = on")
        workload.prepare(connection)
        connection.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name])
        log = ReplicationLog(server.log_path)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ditto", "run", "--log-level", "warning", "--dsn", server.dsn, "--slot", name),
            *("--publication", workload.publication, "--nats-url", nats_server.url, "--stream", target),
            cwd=Path(__file__).parent.parent,
            stdout=DEVNULL,
        )
        client = await nats.connect(nats_server.url)
        try:
            async with Ending(process):
                await log.started(name)
                stream = Stream(client, target)
                async with asyncio.timeout(_DEADLINE_S):
                    await streaming(stream, process)
                await asyncio.sleep(_SETTLE_S)
                meter = Meter(process.pid)
                committed = await asyncio.to_thread(write, connection, workload, pace)
                async with asyncio.timeout(_DEADLINE_S):
                    await stored(stream, workload.rows, process, period_s=0.05)
                cpu_s = meter.read() / workload.rows
                await stop(process)
            times = await stored_at(client, target, workload.rows)
            await stream.delete()
        finally:
            await client.close()
        connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
        workload.remove(connection)
    last_events = times[pace.events_per_transaction - 1 :: pace.events_per_transaction]
    taken = [at - committed_at for committed_at, at in zip(committed, last_events, strict=True)]
    return taken[round(len(taken) * _WARM_UP_S / (pace.duration_s + _WARM_UP_S)) :], cpu_s


async def stored_at(client: Client, stream: str, count: int, *, subject: str = "") -> list[float]:
    """When the server stored each event, or each on this subject, in seconds since 1970."""
    consumer = ConsumerConfig(ack_policy=AckPolicy.NONE, headers_only=True)
    subscription = await client.jetstream().pull_subscribe(subject, stream=stream, config=consumer)
    times: list[float] = []
    while len(times) < count:
        times += [
            message.metadata.timestamp.timestamp()
            for message in await subscription.fetch(_FETCHED, timeout=_DEADLINE_S)
            if not message.subject.endswith("._checkpoint")
        ]
    return times


def write(connection: Connection[TupleRow], workload: Workload, pace: Pace) -> list[float]:
    """Commit at the pace; returns when each transaction was committed, in seconds since 1970."""
    statement = workload.insert("%s::bigint", "%s::bigint").replace("% ", "%% ").encode()
    committed = []
    begun = time.perf_counter()
    for number, due_s in enumerate(pace.due()):
        wait_s = begun + due_s - time.perf_counter()
        if wait_s > 0:
            time.sleep(wait_s)
        first = number * pace.events_per_transaction + 1
        connection.execute(statement, [first, first + pace.events_per_transaction - 1], prepare=True)
        committed.append(time.time())
    return committed


def summary(name: str, taken: list[float]) -> dict[str, Any]:
    """Percentiles, in ms."""
    ordered = sorted(taken)

    def percentile_ms(fraction: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * fraction))] * 1000, 3)

    return {
        "what": name,
        "samples": len(ordered),
        "p50_ms": percentile_ms(0.5),
        "p99_ms": percentile_ms(0.99),
        "p999_ms": percentile_ms(0.999),
        "max_ms": round(ordered[-1] * 1000, 3),
    }


async def run(duration_s: float, rates: Sequence[tuple[int, int]], console: Console) -> list[dict[str, Any]]:
    """The bare round trips, then each rate."""
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        servers.embedded() as server,
        console.status("latency: bare publish") as status,
    ):
        results.append(summary("bare publish", await bare_round_trips(nats_server.url, duration_s)))
        results.append(summary("bare publish, raw", await raw_round_trips(nats_server.port, duration_s)))
        for events_per_s, size in rates:
            status.update(f"latency: {events_per_s:,} events/s")
            pace = Pace(events_per_s, size, duration_s)
            taken, cpu_s = await commit_to_stored(server, nats_server, pace)
            more = {"events_per_transaction": size, "cpu_us": round(cpu_s * 1e6, 1)}
            results.append(summary(f"{events_per_s:,} events/s", taken) | more)
    return results


def table(results: Sequence[dict[str, Any]]) -> Table:
    """The table for the terminal."""
    made = Table(title="latency, commit to stored (ms; Ditto's CPU an event)", title_justify="left")
    made.add_column("what")
    for heading in ("p50", "p99", "p99.9", "max", "CPU µs", "samples"):
        made.add_column(heading, justify="right")
    for each in results:
        figures = (each[key] for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms"))
        cpu = f"{each['cpu_us']:.0f}" if "cpu_us" in each else ""
        made.add_row(each["what"], *(f"{figure:.2f}" for figure in figures), cpu, f"{each['samples']:,}")
    return made


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_latency")
    parser.add_argument("--quick", action="store_true", help="2 s of each pace instead of 20")
    parser.add_argument("--seconds", type=float, help="of each pace")
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    console = terminal()
    duration_s = arguments.seconds or (2.0 if arguments.quick else 20.0)
    results = uvloop.run(run(duration_s, _RATES, console))
    console.print(table(results))
    return record.write("latency", results, quick=arguments.quick)


if __name__ == "__main__":
    main()
