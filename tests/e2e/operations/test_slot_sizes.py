"""The slot's sizes are the same wherever Ditto shows them: log, `ditto check`, `ditto slot`, status and metrics."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ditto
from ditto.check.run import run_checks
from ditto.config import load
from ditto.lsn import parse_lsn
from ditto.testing.process import free_port
from ditto.units import size
from e2e.operations.test_http import fetch, samples
from e2e.process import DittoProcess, eventually
from e2e.standby import make_standby

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from e2e.world import World

POSITION = """
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_insert_lsn() END::text"""
CREATE = "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')"
LSNS = "SELECT restart_lsn::text, confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = '{}'"
TIMEOUT_S = 60


async def command(world: World, *arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DITTO_", "PG", "PYTHON"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ditto", *arguments, "--json"),
        env={**inherited, "PYTHONPATH": str(Path(ditto.__file__).parent.parent), **world.settings},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        found: dict[str, Any] = json.loads((await process.communicate())[0])
    return found


async def all_sizes(world: World, running: DittoProcess, port: int) -> dict[str, object]:
    """What each place says now; of the check, whose findings are sentences, the sentence."""
    failures = len(running.logs("session.failed"))
    before = json.loads(fetch(port, "/v1/status")[1])["survey"]["at"]
    failure = await running.logged("session.failed", count=failures + 1)
    await eventually(lambda: json.loads(fetch(port, "/v1/status")[1])["survey"]["at"] > before, "a newer look")
    slot = await command(world, "slot", "status")
    findings = {finding.check: finding.what for finding in await run_checks(load(None, {}, world.settings))}
    metrics = samples(port)
    found: dict[str, object] = {
        "log": failure["retained_bytes"],
        "slot": (slot["retained_bytes"], slot["lag_bytes"]),
        "metrics": (metrics["ditto_retained_wal_bytes"], metrics["ditto_lag_bytes"]),
        "check": (findings["slot.retained_wal"], findings["slot.active"]),
    }
    for name, status in (
        ("status", await command(world, "status")),
        ("HTTP", json.loads(fetch(port, "/v1/status")[1])),
    ):
        shown = status["survey"]["slot"]
        found[name] = (shown["retained_bytes"], shown["lag_bytes"])
    return found


async def agree(world: World) -> tuple[int, int]:
    """Look everywhere until no WAL was written meanwhile, and compare; returns retained bytes and lag."""
    world.settings["DITTO_NATS_URL"] = f"nats://127.0.0.1:{free_port()}"  # an attempt that fails says the size
    port = free_port()
    running = world.ditto(http_listen=f"127.0.0.1:{port}")
    await running.logged("session.failed")
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        position = world.value(POSITION)
        found = await all_sizes(world, running, port)
        if world.value(POSITION) == position:
            break
        assert time.monotonic() < deadline, f"the server's WAL does not rest: {found}"
    restart, confirmed = world.sql(LSNS.format(world.name))[0]
    retained_bytes = parse_lsn(position) - parse_lsn(restart)
    lag_bytes = parse_lsn(position) - parse_lsn(confirmed)
    assert found == {
        "log": retained_bytes,
        **dict.fromkeys(("slot", "metrics", "status", "HTTP"), (retained_bytes, lag_bytes)),
        "check": (
            f"slot {world.name} retains {size(retained_bytes)} of WAL",
            f"nobody reads slot {world.name}; it is {size(lag_bytes)} behind",
        ),
    }
    assert await running.stop() == 0
    return retained_bytes, lag_bytes


@asynccontextmanager
async def slot_on_a_standby(world: World) -> AsyncIterator[None]:
    """The slot is made on a standby, which the test speaks to from then on; its replay is paused."""
    primary = world.postgres.dsn
    standby = make_standby(world, world.folder / "standby")
    try:
        standby.start()
        world.postgres = standby
        world.settings["DITTO_POSTGRES_DSN"] = world.dsn
        creation = asyncio.ensure_future(asyncio.to_thread(world.sql, CREATE.format(world.name)))
        deadline = time.monotonic() + TIMEOUT_S
        while not (await asyncio.wait([creation], timeout=0.1))[0]:
            assert time.monotonic() < deadline, "no slot on the standby"
            world.sql("SELECT pg_log_standby_snapshot()", dsn=primary)  # creating one waits for what this writes
        await creation
        world.sql("SELECT pg_wal_replay_pause()")
        world.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))", dsn=primary)
        yield
    finally:
        standby.close()


async def test_on_a_primary(postgres_world: World) -> None:
    world = postgres_world
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    world.sql(CREATE.format(world.name))
    world.sql("SELECT pg_logical_emit_message(false, 'test', repeat('x', 3000000))")
    retained_bytes, lag_bytes = await agree(world)
    assert retained_bytes >= lag_bytes > 3_000_000


async def test_on_a_standby(postgres_world: World) -> None:
    """WAL that the standby has received counts, replayed or not: it is kept, and will be sent."""
    world = postgres_world
    if world.major < 16:
        pytest.skip("PostgreSQL has logical slots on standbys from 16 on")
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    async with slot_on_a_standby(world):
        await eventually(
            lambda: world.value("SELECT pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn() > 3000000"), "WAL waits"
        )
        retained_bytes, lag_bytes = await agree(world)
    assert retained_bytes >= lag_bytes > 3_000_000
