"""Tables that change while Ditto runs, in the same transaction as their rows: no event has the wrong columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.world import Stored, World

pytestmark = pytest.mark.parametrize("impl", ["c", "python"])


def rows(events: Iterable[Stored]) -> list[tuple[str, dict[str, Any]]]:
    """Schema and table, and the new row, or else the old one."""
    found = [stored.event for stored in events]
    return [(f"{event['schema']}.{event['table']}", event["data"] or event["dataOld"]) for event in found]


async def test_columns_are_added_dropped_renamed_and_retyped(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1, 'x')",
        "ALTER TABLE t ADD b int DEFAULT 7",
        "INSERT INTO t VALUES (2, 'x', 8)",
        "ALTER TABLE t DROP a",
        "INSERT INTO t VALUES (3, 9)",
        "ALTER TABLE t RENAME b TO c",
        "UPDATE t SET c = 10 WHERE id = 3",
        "ALTER TABLE t ALTER c TYPE text",  # rewrites the table
        "INSERT INTO t VALUES (4, '011')",
        "ALTER TABLE t ADD a bool",
        "UPDATE t SET a = true WHERE id = 1",
        "ALTER TABLE t ALTER a TYPE int USING a::int",
        "UPDATE t SET c = c WHERE id = 1",
        "ALTER TABLE t DROP c, ADD c int",
        "DELETE FROM t WHERE id = 3",
        "INSERT INTO t VALUES (5, 6, 7)",
    )
    assert rows(await world.events()) == [
        ("public.t", row)
        for row in (
            {"id": 1, "a": "x"},
            {"id": 2, "a": "x", "b": 8},
            {"id": 3, "b": 9},
            {"id": 3, "c": 10},
            {"id": 4, "c": "011"},
            {"id": 1, "c": "7", "a": True},
            {"id": 1, "c": "7", "a": 1},
            {"id": 3},
            {"id": 5, "a": 6, "c": 7},
        )
    ]


async def test_what_a_savepoint_takes_back_never_was(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1, 'x')",
        "SAVEPOINT s",
        "ALTER TABLE t DROP a, ADD b int",
        "INSERT INTO t VALUES (2, 3)",
        "ROLLBACK TO s",
        "INSERT INTO t VALUES (4, 'y')",
    )
    assert rows(await world.events()) == [("public.t", {"id": 1, "a": "x"}), ("public.t", {"id": 4, "a": "y"})]
    await world.matches_tables()


async def test_key_and_replica_identity_change(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL, c text)")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1, 2, 'x'), (3, 4, 'y'), (5, 6, 'z')",
        "DELETE FROM t WHERE a = 1",
        "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)",
        "DELETE FROM t WHERE a = 3",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "DELETE FROM t WHERE a = 5",
    )
    assert [row for _, row in rows(await world.events())[3:]] == [{"a": 1}, {"b": 4}, {"a": 5, "b": 6, "c": "z"}]


async def test_two_transactions_alter_and_write_by_turns(world: World, impl: str) -> None:
    """Transactions overlap: each is decoded with the columns that it saw, in the order of their commits."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)", "CREATE TABLE u (id int PRIMARY KEY)")
    await world.streaming(impl=impl)
    with world.connect() as first, world.connect() as second:
        first.execute("INSERT INTO u VALUES (1)")
        first.execute("INSERT INTO t VALUES (1, 'x')")
        second.execute("INSERT INTO u VALUES (2)")
        first.commit()
        second.execute("ALTER TABLE t DROP a, ADD b int")
        second.execute("INSERT INTO t VALUES (2, 3)")
        first.execute("INSERT INTO u VALUES (3)")
        second.commit()
        first.execute("INSERT INTO t VALUES (4, 5)")
        first.commit()
    assert [row for _, row in rows(await world.events())] == [
        {"id": 1},
        {"id": 1, "a": "x"},
        {"id": 2},
        {"id": 2, "b": 3},
        {"id": 3},
        {"id": 4, "b": 5},
    ]


async def test_table_and_schema_are_renamed(world: World, impl: str) -> None:
    world.sql("CREATE SCHEMA s", "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE other (n text PRIMARY KEY)")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t RENAME TO u",
        "INSERT INTO u VALUES (2)",
        "ALTER TABLE other RENAME TO t",  # the name is free again
        "INSERT INTO t VALUES ('three')",
        "ALTER TABLE u SET SCHEMA s",
        "INSERT INTO s.u VALUES (4)",
        "ALTER SCHEMA s RENAME TO r",
        "INSERT INTO r.u VALUES (5)",
        "CREATE SCHEMA s",
        "CREATE TABLE s.u (n text PRIMARY KEY)",
        "INSERT INTO s.u VALUES ('six')",
    )
    events = await world.events()
    # Before 16 a running walsender learns of a schema's new name only with the table's next change.
    renamed = "r.u" if world.major >= 16 else "s.u"
    assert rows(events) == [
        ("public.t", {"id": 1}),
        ("public.u", {"id": 2}),
        ("public.t", {"n": "three"}),
        ("s.u", {"id": 4}),
        (renamed, {"id": 5}),
        ("s.u", {"n": "six"}),
    ]
    subjects = [f"{world.name}_{table.replace('.', '_')}" for table, _ in rows(events)]
    assert [event.subject for event in events] == subjects
    world.sql("ALTER TABLE r.u ADD a int", "INSERT INTO r.u VALUES (7, 8)")
    assert rows(await world.events())[-1] == ("r.u", {"id": 7, "a": 8})


async def test_routes_go_by_the_name_at_that_moment(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    await world.streaming(
        impl=impl,
        events_tables={"t": ["insert"], "new": ["insert"], "fence": ["insert"]},
        events_topics={"new": f"{world.name}.mapped"},
    )
    world.transaction(
        "INSERT INTO t VALUES (1)",
        "INSERT INTO u VALUES (1)",
        "ALTER TABLE t RENAME TO new",
        "INSERT INTO new VALUES (2)",
        "ALTER TABLE new RENAME TO unknown",
        "INSERT INTO unknown VALUES (3)",
        "ALTER TABLE u RENAME TO t",
        "INSERT INTO t VALUES (4)",
    )
    events = await world.events()
    assert [(event.subject, event.position.ordinal) for event in events] == [
        (f"{world.name}_public_t", 1),
        (f"{world.name}.mapped", 3),
        (f"{world.name}_public_t", 5),
    ]


async def test_a_table_is_dropped_and_made_again(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1, 'x')",
        "DROP TABLE t",
        "CREATE TABLE t (a bool, id text PRIMARY KEY)",
        "INSERT INTO t VALUES (true, 'two')",
        "DROP TABLE t",
        "CREATE TABLE t (id int, a text) PARTITION BY LIST (id)",
        "CREATE TABLE t_3 PARTITION OF t (PRIMARY KEY (id)) FOR VALUES IN (3)",
        "INSERT INTO t VALUES (3, 'z')",
    )
    assert rows(await world.events()) == [
        ("public.t", {"id": 1, "a": "x"}),
        ("public.t", {"a": True, "id": "two"}),
        ("public.t_3", {"id": 3, "a": "z"}),
    ]


async def test_types_are_dropped_and_made_again(world: World, impl: str) -> None:
    world.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE DOMAIN amount AS int",
        "CREATE TABLE t (id int PRIMARY KEY, mood mood, amount amount)",
    )
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1, 'ok', 5)",
        "ALTER TABLE t DROP mood, DROP amount",
        "DROP TYPE mood",
        "DROP DOMAIN amount",
        "CREATE TYPE mood AS ENUM ('7', 'ok')",
        "CREATE DOMAIN amount AS numeric[]",
        "ALTER TABLE t ADD mood mood, ADD amount amount",
        "INSERT INTO t VALUES (2, '7', '{5.0,NULL}')",
        "ALTER TYPE mood RENAME TO feeling",
        "ALTER TYPE feeling RENAME VALUE 'ok' TO 'fine'",
        "INSERT INTO t VALUES (3, 'fine', NULL)",
        "CREATE DOMAIN mood AS json",
        "ALTER TABLE t ALTER mood TYPE mood USING '{}'",
        "INSERT INTO t VALUES (4, '[1]', NULL)",
    )
    assert [row for _, row in rows(await world.events())] == [
        {"id": 1, "mood": "ok", "amount": 5},
        {"id": 2, "mood": "7", "amount": ["5.0", None]},
        {"id": 3, "mood": "fine", "amount": None},
        {"id": 4, "mood": [1], "amount": None},
    ]


async def test_an_enum_gets_a_value(world: World, impl: str) -> None:
    world.sql("CREATE TYPE mood AS ENUM ('sad')", "CREATE TABLE t (id int PRIMARY KEY, mood mood)")
    await world.streaming(impl=impl)
    world.sql(
        "INSERT INTO t VALUES (1, 'sad')",
        "ALTER TYPE mood ADD VALUE 'ok' BEFORE 'sad'",
        "INSERT INTO t VALUES (2, 'ok')",
    )
    assert [row for _, row in rows(await world.events())] == [{"id": 1, "mood": "sad"}, {"id": 2, "mood": "ok"}]
    await world.matches_tables()


async def test_a_table_is_added_to_the_publication_and_taken_out(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", f"CREATE PUBLICATION {world.name} FOR TABLE fence")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t VALUES (1)",
        f"ALTER PUBLICATION {world.name} ADD TABLE t",
        "INSERT INTO t VALUES (2)",
        "CREATE TABLE u (id int PRIMARY KEY, a text)",
        "INSERT INTO u VALUES (3, 'x')",
        f"ALTER PUBLICATION {world.name} ADD TABLE u",
        "INSERT INTO u VALUES (4, 'y')",
        f"ALTER PUBLICATION {world.name} DROP TABLE t",
        "INSERT INTO t VALUES (5)",
    )
    world.sql("INSERT INTO t VALUES (6)", "INSERT INTO u VALUES (7, 'z')")
    events = await world.events()
    assert rows(events) == [
        ("public.t", {"id": 2}),
        ("public.u", {"id": 4, "a": "y"}),
        ("public.u", {"id": 7, "a": "z"}),
    ]
    assert events[-1].subject == f"{world.name}_public_u"


async def test_changes_go_on_over_a_restart(world: World, impl: str) -> None:
    """What was written while Ditto was away is decoded with the columns of its time."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    ditto = await world.streaming(impl=impl)
    world.sql("INSERT INTO t VALUES (1, 'x')")
    await world.events()
    assert await ditto.stop() == 0
    world.sql(
        "INSERT INTO t VALUES (2, 'y')",
        "ALTER TABLE t ADD b int, DROP a",
        "INSERT INTO t VALUES (3, 4)",
        "ALTER TABLE t RENAME TO u",
        "INSERT INTO u VALUES (5, 6)",
        "DROP TABLE u",
    )
    await world.streaming(impl=impl)
    assert rows(await world.events()) == [
        ("public.t", {"id": 1, "a": "x"}),
        ("public.t", {"id": 2, "a": "y"}),
        ("public.t", {"id": 3, "b": 4}),
        ("public.u", {"id": 5, "b": 6}),
    ]
