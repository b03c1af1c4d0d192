"""From the start of `ditto run` to its first message: `python -m benchmarks.bench_start`, or pytest.

A start is measured where Ditto has to create slot and stream, and where both are there and a row waits in the slot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import nats
import psycopg
import uvloop
from nats.aio.client import Client
from psycopg import Connection
from psycopg.rows import TupleRow
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console
from rich.table import Table

from benchmarks import record, servers
from benchmarks.cases import terminal
from benchmarks.contenders import Ending, Stream, stop, streaming
from benchmarks.metering import Meter
from benchmarks.workloads import SHAPES, Workload
from ditto.testing.servers import NatsServer, PostgresServer

_TOP: Final = Path(__file__).parent.parent
_DEADLINE_S: Final = 60.0
_QUERY: Final = re.compile(rb"LOG:  (?:statement|execute [^:]*|replication command|received replication command): ")
_SETTLE_S: Final = 0.2
_INTERPRETER_ROUNDS: Final = 9


class Start(NamedTuple):
    """One start. Seconds from the start of the process."""

    log_s: float
    """To the first line of the log: the interpreter, imports and reading the configuration."""
    streaming_s: float
    stored_s: float
    """To the time that nats-server gave to the first message."""
    cpu_s: float
    """CPU time of the process when that message was seen, at most a few milliseconds later."""
    queries: int
    """Statements and replication commands that PostgreSQL got."""
    requests: int
    """Requests that JetStream's API got."""


class Site:
    """Both servers, a table and its publication. A start has the slot and the stream of these names."""

    def __init__(self, server: PostgresServer, nats_server: NatsServer, control: Connection[TupleRow]) -> None:
        self._server = server
        self._nats_server = nats_server
        self._control = control
        self._workload = Workload(SHAPES["trades"], 1, 1)
        self._rows = 0
        self._log_path = Path(nats_server.folder) / "start.log"

    def prepare(self) -> None:
        """Make the table, and let PostgreSQL log each statement."""
        self._workload.prepare(self._control)
        self._control.execute("ALTER SYSTEM SET log_statement = 'all'")
        self._control.execute("SELECT pg_reload_conf()")

    async def first(self) -> Start:
        """Ditto creates slot and stream."""
        async with self._connected() as client:
            return await self._first(client)

    async def again(self) -> Start:
        """Slot and stream are there, after a start of Ditto's, and a row waits."""
        async with self._connected() as client:
            return await self._again(client)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Client]:
        client = await nats.connect(self._nats_server.url)
        try:
            yield client
        finally:
            await client.close()

    async def _first(self, client: Client) -> Start:
        stream = Stream(client, self._workload.table)
        if await _last_sequence(client, stream.name) is not None:
            await stream.delete()
            self._control.execute("SELECT pg_drop_replication_slot(%s)", [stream.name])
        return await self._start(client, stream, 0)

    async def _again(self, client: Client) -> Start:
        stream = Stream(client, self._workload.table)
        if (last_sequence := await _last_sequence(client, stream.name)) is None:
            await self._start(client, stream, 0)
            last_sequence = await _last_sequence(client, stream.name) or 0
        self._rows += 1
        self._control.execute("SET synchronous_commit = on")
        self._control.execute(self._workload.insert(str(self._rows), str(self._rows)).encode())
        return await self._start(client, stream, last_sequence)

    async def _start(self, client: Client, stream: Stream, last_sequence: int) -> Start:
        name = self._workload.table
        await asyncio.sleep(_SETTLE_S)  # what the Ditto before this one has left to do in the servers
        statements_from = self._server.log_path.stat().st_size
        requests_before, stream.calls = await _requests(client) + 1, 0  # the next question is one, too
        # Python's own switches would change what is measured: without its byte code each start compiles Ditto anew.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        with self._log_path.open("wb") as log:
            began_at = time.time()
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ditto", "run", "--log-format", "json"),
                *("--dsn", self._server.dsn, "--slot", name, "--publication", name),
                *("--nats-url", self._nats_server.url, "--stream", name),
                cwd=_TOP,
                env=environment,
                stderr=log,
            )
        async with Ending(process):
            meter = Meter(process.pid, from_start=True)
            async with asyncio.timeout(_DEADLINE_S):
                stored_at = await streaming(stream, process, after=last_sequence)
                cpu_s = meter.read()
                requests = await _requests(client) - requests_before - stream.calls
                queries = len(_QUERY.findall(self._server.log_path.read_bytes()[statements_from:]))
                await asyncio.sleep(_SETTLE_S)  # its line in the log
            await stop(process)
        events = [json.loads(line) for line in self._log_path.read_text().splitlines()]
        at = {event["event"]: _seconds(event["timestamp"]) for event in reversed(events)}
        first_at = _seconds(events[0]["timestamp"])
        return Start(
            first_at - began_at,
            at["pipeline.streaming"] - began_at,
            stored_at - began_at,
            cpu_s,
            queries,
            requests,
        )


async def _requests(client: Client) -> int:
    reply = await client.request("$JS.API.INFO", b"", timeout=10)
    total: int = json.loads(reply.data)["api"]["total"]
    return total


async def _last_sequence(client: Client, stream: str) -> int | None:
    """The stream's last sequence; None while there is no stream."""
    reply = await client.request(f"$JS.API.STREAM.INFO.{stream}", b"", timeout=10)
    state = json.loads(reply.data).get("state")
    return None if state is None else int(state["last_seq"])


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


@contextmanager
def running() -> Iterator[Site]:
    """Both servers, and what a start needs."""
    with (
        tempfile.TemporaryDirectory(prefix="ditto-bench-nats-") as folder,
        NatsServer(Path(folder)) as nats_server,
        servers.embedded() as server,
        psycopg.connect(server.dsn, autocommit=True) as control,
    ):
        made = Site(server, nats_server, control)
        made.prepare()
        yield made


def interpreter_s() -> float:
    """What Python alone takes to start and end."""
    taken = []
    for _ in range(_INTERPRETER_ROUNDS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _summary(what: str, starts: Sequence[Start]) -> dict[str, Any]:
    def median_ms(figure: Callable[[Start], float]) -> float:
        return round(statistics.median(figure(each) for each in starts) * 1000, 1)

    return {
        "what": what,
        "samples": len(starts),
        "log_ms": median_ms(lambda each: each.log_s),
        "streaming_ms": median_ms(lambda each: each.streaming_s),
        "stored_ms": median_ms(lambda each: each.stored_s),
        "stored_low_ms": round(min(each.stored_s for each in starts) * 1000, 1),
        "stored_high_ms": round(max(each.stored_s for each in starts) * 1000, 1),
        "cpu_ms": median_ms(lambda each: each.cpu_s),
        "queries": round(statistics.median(each.queries for each in starts)),
        "requests": round(statistics.median(each.requests for each in starts)),
    }


async def run(rounds: int, console: Console) -> dict[str, Any]:
    """Both kinds of start in turn; the first round of each is not counted."""
    found: dict[str, list[Start]] = {"first start": [], "slot and stream are there": []}
    with running() as site, console.status("start") as status:
        for number in range(rounds + 1):
            status.update(f"start: round {number} of {rounds}")
            for starts, start in zip(found.values(), (site.first, site.again), strict=True):
                starts.append(await start())
    return {
        "interpreter_ms": round(interpreter_s() * 1000, 1),
        "starts": [_summary(what, starts[1:]) for what, starts in found.items()],
    }


def table(result: dict[str, Any]) -> Table:
    """The table for the terminal."""
    title = f"start, median ms from the start of the process (Python alone: {result['interpreter_ms']:.0f} ms)"
    made = Table(title=title, title_justify="left")
    made.add_column("what")
    for heading in ("first log line", "streaming", "first message", "low-high", "CPU", "SQL", "JetStream", "samples"):
        made.add_column(heading, justify="right")
    for each in result["starts"]:
        made.add_row(
            each["what"],
            *(f"{each[key]:.0f}" for key in ("log_ms", "streaming_ms", "stored_ms")),
            f"{each['stored_low_ms']:.0f}-{each['stored_high_ms']:.0f}",
            f"{each['cpu_ms']:.0f}",
            *(str(each[key]) for key in ("queries", "requests", "samples")),
        )
    return made


def test_start(benchmark: BenchmarkFixture) -> None:
    """From the start of the process to its orderly end, a row stored in between."""
    made: list[Start] = []
    with running() as site:
        benchmark.group = "start"
        benchmark.pedantic(  # type: ignore[no-untyped-call]  # it has no types
            lambda: made.append(uvloop.run(site.again())), rounds=3, warmup_rounds=1
        )
    assert all(each.log_s < each.stored_s for each in made)


def main(*, quick: bool | None = None) -> dict[str, Any]:
    """Run, print the table, write the record; `quick` None: as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_start")
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 15")
    parser.add_argument("--rounds", type=int)
    arguments = parser.parse_args(None if quick is None else ["--quick"] * quick)
    console = terminal()
    result = uvloop.run(run(arguments.rounds or (3 if arguments.quick else 15), console))
    console.print(table(result))
    return record.write("start", result, quick=arguments.quick)


if __name__ == "__main__":
    main()
