"""The publication is dropped or changed under Ditto, which then stops or says so: PostgreSQL alone sends less."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.process import DittoProcess
    from e2e.world import Stored, World

TABLES = ("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")


async def rows(world: World) -> list[int]:
    return [event.change[2] for event in await world.events()]


async def says_the_way_out(ditto: DittoProcess) -> None:
    assert await ditto.ended() == 3
    sentence = ditto.sentence()
    assert "publication" in sentence
    assert "ditto slot drop" in sentence
    assert "delivery.on_gap: continue" in sentence


async def starts_anew(world: World) -> None:
    """As the message says."""
    world.sql(f"SELECT pg_drop_replication_slot('{world.name}')")
    await world.streaming(delivery_on_gap="continue")
    world.sql("INSERT INTO t VALUES (100)")
    assert await rows(world) == [1, 100]


@pytest.mark.parametrize("has_traffic", [True, False])
async def test_the_publication_is_dropped_while_ditto_runs(world: World, has_traffic: bool) -> None:
    """PostgreSQL 18 only warns, on the connection that it streams on, and leaves the rows out."""
    world.sql(*TABLES)
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    tail = await world.tail()
    world.sql(f"DROP PUBLICATION {world.name}")
    if has_traffic:
        world.sql("INSERT INTO t VALUES (2)")
    await says_the_way_out(ditto)
    if has_traffic:
        assert "skipped loading publication" in ditto.sentence() or "does not exist" in ditto.sentence()
        await stays_refused(world)
    assert world.confirmed_lsn <= (await world.tail()).commit_lsn
    assert (await world.tail()).commit_lsn >= tail.commit_lsn
    await starts_anew(world)


async def stays_refused(world: World) -> None:
    """Made again, it is not there yet where the slot stands: a restart must not skip the rows of the time between."""
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    await says_the_way_out(world.ditto())


@pytest.mark.parametrize("may_create", [True, False])
async def test_the_publication_is_dropped_while_ditto_is_down(world: World, may_create: bool) -> None:
    world.sql(*TABLES)
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    assert await ditto.stop() == 0
    world.sql(f"DROP PUBLICATION {world.name}", "INSERT INTO t VALUES (2)")
    ditto = world.ditto(postgres_create=may_create)
    if may_create:
        await says_the_way_out(ditto)
        assert "skipped loading publication" in ditto.sentence() or "does not exist" in ditto.sentence()
    else:
        assert await ditto.ended() == 3
        assert f"publication {world.name} does not exist" in ditto.sentence()
        world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    await starts_anew(world)


@pytest.mark.long
async def test_a_table_that_the_configuration_names_is_taken_out(world: World) -> None:
    world.sql(*TABLES, f"CREATE PUBLICATION {world.name} FOR TABLE t, u, fence")
    named = {"t": ["insert"], "public.u": ["insert"], "fence": ["insert"]}
    ditto = await world.streaming(events_tables=named)
    world.sql("INSERT INTO t VALUES (1)", "INSERT INTO u VALUES (2)")
    await world.fence()
    world.sql(f"ALTER PUBLICATION {world.name} DROP TABLE u", "INSERT INTO t VALUES (3)")
    for stopped in (ditto, world.ditto(events_tables=named)):
        assert await stopped.ended() == 3
        sentence = stopped.sentence()
        assert f"events.tables names public.u, and publication {world.name} does not have it" in sentence
        assert f'ALTER PUBLICATION "{world.name}" ADD TABLE' in sentence
    world.sql(f"ALTER PUBLICATION {world.name} ADD TABLE u", "INSERT INTO u VALUES (4)")
    await world.streaming(events_tables=named)
    assert await rows(world) == [1, 2, 3, 4]


async def test_a_table_is_taken_out_that_only_the_publication_selects(world: World) -> None:
    """What is published is then up to the publication: it is said, and Ditto goes on."""
    world.sql(*TABLES, "CREATE TABLE v (id int PRIMARY KEY)", "CREATE TABLE w (id int PRIMARY KEY)")
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE t, u, v, fence")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)", "INSERT INTO u VALUES (2)")
    world.sql(f"ALTER PUBLICATION {world.name} DROP TABLE u", "DROP TABLE v", "INSERT INTO u VALUES (3)")
    world.sql(f"ALTER PUBLICATION {world.name} ADD TABLE w", "INSERT INTO w VALUES (4)")
    warning = await ditto.logged("publication.tables_removed")
    assert warning["level"] == "warning"
    assert warning["tables"] == ["public.u"]
    assert f'ALTER PUBLICATION "{world.name}" ADD TABLE' in warning["hint"]
    assert (await ditto.logged("publication.tables_added"))["tables"] == ["public.w"]
    assert await rows(world) == [1, 2, 4]
    assert len(ditto.logs("publication.tables_removed")) == 1
    assert await ditto.stop() == 0


async def test_a_publication_that_is_renamed_under_load(world: World) -> None:
    """Rows that come in the same drain as the server's warning: none may be passed over without a word."""
    world.sql(*TABLES)
    ditto = await world.streaming()
    world.sql("INSERT INTO t SELECT generate_series(1, 20000)")
    await world.holds(1_000)
    world.sql(
        *(f"INSERT INTO t VALUES ({row})" for row in range(20_001, 20_011)),
        f"ALTER PUBLICATION {world.name} RENAME TO {world.name}_other",
        *(f"INSERT INTO t VALUES ({row})" for row in range(20_011, 20_021)),
    )
    assert await ditto.ended() == 3
    stored = [message.change[2] for message in await world.messages() if message.position.ordinal]
    assert stored == list(range(1, len(stored) + 1))
    assert len(stored) <= 20_010
    await eventually(lambda: not world.is_slot_active, "the slot is free")
    await asyncio.to_thread(world.sql, f"ALTER PUBLICATION {world.name}_other RENAME TO {world.name}")
    # The slot has not passed the rows that were left out: they are refused, not skipped.
    await says_the_way_out(world.ditto())


@pytest.mark.long
async def test_a_locked_table_does_not_hold_up_the_others(world: World) -> None:
    """From 16 on PostgreSQL opens every published table to list them: behind an ALTER TABLE that would wait."""
    world.sql("CREATE TABLE locked (id int PRIMARY KEY)", "CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(log_level="debug")
    with world.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        if world.major >= 16:
            await ditto.logged("publication.not_seen")
        world.sql("INSERT INTO t VALUES (1)")
        await world.fence()
        assert await ditto.stop() == 0
        ditto = await world.streaming()
        world.sql("INSERT INTO t VALUES (2)")
        await world.fence()
    world.sql("INSERT INTO locked VALUES (3)")
    assert [event.change[2] for event in await world.events()] == [1, 2, 3]
    assert not ditto.logs("session.failed")


async def test_another_publication_is_named(world: World) -> None:
    """The slot stands before its creation: the hint says how nothing is lost."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR TABLE t, fence")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    assert await ditto.stop() == 0
    world.sql("CREATE PUBLICATION other FOR TABLE t, fence", "INSERT INTO t VALUES (2)")
    ditto = world.ditto(postgres_publication="other")
    assert await ditto.ended() == 3
    assert "start with the former one, until a change" in ditto.sentence()
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (3)")
    await world.fence()
    assert await ditto.stop() == 0
    ditto = await world.streaming(postgres_publication="other")
    world.sql("INSERT INTO t VALUES (4)")
    assert [event.change[2] for event in await world.events()] == [1, 2, 3, 4]


async def test_a_table_is_added_under_a_lock(world: World) -> None:
    """As docs/guarantees.md says: the lock waits for the transactions that PostgreSQL would decode in two ways."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE u, fence")
    ditto = await world.streaming(delivery_confirm_delay="60s")  # PostgreSQL keeps what the stream is about to lose

    def alter() -> None:
        with world.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE public.t IN SHARE MODE")
            connection.execute(f"ALTER PUBLICATION {world.name} ADD TABLE public.t")
        world.sql("INSERT INTO t VALUES (2)")

    with world.connect() as writer:
        writer.autocommit = False
        writer.execute("INSERT INTO t VALUES (1)")
        altering = asyncio.ensure_future(asyncio.to_thread(alter))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 't'::regclass"
        await eventually(lambda: world.value(waits) == 1, "the lock waits for the transaction")
        writer.execute("INSERT INTO u SELECT generate_series(10, 13)")
        writer.commit()
        await altering
    messages: list[Stored] = []
    async with asyncio.timeout(20):
        while len(messages) < 4:
            messages = [message for message in await world.messages() if message.event.get("table") == "u"]
    ditto.kill()
    async with world.jetstream() as jetstream:  # as though it had ended after the first of the transaction's events
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        for sequence in range(messages[0].sequence + 1, last + 1):
            await jetstream.delete_msg(world.stream, sequence)
    await world.streaming(delivery_confirm_delay="60s")
    changes = [each.change[::2] for each in await world.events()]
    assert changes == [("u", 10), ("u", 11), ("u", 12), ("u", 13), ("t", 2)]
