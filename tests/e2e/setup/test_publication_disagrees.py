"""Publication and configuration disagree: what is selected by name and does not come stops Ditto, the rest is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from e2e.setup.test_check import check, fix

if TYPE_CHECKING:
    from e2e.world import World

ROOT = (
    "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id)",
    "CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE high PARTITION OF root FOR VALUES FROM (10) TO (20)",
)


async def refusal(world: World, **settings: object) -> str:
    ditto = world.ditto(**settings)
    assert await ditto.ended() == 3
    return ditto.sentence()


@pytest.mark.long
async def test_a_root_is_named_and_its_partitions_are_published(world: World) -> None:
    """Nothing is created; what ditto check prints fixes it; and what is taken back while Ditto runs stops it."""
    world.sql(*ROOT, f"CREATE PUBLICATION {world.name} FOR TABLE root, fence")
    named = {"root": ["insert"], "fence": ["insert"]}
    sentence = await refusal(world, events_tables=named)
    assert f"names the partitioned table public.root, and publication {world.name} does not send" in sentence
    assert "SET (publish_via_partition_root = true)" in sentence
    assert world.sql("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()") == []
    found = (await check(world, events_tables=named))["publication.tables"]
    assert found.level == "error"
    fix(world, found)
    assert (await check(world, events_tables=named))["publication.tables"].level == "ok"
    ditto = await world.streaming(events_tables=named)
    world.sql("INSERT INTO root VALUES (1), (11)")
    assert [event.change for event in await world.events()] == [("root", "INSERT", 1), ("root", "INSERT", 11)]
    world.sql(f"ALTER PUBLICATION {world.name} SET (publish_via_partition_root = false)")
    assert await ditto.ended() == 3
    assert "names the partitioned table public.root" in ditto.sentence()


@pytest.mark.long
async def test_partitions_are_named_one_by_one(world: World) -> None:
    """That is a selection of all rows; a partition that is made later, and not named, ends that."""
    world.sql(*ROOT, f"CREATE PUBLICATION {world.name} FOR TABLE root, fence")
    named = {"root": ["insert"], "low": ["insert"], "high": ["insert"], "fence": ["insert"]}
    ditto = await world.streaming(events_tables=named)
    world.sql("CREATE TABLE higher PARTITION OF root FOR VALUES FROM (20) TO (30)")
    assert await ditto.ended() == 3
    assert "names the partitioned table public.root" in ditto.sentence()


async def test_a_leaf_is_named_and_the_root_is_published(world: World) -> None:
    world.sql(*ROOT, f"CREATE PUBLICATION {world.name} FOR TABLE root, fence WITH (publish_via_partition_root)")
    named = {"low": ["insert"], "fence": ["insert"]}
    sentence = await refusal(world, events_tables=named)
    assert "names public.low, whose changes" in sentence
    assert "name public.root in events.tables" in sentence
    found = (await check(world, events_tables=named))["publication.tables"]
    assert found.level == "error"
    assert "public.root" in found.why
    world.sql(f"ALTER PUBLICATION {world.name} ADD TABLE low")
    assert "names public.low, whose changes" in await refusal(world, events_tables=named)
    both = {**named, "root": ["insert"]}
    assert (await check(world, events_tables=both))["publication.tables"].level == "ok"
    await world.streaming(events_tables=both)
    world.sql("INSERT INTO root VALUES (1)")
    assert [event.change for event in await world.events()] == [("root", "INSERT", 1)]


@pytest.mark.long
async def test_actions_that_are_named_and_not_published(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    world.sql(f"CREATE PUBLICATION {world.name} FOR TABLE t, fence WITH (publish = 'insert')")
    named = {"t": ["insert", "update"], "fence": ["insert"]}
    sentence = await refusal(world, events_tables=named)
    assert f"selects update of t, and publication {world.name} does not publish update" in sentence
    found = (await check(world, events_tables=named))["publication.actions"]
    assert found.level == "error"
    fix(world, found)
    ditto = await world.streaming(events_tables=named)
    world.sql(f"ALTER PUBLICATION {world.name} SET (publish = 'insert')")
    assert await ditto.ended() == 3
    assert "does not publish update" in ditto.sentence()


@pytest.mark.parametrize(
    "given", [{}, pytest.param({"events_tables": {"*": ["insert", "update"]}}, marks=pytest.mark.long)]
)
async def test_what_only_the_publication_selects_is_said(world: World, given: dict[str, object]) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a int)", f"CREATE PUBLICATION {world.name} FOR TABLE t, fence")
    ditto = await world.streaming(**given)
    world.sql(f"ALTER PUBLICATION {world.name} SET (publish = 'insert, update')")
    if world.major >= 15:
        world.sql(f"ALTER PUBLICATION {world.name} SET TABLE t WHERE (a > 5), fence")
        assert (await ditto.logged("publication.filters_changed"))["tables"] == ["public.t"]
        assert (await check(world))["publication.filters"].level == "warning"
        # Such an update is refused now: the filter asks for a column that is not in the identity.
        warning = await ditto.logged("publication.identity_missing")
        assert warning["tables"] == ["public.t"]
        with pytest.raises(psycopg.errors.InvalidColumnReference):
            world.sql("INSERT INTO t VALUES (1, 10)", "UPDATE t SET a = 11")
        fix(world, (await check(world))["tables.identity"])
        world.sql("UPDATE t SET a = 11")
        assert (await check(world))["tables.identity"].level == "ok"
    warning = await ditto.logged("publication.actions_removed")
    assert warning["level"] == "warning"
    assert warning["actions"] == ["delete", "truncate"]
    assert (await check(world))["publication.actions"].level == "warning"
    assert await ditto.stop() == 0


async def test_an_empty_publication(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name}")
    ditto = await world.streaming()
    assert (await ditto.logged("publication.empty"))["level"] == "warning"
    found = (await check(world))["publication.tables"]
    assert found.level == "error"
    fix(world, found)
    assert (await ditto.logged("publication.tables_added"))["tables"] == ["public.fence", "public.t"]
    world.sql("INSERT INTO t VALUES (1)")
    assert [event.change[2] for event in await world.events()] == [1]


async def test_a_keyless_table_is_made_under_a_publication_for_all_tables(world: World) -> None:
    ditto = await world.streaming()
    world.sql("CREATE TABLE bare (id int)", "INSERT INTO bare VALUES (1)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        world.sql("UPDATE bare SET id = 2")
    warning = await ditto.logged("publication.identity_missing")
    assert warning["level"] == "warning"
    assert warning["tables"] == ["public.bare"]
    fix(world, (await check(world))["tables.identity"])
    world.sql("UPDATE bare SET id = 2")
    assert [event.change[1:] for event in await world.events()] == [("INSERT", 1), ("UPDATE", 2)]
    assert await ditto.stop() == 0


@pytest.mark.parametrize(
    ("creation", "words"),
    [
        ("CREATE VIEW thing AS SELECT 1 AS id", "a view"),
        ("CREATE MATERIALIZED VIEW thing AS SELECT 1 AS id", "a materialized view"),
        ("CREATE UNLOGGED TABLE thing (id int PRIMARY KEY)", "an unlogged table"),
    ],
)
async def test_what_is_named_and_never_sends_anything(world: World, creation: str, words: str) -> None:
    world.sql(creation, f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    named = {"thing": ["insert"], "fence": ["insert"]}
    assert f"names public.thing, which is {words}" in await refusal(world, events_tables=named)
    assert words in (await check(world, events_tables=named))["tables.exist"].what


async def test_a_deferrable_key_is_no_identity(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY DEFERRABLE)")
    assert "public.t" in await refusal(world)
    finding = (await check(world))["tables.identity"]
    assert "public.t" in finding.what
    ditto = await world.streaming(postgres_allow_missing_identity=True, events_metadata=["primary_key"])
    world.sql("INSERT INTO t VALUES (1)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        world.sql("UPDATE t SET id = 2")
    fix(world, finding)
    world.sql("INSERT INTO t VALUES (2)", "UPDATE t SET id = 3 - id")
    events = [stored.event for stored in await world.events()]
    # Between the two updates both rows have one key: it does not tell them apart.
    assert [event["data"]["id"] for event in events] == [1, 2, 2, 1]
    assert [event["meta"]["primaryKey"] for event in events] == [[]] * 4
    assert await ditto.stop() == 0
    await world.matches_tables()


async def test_columns_that_a_key_includes_are_no_key(world: World) -> None:
    world.sql("CREATE TABLE t (id int, a int, PRIMARY KEY (id) INCLUDE (a))", "ALTER TABLE t REPLICA IDENTITY FULL")
    await world.streaming(events_metadata=["primary_key"])
    world.sql("INSERT INTO t VALUES (1, 1)", "ALTER TABLE t REPLICA IDENTITY DEFAULT", "INSERT INTO t VALUES (2, 1)")
    events = [stored.event for stored in await world.events()]
    assert [event["meta"]["primaryKey"] for event in events] == [["id"], ["id"]]
