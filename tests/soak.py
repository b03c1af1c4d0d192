"""Breaks everything at random under a workload that keeps its books, and compares the stream with the tables.

    scripts/soak --minutes 60 --seed 1

Two Dittos stand on one slot. About every minute the faults stop, and the stream has to equal ledger and tables; then
the tables are emptied and the stream is purged, so that the next round is as quick as the first. A failure prints
the seed and the folder that holds the servers' data and all logs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from e2e.ledger import Ledger, matches_ledger
from e2e.proxy import Proxy
from e2e.world import World

from ditto.testing.servers import NatsServer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from e2e.process import DittoProcess

ROUND_S = 45
SETTLE_S = 180
SETTINGS = {"fsync": "off", "wal_sender_timeout": "10s", "max_connections": "60"}


class Soak:
    """One run of it: the servers, the Dittos, and the faults."""

    def __init__(self, world: World, postgres_proxy: Proxy, nats_proxy: Proxy, chance: random.Random) -> None:
        self._world = world
        self._postgres_proxy = postgres_proxy
        self._nats_proxy = nats_proxy
        self._chance = chance
        self._dittos: list[DittoProcess] = []
        self._foreign: list[int] = []
        self.faults: Counter[str] = Counter()
        self.transaction_count = 0

    def start(self) -> None:
        """One more Ditto, behind the proxies."""
        self._dittos.append(
            self._world.ditto(
                postgres_dsn=self._world.dsn_by(self._postgres_proxy.port),
                nats_url=f"nats://127.0.0.1:{self._nats_proxy.port}",
                delivery_lease_ttl="2s",
                nats_ack_timeout="3s",
            )
        )

    async def round(self, seed: int) -> None:
        """Faults for ROUND_S seconds under load, and then the check."""
        faults: list[Callable[[], Awaitable[None]]] = [
            self._kill, self._kill, self._terminate, self._freeze, self._nats_killed, self._nats_paused,
            self._nats_cut, self._nats_cut, self._nats_silent, self._postgres_cut, self._postgres_cut,
            self._postgres_silent, self._postgres_restarted, self._walsender_terminated, self._foreign_message,
            self._snapshot, self._snapshot, self._snapshot_cancelled,
        ]  # fmt: skip
        deadline = time.monotonic() + ROUND_S
        with Ledger(self._world, seed=seed) as ledger:
            while time.monotonic() < deadline:
                await asyncio.sleep(self._chance.expovariate(0.4))
                fault = self._chance.choice(faults)
                name = fault.__name__.strip("_")
                self.faults[name] += 1
                await fault()
                for ditto in self._dittos:
                    if not ditto.is_running:
                        raise AssertionError(f"after {name}, Ditto has ended:\n{ditto.output[-3000:]}")
        self.transaction_count += ledger.committed_count
        await self._snapshot_cancelled()
        async with asyncio.timeout(SETTLE_S):
            await self._world.fence(timeout_s=SETTLE_S)
            await self._remove_foreign_messages()
            await matches_ledger(self._world)
        await self._begin_anew()

    async def _begin_anew(self) -> None:
        """Empty tables, and a stream that holds nothing but the row of the fence."""
        world = self._world
        world.sql("TRUNCATE ledger, account, entry, fence")
        await world.fence(timeout_s=60)
        async with world.jetstream() as jetstream:
            await jetstream.purge_stream(world.stream, keep=1)
            state = (await jetstream.stream_info(world.stream)).state
            last = await jetstream.get_msg(world.stream, state.last_seq)
        if last.subject != world.fence_subject:  # a checkpoint came after it
            await self._begin_anew()

    # ------------------------------------------------------------------------------------ the faults

    async def _kill(self) -> None:
        self._dittos.pop(self._chance.randrange(len(self._dittos))).kill()
        self.start()

    async def _terminate(self) -> None:
        ditto = self._dittos.pop(self._chance.randrange(len(self._dittos)))
        code = await ditto.stop(timeout_s=60)
        is_starting = not ditto.output  # it has not come to handle signals yet
        assert code == 0 or (is_starting and code == -signal.SIGTERM), f"exit code {code}:\n{ditto.output[-3000:]}"
        self.start()

    async def _freeze(self) -> None:
        ditto = self._chance.choice(self._dittos)
        ditto.send(signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(0.5, 8))
        ditto.send(signal.SIGCONT)

    async def _nats_killed(self) -> None:
        self._world.nats_server.kill()
        await asyncio.sleep(self._chance.uniform(0, 2))
        await asyncio.to_thread(self._world.nats_server.start)

    async def _nats_paused(self) -> None:
        self._world.nats_server.pause()
        await asyncio.sleep(self._chance.uniform(0.5, 6))
        self._world.nats_server.resume()

    async def _nats_cut(self) -> None:
        await self._cut(self._nats_proxy)

    async def _postgres_cut(self) -> None:
        await self._cut(self._postgres_proxy)

    async def _cut(self, proxy: Proxy) -> None:
        kind = self._chance.choice(("now", "from_server", "from_client"))
        if kind == "now":
            proxy.cut()
        else:
            proxy.cut_later(**{kind: self._chance.randint(1, 20_000)})

    async def _nats_silent(self) -> None:
        await self._silence(self._nats_proxy)

    async def _postgres_silent(self) -> None:
        await self._silence(self._postgres_proxy)

    async def _silence(self, proxy: Proxy) -> None:
        """What has been swallowed cannot come later: the connections end with it."""
        proxy.is_silent = True
        await asyncio.sleep(self._chance.uniform(0.5, 6))
        proxy.is_silent = False
        proxy.cut()

    async def _postgres_restarted(self) -> None:
        postgres = self._world.postgres
        end = self._chance.choice((postgres.stop, partial(postgres.stop, "immediate"), postgres.kill))
        await asyncio.to_thread(end)
        await asyncio.to_thread(postgres.start)

    async def _walsender_terminated(self) -> None:
        with suppress(psycopg.OperationalError):  # it is not there just now
            self._world.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")

    async def _snapshot(self) -> None:
        """No fault: of all tables, beside everything else."""
        await self._ask({"start": [], "max_rows_per_s": self._chance.choice((100, 5_000, 0))})

    async def _snapshot_cancelled(self) -> None:
        await self._ask({"cancel": ""})

    async def _ask(self, body: dict[str, object]) -> None:
        with suppress(psycopg.OperationalError), self._world.connect() as connection:  # or the server is not there
            connection.execute("SELECT pg_logical_emit_message(true, 'ditto.snapshot', %s)", [json.dumps(body)])

    async def _foreign_message(self) -> None:
        async with self._world.jetstream() as jetstream:
            answer = await jetstream.publish(self._world.fence_subject, b'{"data":{"n":0}}', timeout=20)
            self._foreign.append(answer.seq)

    async def _remove_foreign_messages(self) -> None:
        """The replay knows none."""
        async with self._world.jetstream() as jetstream:
            while self._foreign:
                await jetstream.delete_msg(self._world.stream, self._foreign.pop())


async def soak(minutes: float, seed: int, folder: Path) -> None:
    """Rounds until the time is over. Raises what the first difference or failure raises."""
    chance = random.Random(seed)
    deadline = time.monotonic() + 60 * minutes
    with ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(folder / "postgres", settings=SETTINGS))
        server = stack.enter_context(NatsServer(folder / "nats"))
        world = World(postgres, server, name="soak", folder=folder)
        stack.callback(world.close)
        async with Proxy(postgres.port) as postgres_proxy, Proxy(server.port) as nats_proxy:
            run = Soak(world, postgres_proxy, nats_proxy, chance)
            run.start()
            await world.holds(1, timeout_s=60)
            run.start()
            number = 0
            while number == 0 or time.monotonic() < deadline:
                number += 1
                await run.round(chance.getrandbits(30))
                faults = ", ".join(f"{name} {count}" for name, count in sorted(run.faults.items()))
                print(f"round {number}: equal after {run.transaction_count:,} transactions; {faults}", flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10, help="for how long; the last round is ended (default: 10)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="default: another one each time")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ditto-soak-"))
    print(f"seed {arguments.seed}, in {folder}", flush=True)
    try:
        asyncio.run(soak(arguments.minutes, arguments.seed, folder))
    except BaseException:
        print(f"seed {arguments.seed}: the evidence is in {folder}", flush=True)
        raise
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
