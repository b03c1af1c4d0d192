"""What idle pipelines cost on one node of a fleet: memory and CPU time of all its processes, while all of them stream.

python -m benchmarks.bench_fleet --pipelines 500 --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
import psycopg

from ditto.config import NatsConnection
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.records import STATUS, Record, WorkerEntry
from ditto.fleet.store import PipelineStore
from ditto.testing.process import ServerProcess, free_port
from ditto.testing.servers import NatsServer, PostgresServer


def _cost(pid: int) -> tuple[float, int]:
    """CPU seconds so far, and resident bytes, of a process and of its children."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    seconds = sum(each.cpu_times().user + each.cpu_times().system for each in processes)
    return seconds, sum(each.memory_info().rss for each in processes)


async def _states(control_plane: ControlPlane) -> dict[str, int]:
    counts: dict[str, int] = {}
    bucket = control_plane.bucket(STATUS)
    async for entry in bucket.watch():
        if entry is None:
            break
        if entry.value is not None:
            for each in msgspec.json.decode(entry.value, type=WorkerEntry).pipelines:
                counts[each.state] = counts.get(each.state, 0) + 1
    return counts


async def measure(count: int, seconds: float, folder: Path, *, workers: int) -> dict[str, object]:
    """Start everything, wait until all stream, and measure."""
    settings = {
        "fsync": "off",
        "max_replication_slots": str(count + 5),
        "max_wal_senders": str(count + 5),
        "max_connections": str(4 * count + 50),
        "shared_buffers": "128MB",
    }
    with PostgresServer(folder / "postgres", settings=settings) as postgres, NatsServer(folder / "nats") as nats:
        with psycopg.connect(postgres.dsn, autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG"))}
        command = [sys.executable, "-m", "ditto", "serve", "--log-format", "json"]
        environ = {
            **inherited,
            "DITTO_NODE": "bench",
            "DITTO_NATS_URL": nats.url,
            "DITTO_MAX_PIPELINES": str(count),
            "DITTO_WORKERS": str(workers),
            "DITTO_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
            "DITTO_LOG_LEVEL": "warning",
        }
        log_path = folder / "node.log"
        node = ServerProcess(command, name="ditto", log_path=log_path, last_signal=signal.SIGKILL, env=environ)
        try:
            control_plane = ControlPlane(NatsConnection(url=nats.url))
            async with control_plane.connected():
                store = PipelineStore(control_plane)
                for number in range(count):
                    name = f"p{number}"
                    document = {
                        "postgres": {"dsn": postgres.dsn, "slot": name, "publication": name},
                        "nats": {"url": nats.url, "stream": name},
                        "events": {"prefix": name},
                    }
                    await store.put(name, Record(document=document), after=None)
                began_at = time.monotonic()
                while (states := await _states(control_plane)).get("streaming", 0) < count:
                    if time.monotonic() - began_at > 60 + count:
                        raise SystemExit(f"not all of them stream: {states}\n{node.output()[-3000:]}")
                    await asyncio.sleep(1)
                started_s = time.monotonic() - began_at
                await asyncio.sleep(min(30.0, seconds))
                before, _ = _cost(node.pid)
                measured_at = time.monotonic()
                await asyncio.sleep(seconds)
                after, resident = _cost(node.pid)
                taken_s = time.monotonic() - measured_at
                states = await _states(control_plane)
            return {
                "pipelines": count,
                "states": states,
                "started_s": round(started_s, 1),
                "cores": round((after - before) / taken_s, 3),
                "resident_mb": round(resident / 2**20),
                "processes": len(psutil.Process(node.pid).children(recursive=True)) + 1,
            }
        finally:
            node.end(signal.SIGTERM)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipelines", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(given.pipelines, given.seconds, Path(folder), workers=given.workers))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
