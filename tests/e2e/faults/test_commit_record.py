"""What commits at an LSN, as the server's WAL has it; and the transaction that a slot does not send a second time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from ditto.lsn import Transaction, parse_lsn
from ditto.source.commit_record import read_commit
from ditto.source.replication import Replication
from ditto.source.sql import open_control

if TYPE_CHECKING:
    from ditto.source.commit_record import CommitRecord
    from e2e.world import World

_INVALIDATES = {14: 140018, 15: 150013, 16: 160009, 17: 170005}
"""The first minor release in which ALTER PUBLICATION reaches transactions that are open."""


async def commit_at(world: World, lsn: int) -> CommitRecord | None:
    source = Replication(world.dsn, clock=time.monotonic, max_events=1, max_bytes=1)
    try:
        await source.connect()
        system = await source.identify()
        async with open_control(world.dsn) as control:
            page_size = await control.wal_page_size()
        return await read_commit(source, lsn, end_lsn=system.wal_lsn, timeline=system.timeline, page_size=page_size)
    finally:
        await source.close()


async def test_commit_records_are_read_from_the_wal(postgres_world: World) -> None:
    """With subtransactions, with what DDL invalidates (more than a page), prepared, and replicated from elsewhere."""
    world = postgres_world
    world.postgres.settings["max_prepared_transactions"] = "5"
    await asyncio.to_thread(world.postgres.restart)
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await world.streaming(events_metadata=["xid"])
    for number in range(20):
        world.sql(f"INSERT INTO t VALUES ({number})")
    savepoints = [f"SAVEPOINT s; INSERT INTO t VALUES ({number}); RELEASE s" for number in range(1000, 1100)]
    world.transaction(*savepoints)
    world.transaction(*(f"CREATE TABLE made{number} (id int)" for number in range(100)), "INSERT INTO t VALUES (2000)")
    world.sql("BEGIN; INSERT INTO t VALUES (2500); PREPARE TRANSACTION 'two phases'", "COMMIT PREPARED 'two phases'")
    world.transaction(
        "SELECT pg_replication_origin_create('elsewhere')",
        "SELECT pg_replication_origin_session_setup('elsewhere')",
        "SELECT pg_replication_origin_xact_setup('0/1234', '2020-01-02 03:04:05.678901+00')",
        "INSERT INTO t VALUES (3000)",
    )
    commits = {
        message.position.commit_lsn: Transaction(
            message.position.commit_lsn, message.event["commitTime"], message.event["meta"]["xid"]
        )
        for message in await world.events()
    }
    assert len(commits) == 24
    assert any(each.commit_time == "2020-01-02T03:04:05.678901Z" for each in commits.values())
    for lsn, transaction in commits.items():
        record = await commit_at(world, lsn)
        assert record is not None
        assert record.xid in {transaction.xid, None}
        assert record.is_of(transaction)
        assert not record.is_of(transaction._replace(commit_time="2020-01-02T03:04:05.678902Z"))
        assert record.xid is None or not record.is_of(transaction._replace(xid=1))
    end_lsn = parse_lsn(world.value("SELECT pg_current_wal_flush_lsn()::text"))
    for lsn in (max(commits) - 64, max(commits) + 8, end_lsn - 24, end_lsn - 8, end_lsn, end_lsn + 8192):
        assert await commit_at(world, lsn) is None


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_transaction_that_was_open_while_the_publication_was_altered(world: World, *, is_killed: bool) -> None:
    """PostgreSQL sends it as the publication is by then, and, when it comes again first, as it was: not at all."""
    version = int(world.value("SHOW server_version_num"))
    if version < _INVALIDATES.get(version // 10000, 0):
        pytest.skip("PostgreSQL itself then leaves out rows, with and without a restart")
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR TABLE fence WITH (publish=insert)"
    )
    ditto = await world.streaming()
    with world.connect() as connection:
        connection.execute("INSERT INTO t VALUES (1)")
        world.sql(f"ALTER PUBLICATION {world.name} ADD TABLE t", "INSERT INTO t VALUES (2)")
    await world.holds(3)
    await world.confirms_tail()
    if is_killed:
        ditto.kill()
        world.sql("INSERT INTO t VALUES (3)")
    else:
        assert await ditto.stop() == 0
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (4)")
    if world.major >= 15:  # before, it is sent without its rows
        passed = await ditto.logged("session.failed", kind="ConnectionLost")
        assert "it was open while the publication was altered" in passed["error"]
    assert [event.change[2] for event in await world.events()] == [2, 1, *([3] if is_killed else []), 4]
    assert len(ditto.logs("session.failed")) == (world.major >= 15)
    assert await ditto.stop() == 0
    ditto = await world.streaming()
    await world.fence()
    assert not ditto.logs("session.failed")
