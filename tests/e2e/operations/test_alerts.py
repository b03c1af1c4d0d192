"""The alert rules in a real Prometheus that scrapes a real Ditto, in each situation that they are for.

Minutes are shortened to seconds, and the thresholds of WAL to what a test can write: everything else is the rules as
they are delivered. `scripts/alerts-test` runs this; it needs Debian's package `prometheus`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ditto.testing.process import ServerProcess, free_port
from ditto.testing.servers import NatsServer, PostgresServer
from e2e.operations.test_process import environment, started, stores
from e2e.process import eventually
from e2e.proxy import Proxy
from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from e2e.process import DittoProcess

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.skipif(
        not shutil.which("prometheus"), reason="there is no prometheus here: Debian has it in the package prometheus"
    ),
]

RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "ditto.rules.yml"
MB = 1024 * 1024
SECONDS_A_MINUTE = 2
SMALLER = {"> 67108864": f"> {16 * MB}", "> 5368709120": f"> {64 * MB}"}
"""Thresholds of WAL."""


def shortened(rules: str) -> str:
    """The same rules, faster."""
    for old, new in SMALLER.items():
        assert old in rules
        rules = rules.replace(old, new)
    rules = re.sub(r"(\[|for: )(\d+)m", lambda found: f"{found[1]}{int(found[2]) * SECONDS_A_MINUTE}s", rules)
    assert not re.search(r"\d+m\b", "\n".join(line for line in rules.splitlines() if "expr" in line or "for:" in line))
    return rules


class Prometheus:
    """Scrapes `ports` as the job ditto."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        folder.mkdir()
        (folder / "rules.yml").write_text(shortened(RULES.read_text()))
        targets = [f"127.0.0.1:{port}" for port in ports]
        (folder / "prometheus.yml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
                    "rule_files": ["rules.yml"],
                    "scrape_configs": [{"job_name": "ditto", "static_configs": [{"targets": targets}]}],
                }
            )
        )
        self._port = free_port()
        self.process = ServerProcess(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            name="prometheus",
            log_path=folder / "prometheus.log",
            last_signal=signal.SIGKILL,
        )
        self.process.wait_until(lambda: self._get("/-/ready") is not None, timeout_s=30)

    def firing(self) -> set[str]:
        """The alerts that fire now."""
        answer = json.loads(self._get("/api/v1/alerts") or "{}")
        alerts: list[dict[str, Any]] = answer["data"]["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def scrapes(self, count: int) -> None:
        """Wait until it has scraped so many Dittos."""
        query = "/api/v1/query?query=count(ditto_leader)"
        await eventually(lambda: f'"{count}"' in (self._get(query) or ""), "it scrapes them")

    async def fires(self, *names: str, timeout_s: float = 90) -> None:
        seen: set[str] = set()
        deadline = time.monotonic() + timeout_s
        while not set(names) <= seen:
            assert time.monotonic() < deadline, f"{set(names) - seen} do not fire; {self.firing()} do"
            seen |= self.firing()
            await asyncio.sleep(0.1)

    async def calms(self, *names: str, timeout_s: float = 90) -> None:
        await eventually(lambda: not self.firing() & set(names), f"{names} end", timeout_s=timeout_s)

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return None


@contextmanager
def prometheus(folder: Path, *ports: int) -> Iterator[Prometheus]:
    running = Prometheus(folder / "prometheus", list(ports))
    try:
        yield running
    finally:
        running.process.end(signal.SIGKILL)


@asynccontextmanager
async def doing(action: Any, *, every_s: float) -> AsyncIterator[None]:
    """Do something again and again while the body runs."""

    async def repeat() -> None:
        while True:
            await asyncio.to_thread(action)
            await asyncio.sleep(every_s)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def flap(world: World) -> None:
    """End the connection that Ditto reads from. What it has stored before keeps the back-off short."""
    world.sql(
        "INSERT INTO fence DEFAULT VALUES",
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots "
        f"WHERE slot_name = '{world.name}' AND active_pid IS NOT NULL",
    )


async def start(world: World, port: int, **settings: object) -> DittoProcess:
    return await world.streaming(http_listen=f"127.0.0.1:{port}", **settings)


async def test_two_that_work_are_well_and_a_leader_that_goes_is_missed(world: World, tmp_path: Path) -> None:
    ports = free_port(), free_port()
    leader = await start(world, ports[0])
    standby = world.ditto(http_listen=f"127.0.0.1:{ports[1]}")
    await standby.logged("slot.standby")
    with prometheus(tmp_path, *ports) as watching:
        await watching.scrapes(2)
        await watching.calms("DittoNoLeader", "DittoNoStandby")
        async with doing(lambda: world.sql("INSERT INTO fence DEFAULT VALUES"), every_s=0.1):
            quiet_until = time.monotonic() + 45 * SECONDS_A_MINUTE / 2  # longer than any `for` and range but one
            while time.monotonic() < quiet_until:
                assert watching.firing() == set()
                await asyncio.sleep(0.5)
        assert await leader.stop() == 0
        await standby.streaming()
        await watching.fires("DittoNoStandby")
        assert "DittoNoLeader" not in watching.firing()
        assert await standby.stop() == 0
        await watching.fires("DittoNoLeader")


async def test_sessions_that_fail_again_and_again(world: World, tmp_path: Path) -> None:
    port = free_port()
    await start(world, port)
    with prometheus(tmp_path, port) as watching:
        async with doing(lambda: flap(world), every_s=1):
            await watching.fires("DittoSessionsFail")
        assert "DittoRestarts" not in watching.firing()
        await watching.calms("DittoSessionsFail")


async def test_one_restart_of_nats_is_no_alarm(nats_world: World, tmp_path: Path) -> None:
    port = free_port()
    ditto = await start(nats_world, port)
    with prometheus(tmp_path, port) as watching:
        nats_world.nats_server.stop()
        await ditto.logged("session.failed", count=3)
        nats_world.nats_server.start()
        await ditto.streaming(count=2)
        calm_until = time.monotonic() + 12 * SECONDS_A_MINUTE
        while time.monotonic() < calm_until:
            assert not watching.firing() & {"DittoSessionsFail", "DittoRestarts"}
            await asyncio.sleep(0.2)


async def test_processes_that_are_started_again_and_again(world: World, tmp_path: Path) -> None:
    port = free_port()
    with prometheus(tmp_path, port) as watching:
        for _ in range(4):
            ditto = await start(world, port)
            await watching.scrapes(1)
            ditto.kill()
        await watching.fires("DittoRestarts", timeout_s=15)


async def test_a_gap_that_was_accepted(nats_world: World, tmp_path: Path) -> None:
    port = free_port()
    ditto = await start(nats_world, port)
    await nats_world.fence()
    await nats_world.confirms_tail()
    assert await ditto.stop() == 0
    async with nats_world.jetstream() as jetstream:
        await jetstream.delete_stream(nats_world.stream)
    with prometheus(tmp_path, port) as watching:
        ditto = await start(nats_world, port, delivery_on_gap="continue")
        assert ditto.logs("stream.gap_accepted")
        await watching.fires("DittoGap")


async def test_a_stream_that_fills_up(nats_world: World, tmp_path: Path) -> None:
    port = free_port()
    await start(nats_world, port)
    with prometheus(tmp_path, port) as watching:
        async with nats_world.jetstream() as jetstream:
            config = (await jetstream.stream_info(nats_world.stream)).config
            config.max_msgs = 100
            await jetstream.update_stream(config)
        nats_world.sql("INSERT INTO fence SELECT FROM generate_series(1, 94)")
        await watching.fires("DittoStreamNearlyFull")


async def test_acknowledgements_that_take_long(world: World, tmp_path: Path) -> None:
    port = free_port()
    async with Proxy(world.nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        await start(world, port, nats_url=url, delivery_lease_ttl="0s", nats_ack_timeout="30s")
        proxy.delay_s = 1.5
        with prometheus(tmp_path, port) as watching:
            async with doing(lambda: world.sql("INSERT INTO fence DEFAULT VALUES"), every_s=0.5):
                await watching.fires("DittoAckLatency")


async def test_a_log_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    port = free_port()
    full = os.open("/dev/full", os.O_WRONLY)
    env = environment(world, DITTO_HTTP_LISTEN=f"127.0.0.1:{port}")
    with started(sys.executable, "-m", "ditto", "run", env=env, stderr=full), prometheus(tmp_path, port) as watching:
        await stores(world, port)
        async with doing(lambda: flap(world), every_s=2):
            await watching.fires("DittoLogLost")
    os.close(full)


async def test_wal_that_piles_up(tmp_path: Path) -> None:
    port = free_port()
    settings = {"fsync": "off", "max_slot_wal_keep_size": "320MB", "max_wal_size": "1GB"}
    with (
        PostgresServer(tmp_path / "postgres", settings=settings) as server,
        NatsServer(tmp_path / "nats") as nats_server,
    ):
        world = World(server, nats_server, name="piled", folder=tmp_path)
        try:
            await start(world, port)
            with prometheus(tmp_path, port) as watching:
                nats_server.stop()
                size_mb = 0

                def write() -> None:
                    nonlocal size_mb
                    if size_mb < 280:
                        world.sql("SELECT pg_logical_emit_message(true, 'x', repeat('x', 1048576)), pg_switch_wal()")
                        size_mb += 16

                async with doing(write, every_s=1):
                    await watching.fires(
                        "DittoNoLeader", "DittoSlotNotAdvancing", "DittoWalRetained", "DittoSlotNearLoss"
                    )
                nats_server.start()
                await watching.calms("DittoNoLeader", "DittoSlotNotAdvancing")
        finally:
            world.close()
