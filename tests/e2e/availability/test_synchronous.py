"""Ditto as a synchronous standby: asked for, or taken in by a `*` that was meant for others."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from e2e.process import eventually
from e2e.setup.test_check import check, fix

if TYPE_CHECKING:
    from e2e.world import World

TABLE = "CREATE TABLE t (id int PRIMARY KEY)"
SLOW_S = 2.5
"""The period at which Ditto looks, and a little more: what a commit may wait at the most, when it begins to wait."""


def wait_for(world: World, names: str) -> None:
    world.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")


async def commit(world: World, *statements: str) -> list[float]:
    """Seconds that each took, with the default synchronous_commit."""
    took = []
    for statement in statements:
        began = time.monotonic()
        await asyncio.to_thread(world.sql, statement)
        took.append(time.monotonic() - began)
    return took


@pytest.mark.parametrize("names", ["*", "ANY 1 (*)"])
@pytest.mark.parametrize("role", ["postgres", "plain"])
async def test_commits_do_not_wait_long_for_ditto_that_nobody_asked_for(
    postgres_world: World, names: str, role: str
) -> None:
    """Rows that are published and that are not, DDL and bare xids; a role that may not see who is synchronous."""
    world = postgres_world
    world.sql(TABLE, "CREATE TABLE other (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR TABLE t")
    world.sql("CREATE ROLE plain LOGIN REPLICATION")
    ditto = await world.streaming(
        delivery_confirm_delay="60s", postgres_dsn=world.dsn_by(world.postgres.port, user=role)
    )
    world.sql("INSERT INTO t VALUES (0)")
    await world.holds(2)
    wait_for(world, names)
    (first,) = await commit(world, "INSERT INTO t VALUES (1)")
    warning = await ditto.logged("postgres.synchronous_unasked")
    assert warning["level"] == "warning"
    assert warning["synchronous_standby_names"] == names
    state = world.value("SELECT sync_state FROM pg_stat_replication")
    assert state == ("sync" if names == "*" else "quorum")
    rest = await commit(
        world,
        *(f"INSERT INTO t VALUES ({row})" for row in range(2, 12)),
        "INSERT INTO other VALUES (1)",
        "CREATE TABLE more (id int)",
        "SELECT pg_current_xact_id()",
        "INSERT INTO t SELECT generate_series(100, 5000)",
    )
    assert first < SLOW_S + 1
    assert max(rest) < SLOW_S, rest
    assert len(ditto.logs("postgres.synchronous_unasked")) == 1
    finding = (await check(world))["server.synchronous_standby_names"]
    assert finding.level == "warning"
    fix(world, finding)
    await eventually(
        lambda: world.value("SELECT sync_state FROM pg_stat_replication") == "async", "nobody waits for Ditto"
    )
    assert (await check(world))["server.synchronous_standby_names"].level == "ok"
    assert await ditto.stop() == 0
    assert max(await commit(world, "INSERT INTO t VALUES (9999)")) < SLOW_S


async def test_a_first_start_where_nobody_but_ditto_stands_by(postgres_world: World) -> None:
    """Its own CREATE PUBLICATION does not wait for itself."""
    world = postgres_world
    world.sql(TABLE)
    wait_for(world, "*")
    ditto = await world.streaming()
    assert max(await commit(world, "INSERT INTO t VALUES (1)")) < SLOW_S + 1
    assert await ditto.stop() == 0


async def test_asked_for_with_the_default_synchronous_commit(postgres_world: World) -> None:
    world = postgres_world
    world.sql(TABLE)
    ditto = await world.streaming()
    wait_for(world, "Ditto")
    (first,) = await commit(world, "INSERT INTO t VALUES (1)")
    rest = await commit(world, *(f"INSERT INTO t VALUES ({row})" for row in range(2, 12)))
    assert first < SLOW_S + 1
    assert max(rest) < SLOW_S, rest
    await ditto.logged("postgres.synchronous")
    assert not ditto.logs("postgres.synchronous_unasked")
    assert (await check(world))["server.synchronous_standby_names"].level == "ok"
