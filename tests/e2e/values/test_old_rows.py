"""What an event says of the row before: by replica identity, TOAST, generated columns, column lists and row filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from e2e.world import World

BIG = "SELECT string_agg(md5(n::text), '') FROM generate_series(1, {count}) AS n"
"""Text that does not compress: 32 bytes each. From 2 kB on out of line, up to 2.7 kB fit for an index."""


async def changes(world: World) -> list[tuple[str, str, Any, Any]]:
    """Table, action, new and old row."""
    return [
        (event["table"], event["action"], event["data"], event["dataOld"])
        for event in [stored.event for stored in await world.events()]
    ]


async def test_each_replica_identity(world: World) -> None:
    shape = "(a int NOT NULL, gone int, b text, id int NOT NULL)"
    world.sql(
        *(f"CREATE TABLE {name} {shape}" for name in ("byd", "byf", "byi", "byn")),
        *(f"ALTER TABLE {name} DROP gone" for name in ("byd", "byf", "byi", "byn")),
        "ALTER TABLE byd ADD PRIMARY KEY (id)",
        "ALTER TABLE byf REPLICA IDENTITY FULL",
        "CREATE UNIQUE INDEX by_a ON byi (id, a) INCLUDE (b)",
        "ALTER TABLE byi ADD PRIMARY KEY (id), REPLICA IDENTITY USING INDEX by_a",
        "ALTER TABLE byn ADD PRIMARY KEY (id), REPLICA IDENTITY NOTHING",
    )
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    await world.streaming()
    expected: list[Any] = []
    for name, key, whole in (("byd", ["id"], False), ("byf", [], True), ("byi", ["a", "id"], False)):
        world.sql(
            f"INSERT INTO {name} VALUES (1, 'x', 10), (2, NULL, 20)",
            f"UPDATE {name} SET b = 'y' WHERE id = 10",
            f"UPDATE {name} SET id = 11, a = 5 WHERE id = 10",
            f"UPDATE {name} SET b = 'z' WHERE id = 20",
            f"DELETE FROM {name} WHERE id = 20",
        )
        first: list[dict[str, Any]] = [{"a": 1, "b": value, "id": 10} for value in "xy"]
        moved = {"a": 5, "b": "y", "id": 11}
        second: list[dict[str, Any]] = [{"a": 2, "b": value, "id": 20} for value in (None, "z")]

        def old(row: dict[str, Any], key: list[str] = key, *, whole: bool = whole) -> dict[str, Any]:
            return row if whole else {column: row[column] for column in key}

        expected += [
            (name, "INSERT", first[0], {}),
            (name, "INSERT", second[0], {}),
            (name, "UPDATE", first[1], first[0] if whole else {}),
            (name, "UPDATE", moved, old(first[1])),
            (name, "UPDATE", second[1], second[0] if whole else {}),
            (name, "DELETE", {}, old(second[1])),
        ]
    world.sql("INSERT INTO byn VALUES (1, 'x', 10)", "TRUNCATE byn", "INSERT INTO byn VALUES (2, 'y', 20)")
    for statement in ("UPDATE byn SET b = 'z'", "DELETE FROM byn"):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replica identity"):
            world.sql(statement)
    expected += [
        ("byn", "INSERT", {"a": 1, "b": "x", "id": 10}, {}),
        ("byn", "TRUNCATE", {}, {}),
        ("byn", "INSERT", {"a": 2, "b": "y", "id": 20}, {}),
    ]
    assert await changes(world) == expected
    await world.matches_tables(event_count=len(expected))


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_unchanged_toast(world: World, impl: str) -> None:
    """In a value, and in the key itself, which PostgreSQL then sends as the old row's."""
    columns = "(k text PRIMARY KEY, n int, big text)"
    world.sql(
        *(
            statement
            for table in ("keyed", "whole")
            for statement in (
                f"CREATE TABLE {table} {columns}",
                f"ALTER TABLE {table} ALTER k SET STORAGE EXTERNAL, ALTER big SET STORAGE EXTERNAL",
            )
        ),
        "ALTER TABLE whole REPLICA IDENTITY FULL",
    )
    key, big = world.value(BIG.format(count=75)), world.value(BIG.format(count=300))
    await world.streaming(impl=impl)
    for table in ("keyed", "whole"):
        world.sql(
            f"INSERT INTO {table} VALUES ('{key}', 1, '{big}')",
            f"UPDATE {table} SET n = 2",
            f"UPDATE {table} SET k = 'short'",
            f"UPDATE {table} SET n = 3, big = 'small'",
            f"DELETE FROM {table}",
        )
    events = [stored.event for stored in await world.events()]
    keyed, whole = events[:5], events[5:]
    if int(world.value("SHOW server_version_num")) >= 140002:
        # Before 14.2 PostgreSQL sends nothing of such a key, and it is `unchanged` then.
        assert (keyed[1]["data"], keyed[1]["dataOld"]) == ({"k": key, "n": 2}, {"k": key})
        assert keyed[1]["unchanged"] == ["big"]
        await world.matches_tables()
    assert (keyed[2]["data"], keyed[2]["dataOld"]) == ({"k": "short", "n": 2}, {"k": key})
    assert keyed[2]["unchanged"] == ["big"]
    assert keyed[3]["data"] == {"k": "short", "n": 3, "big": "small"}
    assert "unchanged" not in keyed[3]
    rows = [(key, 1, big), (key, 2, big), ("short", 2, big), ("short", 3, "small")]
    named = [dict(zip(("k", "n", "big"), row, strict=True)) for row in rows]
    assert [event["data"] for event in whole] == [*named, {}]
    assert [event["dataOld"] for event in whole] == [{}, *named]
    assert not any("unchanged" in event for event in whole)


async def test_generated_columns(world: World) -> None:
    """Not published by default; from 18 stored ones can be. Virtual ones have no value that could be sent."""
    virtual = ", v int GENERATED ALWAYS AS (id * 2) VIRTUAL" if world.major >= 18 else ""
    stored = "s int GENERATED ALWAYS AS (id + 1) STORED, id int PRIMARY KEY"
    world.sql(f"CREATE TABLE plain ({stored}{virtual}, a text)", f"CREATE TABLE whole ({stored}, a text)")
    world.sql("ALTER TABLE whole REPLICA IDENTITY FULL")
    options = "WITH (publish_generated_columns = stored)" if world.major >= 18 else ""
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES {options}")
    await world.streaming()
    for table in ("plain", "whole"):
        world.sql(
            f"INSERT INTO {table} (id, a) VALUES (1, 'x'), (5, 'y')",
            f"UPDATE {table} SET id = 2 WHERE id = 1",
            f"DELETE FROM {table} WHERE id = 2",
        )
    has_stored = world.major >= 18

    def row(id_: int, a: str) -> dict[str, Any]:
        return {"s": id_ + 1, "id": id_, "a": a} if has_stored else {"id": id_, "a": a}

    inserts: list[tuple[str, Any, Any]] = [("INSERT", row(1, "x"), {}), ("INSERT", row(5, "y"), {})]
    assert [change[1:] for change in await changes(world)] == [
        *inserts,
        ("UPDATE", row(2, "x"), {"id": 1}),
        ("DELETE", {}, {"id": 2}),
        *inserts,
        ("UPDATE", row(2, "x"), row(1, "x")),
        ("DELETE", {}, row(2, "x")),
    ]
    await world.matches_tables(event_count=8)


async def test_column_lists(world: World) -> None:
    if world.major < 15:
        return  # there are none
    world.sql(
        "CREATE TABLE t (secret text, id int PRIMARY KEY, a int, big text)",
        "ALTER TABLE t ALTER big SET STORAGE EXTERNAL",
        f"CREATE PUBLICATION {world.name} FOR TABLE t (a, id, big), fence",
    )
    await world.streaming()
    big = world.value(BIG.format(count=300))
    world.sql(
        f"INSERT INTO t VALUES ('s', 1, 2, '{big}'), ('s', 2, 3, NULL)",
        "UPDATE t SET secret = 'other' WHERE id = 1",
        "UPDATE t SET id = 5 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
    )
    assert await changes(world) == [
        ("t", "INSERT", {"id": 1, "a": 2, "big": big}, {}),
        ("t", "INSERT", {"id": 2, "a": 3, "big": None}, {}),
        ("t", "UPDATE", {"id": 1, "a": 2}, {}),
        ("t", "UPDATE", {"id": 5, "a": 2}, {"id": 1}),
        ("t", "DELETE", {}, {"id": 2}),
    ]
    await world.matches_tables(event_count=5)


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_row_filters(world: World, impl: str) -> None:
    """A row that comes to fulfil the filter is inserted, one that ceases to is deleted."""
    if world.major < 15:
        return  # there are none
    world.sql(
        "CREATE TABLE t (id int, n int, big text, PRIMARY KEY (id, n))",
        "CREATE TABLE whole (id int, n int, big text)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "ALTER TABLE t ALTER big SET STORAGE EXTERNAL",
        "ALTER TABLE whole ALTER big SET STORAGE EXTERNAL",
        f"CREATE PUBLICATION {world.name} FOR TABLE t WHERE (n > 5), whole WHERE (n > 5), fence",
    )
    await world.streaming(impl=impl)
    big = world.value(BIG.format(count=300))
    for table in ("t", "whole"):
        world.sql(
            f"INSERT INTO {table} VALUES (1, 1, '{big}'), (2, 9, 'x'), (3, 2, 'y')",
            f"UPDATE {table} SET n = 7 WHERE id = 1",
            f"UPDATE {table} SET n = 8 WHERE id = 2",
            f"UPDATE {table} SET n = 0 WHERE id = 2",
            f"UPDATE {table} SET n = 4 WHERE id = 3",
            f"DELETE FROM {table} WHERE id = 3",
        )
    found = await changes(world)
    keyed, whole = ([change[1:] for change in found if change[0] == table] for table in ("t", "whole"))
    assert keyed == [
        ("INSERT", {"id": 2, "n": 9, "big": "x"}, {}),
        # PostgreSQL does not have the unchanged TOAST value at hand: the event says so.
        ("INSERT", {"id": 1, "n": 7}, {}),
        ("UPDATE", {"id": 2, "n": 8, "big": "x"}, {"id": 2, "n": 9}),
        ("DELETE", {}, {"id": 2, "n": 8}),
    ]
    assert [stored.event.get("unchanged") for stored in await world.events()][:4] == [None, ["big"], None, None]
    assert whole == [
        ("INSERT", {"id": 2, "n": 9, "big": "x"}, {}),
        ("INSERT", {"id": 1, "n": 7, "big": big}, {}),
        ("UPDATE", {"id": 2, "n": 8, "big": "x"}, {"id": 2, "n": 9, "big": "x"}),
        ("DELETE", {}, {"id": 2, "n": 8, "big": "x"}),
    ]
    world.sql(f"UPDATE t SET big = '{big}'")  # now it is sent
    await world.fence()
    await world.matches_tables()


async def test_tables_without_a_primary_key(world: World) -> None:
    world.sql(
        "CREATE TABLE append (a int, b text)",
        "CREATE TABLE whole (a int, b text)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "CREATE TABLE none ()",
    )
    await world.streaming(postgres_allow_missing_identity=True)
    world.sql(
        "INSERT INTO append VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
        "INSERT INTO whole VALUES (1, 'x'), (1, 'x'), (NULL, NULL)",
        "UPDATE whole SET a = 2 WHERE ctid = '(0,1)'",
        "UPDATE whole SET b = NULL WHERE a = 2",
        "DELETE FROM whole WHERE a IS NULL",
        "INSERT INTO none DEFAULT VALUES",
        "ALTER TABLE whole ADD c int",
        "UPDATE whole SET c = 5 WHERE a = 1",
    )
    found = await changes(world)
    assert [change[1:] for change in found if change[0] == "whole"][3:] == [
        ("UPDATE", {"a": 2, "b": "x"}, {"a": 1, "b": "x"}),
        ("UPDATE", {"a": 2, "b": None}, {"a": 2, "b": "x"}),
        ("DELETE", {}, {"a": None, "b": None}),
        ("UPDATE", {"a": 1, "b": "x", "c": 5}, {"a": 1, "b": "x", "c": None}),
    ]
    assert ("none", "INSERT", {}, {}) in found
    world.sql("TRUNCATE none")  # a table without columns cannot be compared
    await world.matches_tables(event_count=12)
