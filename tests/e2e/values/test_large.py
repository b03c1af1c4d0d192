"""Transactions and numbers of writers beyond the ordinary: all arrives, and memory stays as it was."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import nats
import psycopg
import pytest
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from ditto.decoding.change import Change
from e2e.ledger import TABLES, check
from e2e.world import Reader

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import Stored, World

MEGABYTE = 1 << 20
ROOM = 48 * MEGABYTE
"""Above the peak of a transaction that fills the window: allocators do not give everything back."""


def peak_rss(ditto: DittoProcess) -> int:
    """The most memory that was ever resident, in bytes."""
    status = Path(f"/proc/{ditto.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


async def fill_window(world: World, ditto: DittoProcess) -> int:
    """Rows enough to fill the window several times; returns the peak after it: the baseline."""
    world.sql(
        "CREATE TABLE filler (id int PRIMARY KEY, n int)",
        "INSERT INTO filler SELECT i, i % 1000 FROM generate_series(1, 60000) AS i",
    )
    await world.fence(timeout_s=60)
    return peak_rss(ditto)


async def holds_rows(world: World, count: int) -> None:
    """The transaction of `count` rows is in the stream, each once and in order. Held in memory, it would be 5 GB."""
    decoder = msgspec.json.Decoder(Change)
    expected = 1
    client = await nats.connect(world.nats_server.url, allow_reconnect=False)
    try:
        jetstream = client.jetstream()
        state = (await jetstream.stream_info(world.stream)).state
        config = ConsumerConfig(
            filter_subject=f"{world.name}_public_big",
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=60,
            mem_storage=True,
        )
        consumer = await jetstream.add_consumer(world.stream, config)
        reader = Reader(client, f"$JS.API.CONSUMER.MSG.NEXT.{world.stream}.{consumer.name}")
        commit_lsn = 0
        while batch := await reader.read():
            for message in batch:
                assert message.position.ordinal == expected
                event = decoder.decode(message.payload)
                assert (event.action, event.data) == ("INSERT", {"id": expected, "n": expected * 7 % 1000})
                commit_lsn = commit_lsn or message.position.commit_lsn
                assert message.position.commit_lsn == commit_lsn
                expected += 1
            if batch[-1].sequence == state.last_seq:
                break
    finally:
        await client.close()
    assert expected == count + 1


@pytest.mark.parametrize("rows", [100_000, pytest.param(5_000_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_one_large_transaction(world: World, rows: int) -> None:
    world.sql("CREATE TABLE big (id int PRIMARY KEY, n int)")
    ditto = await world.streaming()
    baseline = await fill_window(world, ditto)
    await asyncio.to_thread(
        world.sql, f"INSERT INTO big SELECT i, i * 7::bigint % 1000 FROM generate_series(1, {rows}) AS i"
    )
    await world.fence(timeout_s=600)
    peak = peak_rss(ditto)
    print(f"{rows} rows: peak {peak / MEGABYTE:.0f} MB, baseline {baseline / MEGABYTE:.0f} MB")
    assert peak < baseline + ROOM
    assert world.sql("SELECT count(*), count(*) FILTER (WHERE n = id * 7::bigint % 1000) FROM big") == [(rows, rows)]
    await holds_rows(world, rows)
    assert not ditto.logs("session.failed")


@pytest.mark.long
async def test_ten_thousand_subtransactions(world: World) -> None:
    """A third of the savepoints is rolled back, some with savepoints in them."""
    ditto = await world.streaming()
    baseline = await fill_window(world, ditto)
    world.sql(*TABLES)
    world.sql("""
        DO $$
        DECLARE kept int := 0;
        BEGIN
            FOR i IN 1..10000 LOOP
                BEGIN
                    INSERT INTO account VALUES (i, 0, CASE WHEN i % 3 = 0 THEN 'rolled back' ELSE 'kept' END);
                    BEGIN
                        UPDATE account SET n = n + 1 WHERE id = i AND i % 5 < 2;
                        IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
                    EXCEPTION WHEN division_by_zero THEN NULL;
                    END;
                    IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
                    kept := kept + 1 + (i % 5 = 1)::int;
                EXCEPTION WHEN division_by_zero THEN NULL;
                END;
            END LOOP;
            INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint, kept);
        END $$
    """)
    await world.fence(timeout_s=60)
    peak = peak_rss(ditto)
    print(f"10,000 subtransactions: peak {peak / MEGABYTE:.0f} MB, baseline {baseline / MEGABYTE:.0f} MB")
    assert peak < baseline + ROOM
    kept = [number for number in range(1, 10_001) if number % 3]
    updated = [number for number in kept if number % 5 == 1]
    assert world.sql("SELECT count(*), sum(n) FROM account") == [(len(kept), len(updated))]
    assert check(await without_filler(world), world.sql("SELECT id, row_count FROM ledger")) == []
    await world.matches_tables()


async def without_filler(world: World) -> list[Stored]:
    return [message for message in await world.messages() if message.subject != f"{world.name}_public_filler"]


@pytest.mark.parametrize("writers", [100, pytest.param(1_000, marks=[pytest.mark.long, pytest.mark.timeout(300)])])
async def test_many_concurrent_writers(crowded_world: World, writers: int) -> None:
    """Each with a connection of its own, and all of them in a transaction at the same time."""
    world = crowded_world
    ditto = await world.streaming()
    baseline = await fill_window(world, ditto)
    world.sql(*TABLES)
    all_open = asyncio.Barrier(writers)
    connecting = asyncio.Semaphore(50)

    async def write(number: int) -> None:
        async with connecting:
            connection = await psycopg.AsyncConnection.connect(world.dsn)
        async with connection:
            for turn in range(5):
                first = number * 1000 + turn * 10
                await connection.execute("INSERT INTO account VALUES (%s, 0, 'kept')", [first])
                if turn == 0:
                    await all_open.wait()
                await connection.execute("INSERT INTO entry SELECT %s, i FROM generate_series(1, 8) AS i", [first])
                await connection.execute("UPDATE account SET n = n + 1 WHERE id = %s", [first])
                query = "INSERT INTO ledger VALUES (pg_current_xact_id()::text::bigint, 10)"
                await connection.execute(query)
                await (connection.rollback() if turn == 3 else connection.commit())

    await asyncio.gather(*(write(number) for number in range(writers)))
    await world.fence(timeout_s=120)
    peak = peak_rss(ditto)
    print(f"{writers} writers: peak {peak / MEGABYTE:.0f} MB, baseline {baseline / MEGABYTE:.0f} MB")
    assert peak < baseline + ROOM
    rows = world.sql("SELECT id, row_count FROM ledger")
    assert len(rows) == 4 * writers
    assert check(await without_filler(world), rows) == []
    await world.matches_tables()
