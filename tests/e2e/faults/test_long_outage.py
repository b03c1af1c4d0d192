"""NATS is away for long while the application writes on: the WAL that waits is reported, and all of it arrives."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World

MEGABYTE = 1 << 20


def write_much(world: World, megabytes: int) -> None:
    """WAL for the slot: rows of a megabyte a transaction, of the ledger like the others."""
    for _ in range(megabytes):
        world.transaction(
            "INSERT INTO entry SELECT pg_current_xact_id()::text::bigint, i, NULL, repeat('kept', 250) "
            "FROM generate_series(1, 900) AS i",
            "INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint, 900)",
        )


@pytest.mark.parametrize(
    ("away_s", "megabytes"), [(0, 20), pytest.param(60, 250, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
async def test_nats_is_away_while_postgresql_writes_on(own_world: World, away_s: float, megabytes: int) -> None:
    world, server = own_world, own_world.nats_server
    ditto = await world.streaming()
    with Ledger(world, writer_count=1) as ledger:
        await eventually(lambda: ledger.committed_count >= 50, "the workload goes on")
        await world.fence()
        memory = ditto.rss_bytes
        server.stop()
        back_at = time.monotonic() + away_s
        first = await ditto.logged("session.failed", kind="SinkLost", count=2)
        confirmed = world.confirmed_lsn  # what was stored before may have been confirmed after it
        assert first["retained_bytes"] < 10 * MEGABYTE
        await asyncio.to_thread(write_much, world, megabytes)
        await eventually(lambda: time.monotonic() >= back_at, "NATS may come back", timeout_s=away_s + 20)
        count = len(ditto.logs("session.failed"))
        last = await ditto.logged("session.failed", kind="SinkLost", count=count + 2, timeout_s=60)
        assert last["level"] == "warning"
        # A transaction of `write_much` makes about a megabyte of WAL.
        assert last["retained_bytes"] > first["retained_bytes"] + 0.9 * megabytes * MEGABYTE
        sizes = [entry["retained_bytes"] for entry in ditto.logs("session.failed") if "retained_bytes" in entry]
        assert sizes == sorted(sizes), "it grows"
        print(f"retained: {[round(size / MEGABYTE, 1) for size in sizes]} MB")
        assert world.confirmed_lsn == confirmed, "the slot is held"
        server.start()
        back_at = time.monotonic()
        await ditto.streaming(count=2, timeout_s=60)
        await world.fence(timeout_s=120)
        print(f"caught up {time.monotonic() - back_at:.1f} s after NATS was back")
        # The window is all that is added: not what has waited.
        assert ditto.rss_bytes < memory + 80 * MEGABYTE
    await matches_ledger(world)
    world.sql("CHECKPOINT")
    await world.confirms_tail()
    assert await ditto.stop() == 0
