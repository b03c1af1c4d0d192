"""`ditto check` and snapshots: each thing that one needs, and how long one may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg import conninfo

from e2e.setup.test_check import check, fix

if TYPE_CHECKING:
    from ditto.check.finding import Finding
    from e2e.world import World

POINTS = {f"snapshot.{point}" for point in ("tables", "markers", "keys", "transactions", "duration")}


async def found(world: World, **settings: Any) -> dict[str, Finding]:
    given = {"snapshot_mode": "initial", "events_tables": {"public.t": ["insert"]}, **settings}
    return {name: each for name, each in (await check(world, **given)).items() if name.startswith("snapshot.")}


def as_role(world: World) -> tuple[str, str]:
    """A role that may replicate and nothing else, and how it connects."""
    role = f"reader_{world.name}"
    world.sql(f"CREATE ROLE {role} LOGIN REPLICATION")
    return role, conninfo.make_conninfo(world.dsn, user=role)


async def test_what_is_looked_at(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR TABLE t, fence")
    assert await found(world, snapshot_mode="never") == {}
    points = await found(world)
    assert set(points) == POINTS
    assert {each.level for each in points.values()} == {"ok"}
    assert "1 table" in points["snapshot.tables"].what
    assert set(await found(world, snapshot_mode="never", snapshot_tables=["t"])) == POINTS
    assert set(await found(world, snapshot_mode="never", delivery_on_gap="snapshot")) == POINTS


async def test_rights(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE SCHEMA app",
        "CREATE TABLE app.secure (id int PRIMARY KEY)",
        "ALTER TABLE app.secure ENABLE ROW LEVEL SECURITY",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        "GRANT SELECT ON app.secure TO PUBLIC",
    )
    _, dsn = as_role(world)
    tables = {"public.t": ["insert"], "app.secure": ["insert", "update"]}
    finding = (await found(world, postgres_dsn=dsn, events_tables=tables))["snapshot.tables"]
    assert finding.level == "error"
    assert "may not read app.secure, public.t" in finding.what
    fix(world, finding)
    finding = (await found(world, postgres_dsn=dsn, events_tables=tables))["snapshot.tables"]
    assert "row-level security" in finding.what
    fix(world, finding)
    assert (await found(world, postgres_dsn=dsn, events_tables=tables))["snapshot.tables"].level == "ok"


async def test_markers(world: World) -> None:
    more = ", boolean" if world.major >= 17 else ""
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES",
        f"REVOKE EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text{more}) FROM PUBLIC",
    )
    _, dsn = as_role(world)
    finding = (await found(world, postgres_dsn=dsn))["snapshot.markers"]
    assert finding.level == "error"
    fix(world, finding)
    assert (await found(world, postgres_dsn=dsn))["snapshot.markers"].level == "ok"


async def test_a_table_without_a_key(world: World) -> None:
    world.sql("CREATE TABLE t (id int)", f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    points = await found(world)
    assert set(points) == {*POINTS, "snapshot.slots", "snapshot.walsenders"}
    assert points["snapshot.keys"].level == "warning"
    assert "public.t; the stream waits for about 1 s" in points["snapshot.keys"].what
    assert points["snapshot.slots"].level == "ok"


async def test_the_places_of_a_full_server(postgres_world: World) -> None:
    world = postgres_world
    world.sql("CREATE TABLE t (id int)", f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    world.sql(*(f"SELECT pg_create_logical_replication_slot('s{n}', 'pgoutput')" for n in range(19)))
    # One is left for Ditto itself.
    finding = (await found(world))["snapshot.slots"]
    assert (finding.level, finding.fix_in) == ("error", "psql")
    assert "max_replication_slots = 40" in str(finding.fix)


async def test_transactions(postgres_world: World) -> None:
    world = postgres_world
    world.postgres.settings["max_prepared_transactions"] = "2"
    world.postgres.restart()
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    with world.connect() as young:
        young.execute("INSERT INTO t VALUES (1)")
        assert (await found(world))["snapshot.transactions"].level == "ok"
    with world.connect() as connection:
        connection.execute("INSERT INTO t VALUES (2)")
        connection.execute("PREPARE TRANSACTION 'forgotten'")
    finding = (await found(world))["snapshot.transactions"]
    assert finding.level == "warning"
    assert "prepared transaction 'forgotten'" in finding.what
    world.sql("ROLLBACK PREPARED 'forgotten'")


async def test_how_long_it_may_take(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id)",
        "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (60000)",
        "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (60000) TO (200000)",
        "INSERT INTO t SELECT generate_series(1, 120000)",
        "VACUUM ANALYZE t1, t2",
        f"CREATE PUBLICATION {world.name} FOR TABLE t WITH (publish_via_partition_root)",
    )
    finding = (await found(world))["snapshot.duration"]
    assert "about 120,000 rows (" in finding.what
    assert "may take 2.4 s" in finding.what
    slow = (await found(world, snapshot_max_rows_per_s="100"))["snapshot.duration"]
    assert "may take 20 min at 100 rows a second" in slow.what


@pytest.mark.parametrize("name", ["nowhere", "public.fence"])
async def test_names(world: World, name: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR TABLE t, fence")
    points = await found(world, snapshot_tables=[name])
    assert set(points) == {"snapshot.tables"}
    assert points["snapshot.tables"].level == "error"
    assert name in points["snapshot.tables"].what
