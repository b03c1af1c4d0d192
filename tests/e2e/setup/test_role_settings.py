"""What the role's own settings and the server's own ends do to a running Ditto: nothing that lasts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from psycopg import conninfo

from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


def role(world: World, **settings: str) -> str:
    """A superuser with these settings that streams; its connection string."""
    name = f"{world.name}_role"
    world.sql(
        f"CREATE ROLE {name} LOGIN SUPERUSER", *(f"ALTER ROLE {name} SET {k} = '{v}'" for k, v in settings.items())
    )
    return conninfo.make_conninfo(world.dsn, user=name)


async def test_a_publication_that_was_missing_is_noticed_whatever_the_role_wants_to_hear(world: World) -> None:
    dsn = role(world, client_min_messages="error")
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(postgres_dsn=dsn)
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    publication = f'"{world.name}"'
    world.sql(
        f"DROP PUBLICATION {publication}",
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t VALUES (3)",
        f"CREATE PUBLICATION {publication} FOR ALL TABLES",
        "INSERT INTO t VALUES (4)",
    )
    assert await ditto.ended() == 3
    assert "publication" in ditto.sentence()
    assert [each.change[2] for each in await world.messages() if each.subject.endswith("_t")] == [1]


async def test_time_limits_of_the_role_end_neither_a_standby_nor_a_quiet_stream(world: World) -> None:
    limits = {"idle_session_timeout": "300ms", "statement_timeout": "300ms", "lock_timeout": "1ms"}
    if world.major >= 17:
        limits["transaction_timeout"] = "300ms"
    dsn = role(world, **limits)
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    holder = await world.streaming(postgres_dsn=dsn)
    standby = world.ditto(postgres_dsn=dsn)
    await standby.logged("slot.standby")
    quiet_until = time.monotonic() + 1.5
    await eventually(lambda: time.monotonic() > quiet_until, "several limits have passed")
    world.sql("INSERT INTO t VALUES (1)")
    assert [each.change for each in await world.events()] == [("t", "INSERT", 1)]
    assert not holder.logs("session.failed")
    assert not standby.logs("session.failed")
    holder.kill()
    await standby.streaming()
    world.sql("INSERT INTO t VALUES (2)")
    assert [each.change[2] for each in await world.events()] == [1, 2]


@pytest.mark.parametrize("which", ["walsender", pytest.param("other", marks=pytest.mark.long)])
@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_an_end_by_the_administrator_is_not_the_end(world: World, how: str, which: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming()
    is_walsender = "=" if which == "walsender" else "<>"
    if how == "pg_cancel_backend" and which == "other":
        if world.major < 16:
            pytest.skip("before 16 PostgreSQL opens no table for the list of the published ones")

        def is_cancelled() -> bool:
            """The check in the background asks for that list, too, and survives the end of its query."""
            for pid in waiting(world):
                world.sql(f"SELECT pg_cancel_backend({pid})")
            return bool(ditto.logs("session.failed"))

        # The session is cancelled in what it waits for: the list of the published tables, every 5 s.
        with world.connect() as blocker:
            blocker.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            await eventually(is_cancelled, "the cancelled query has ended the session", timeout_s=30)
    else:
        world.sql(
            f"SELECT {how}(pid) FROM pg_stat_activity WHERE application_name = 'ditto' "
            f"AND datname = '{world.name}' AND backend_type {is_walsender} 'walsender'"
        )
    await ditto.streaming(count=2)
    world.sql("INSERT INTO t VALUES (1)")
    assert [each.change for each in await world.events()] == [("t", "INSERT", 1)]
    await ditto.logged("session.failed", kind="ConnectionLost")


def waiting(world: World) -> list[int]:
    """The processes that wait for a lock, and are Ditto's."""
    rows = world.sql(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'ditto' AND wait_event_type = 'Lock' "
        f"AND datname = '{world.name}'"
    )
    return [pid for (pid,) in rows]


async def test_a_role_that_is_refused_later_is_tried_again_by_a_process_that_has_streamed(world: World) -> None:
    dsn = role(world)
    name = f"{world.name}_role"
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    ditto = await world.streaming(postgres_dsn=dsn)
    world.sql(
        f"ALTER ROLE {name} NOLOGIN",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'",
    )
    refused = await ditto.logged("session.failed", kind="AccessDenied", count=2)
    assert "LOGIN" in refused["hint"]
    another = world.ditto(postgres_dsn=dsn)
    assert await another.ended() == 3, "one that has never streamed says so and ends"
    world.sql(f"ALTER ROLE {name} LOGIN", "INSERT INTO t VALUES (1)")
    await ditto.streaming(count=2)
    assert [each.change for each in await world.events()] == [("t", "INSERT", 1)]


async def test_a_role_that_only_reads_by_default_may_ask_for_a_primary(world: World) -> None:
    dsn = conninfo.make_conninfo(role(world, default_transaction_read_only="on"), target_session_attrs="read-write")
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    await world.streaming(postgres_dsn=dsn)
    world.sql("INSERT INTO t VALUES (2)")
    assert [each.change for each in await world.events()] == [("t", "INSERT", 2)]


async def test_a_bug_of_logical_decoding_is_named_with_the_way_out(postgres_world: World) -> None:
    world = postgres_world
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    ditto = await world.streaming()
    with world.connect() as connection:
        # Two tables with one file number, as the server itself comes to see them after much DDL.
        connection.execute("SET allow_system_table_mods = on")
        connection.execute(
            "UPDATE pg_class SET relfilenode = (SELECT relfilenode FROM pg_class WHERE oid = 't'::regclass) "
            "WHERE oid = 'u'::regclass"
        )
    world.sql("INSERT INTO t VALUES (1)")
    assert await ditto.ended() == 3
    sentence = ditto.sentence()
    assert "unexpected duplicate" in sentence
    assert "minor release" in sentence
