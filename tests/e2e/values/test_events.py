"""What arrives: each kind of change, in order, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from e2e.world import World


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_every_change_arrives_once_and_in_order(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)", "CREATE TABLE u (id int PRIMARY KEY)")
    await world.streaming(impl=impl)
    world.transaction(
        "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 3) AS n",
        "INSERT INTO u VALUES (10)",
        "UPDATE t SET name = 'y' WHERE id = 2",
        "DELETE FROM t WHERE id = 3",
        "INSERT INTO t VALUES (4, 'z')",
    )
    world.sql("INSERT INTO u VALUES (11)")
    events = await world.events()
    assert [event.change for event in events] == [
        ("t", "INSERT", 1),
        ("t", "INSERT", 2),
        ("t", "INSERT", 3),
        ("u", "INSERT", 10),
        ("t", "UPDATE", 2),
        ("t", "DELETE", 3),
        ("t", "INSERT", 4),
        ("u", "INSERT", 11),
    ]
    assert [event.position.ordinal for event in events] == [1, 2, 3, 4, 5, 6, 7, 1]
    assert len({event.event["id"] for event in events}) == len(events)
    assert len({event.event["commitTime"] for event in events[:7]}) == 1
    assert [event.subject for event in events[2:4]] == [f"{world.name}_public_t", f"{world.name}_public_u"]
    await world.matches_tables(event_count=8)


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("transport", ["tcp", "unix"])
async def test_small_and_large_rows_over_each_transport(world: World, impl: str, transport: str) -> None:
    """How a connection is drained depends on what it is, and on how much a read brings."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, text text)")
    over_socket = world.postgres.socket_dsn.replace("/postgres?", f"/{world.name}?")
    await world.streaming(impl=impl, postgres_dsn=over_socket if transport == "unix" else world.dsn)
    query = "SELECT client_addr IS NULL FROM pg_stat_replication JOIN pg_replication_slots ON pid = active_pid"
    assert world.value(f"{query} WHERE slot_name = '{world.name}'") == (transport == "unix")
    world.sql(
        "INSERT INTO t SELECT n, 'small' FROM generate_series(1, 3000) AS n",
        "INSERT INTO t SELECT n, repeat(md5(n::text), 100) FROM generate_series(3001, 3300) AS n",
        "INSERT INTO t SELECT n, repeat(md5(n::text), 6000) FROM generate_series(3301, 3310) AS n",
        "INSERT INTO t SELECT n, 'small' FROM generate_series(3311, 3400) AS n",
    )
    world.transaction(*(f"INSERT INTO t VALUES ({number}, 'one')" for number in range(3401, 3450)))
    assert [event.change[2] for event in await world.events()] == list(range(1, 3450))
    await world.matches_tables(event_count=3449)


async def test_an_event_has_exactly_this_form(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
    await world.streaming()
    world.sql("INSERT INTO t VALUES (1, '<é&\"')")
    (event,) = await world.events()
    parsed = event.event
    assert event.payload.decode() == (
        f'{{"id":"{parsed["id"]}","schema":"public","table":"t","action":"INSERT",'
        f'"data":{{"id":1,"name":"<é&\\""}},"dataOld":{{}},"commitTime":"{parsed["commitTime"]}"}}'
    )
    assert parsed["commitTime"][19] == "."
    assert parsed["commitTime"][26:] == "Z"


async def test_an_event_keeps_its_id_in_another_stream(world: World) -> None:
    """The same event of the same slot, delivered again because the stream was lost, can be recognised."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    world.sql(f"CREATE PUBLICATION {world.name} FOR ALL TABLES")
    for slot in (world.name, "kept"):
        world.sql(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    ditto = await world.streaming()
    world.sql("INSERT INTO t VALUES (1), (2)")
    before = await world.events()
    assert await ditto.stop() == 0
    world.sql(
        f"SELECT pg_drop_replication_slot('{world.name}')",
        f"SELECT pg_copy_logical_replication_slot('kept', '{world.name}')",
    )
    async with world.jetstream() as jetstream:
        await jetstream.delete_stream(world.stream)
    await world.streaming(delivery_on_gap="continue")
    after = await world.events()
    assert [event.payload for event in after] == [event.payload for event in before]


async def test_old_rows(world: World) -> None:
    world.sql(
        "CREATE TABLE whole (id int PRIMARY KEY, a text, b text)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "CREATE TABLE keyed (a text, id int PRIMARY KEY)",
        "CREATE TABLE indexed (a int NOT NULL, b text, id int)",
        "CREATE UNIQUE INDEX by_a ON indexed (a)",
        "ALTER TABLE indexed REPLICA IDENTITY USING INDEX by_a",
    )
    await world.streaming()
    world.sql(
        "INSERT INTO whole VALUES (1, 'x', NULL)",
        "UPDATE whole SET a = 'y'",
        "DELETE FROM whole",
        "INSERT INTO keyed VALUES ('x', 1)",
        "UPDATE keyed SET a = 'y'",
        "UPDATE keyed SET id = 2",
        "DELETE FROM keyed",
        "INSERT INTO indexed VALUES (7, 'x', 1)",
        "UPDATE indexed SET a = 8",
        "DELETE FROM indexed",
    )
    rows = [(event.event["data"], event.event["dataOld"]) for event in await world.events()]
    assert rows == [
        ({"id": 1, "a": "x", "b": None}, {}),
        ({"id": 1, "a": "y", "b": None}, {"id": 1, "a": "x", "b": None}),
        ({}, {"id": 1, "a": "y", "b": None}),
        ({"a": "x", "id": 1}, {}),
        ({"a": "y", "id": 1}, {}),
        ({"a": "y", "id": 2}, {"id": 1}),
        ({}, {"id": 2}),
        ({"a": 7, "b": "x", "id": 1}, {}),
        ({"a": 8, "b": "x", "id": 1}, {"a": 7}),
        ({}, {"a": 8}),
    ]


async def test_truncate_is_one_event_for_each_table(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t)",
        "CREATE TABLE alone (id int PRIMARY KEY)",
        "CREATE TABLE untouched (id int PRIMARY KEY)",
    )
    await world.streaming()
    world.sql(
        "INSERT INTO t VALUES (1)",
        "INSERT INTO child VALUES (1, 1)",
        "INSERT INTO alone VALUES (1)",
        "INSERT INTO untouched VALUES (1)",
        "TRUNCATE t, alone CASCADE",
        "INSERT INTO t VALUES (2)",
    )
    events = await world.events()
    truncations = events[4:-1]
    assert {event.change for event in truncations} == {(table, "TRUNCATE", None) for table in ("t", "alone", "child")}
    assert [event.position.ordinal for event in truncations] == [1, 2, 3]
    assert all(event.event["data"] == event.event["dataOld"] == {} for event in truncations)
    assert events[-1].change == ("t", "INSERT", 2)
    await world.matches_tables(event_count=8)


async def test_unchanged_toast_is_never_null(world: World) -> None:
    world.sql(
        "CREATE TABLE keyed (id int PRIMARY KEY, n int, big text)",
        "ALTER TABLE keyed ALTER big SET STORAGE EXTERNAL",
        "CREATE TABLE whole (LIKE keyed INCLUDING ALL)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
    )
    await world.streaming()
    for table in ("keyed", "whole"):
        world.sql(
            f"INSERT INTO {table} VALUES (1, 1, repeat('x', 20000))",
            f"UPDATE {table} SET n = 2",
            f"UPDATE {table} SET id = 2",
            f"UPDATE {table} SET big = NULL",
        )
    events = [event.event for event in await world.events()]
    keyed, whole = events[:4], events[4:]
    big = "x" * 20000
    assert [(event["data"], event["dataOld"], event.get("unchanged")) for event in keyed] == [
        ({"id": 1, "n": 1, "big": big}, {}, None),
        ({"id": 1, "n": 2}, {}, ["big"]),
        ({"id": 2, "n": 2}, {"id": 1}, ["big"]),
        ({"id": 2, "n": 2, "big": None}, {}, None),
    ]
    assert [(event["data"], event["dataOld"], event.get("unchanged")) for event in whole] == [
        ({"id": 1, "n": 1, "big": big}, {}, None),
        ({"id": 1, "n": 2, "big": big}, {"id": 1, "n": 1, "big": big}, None),
        ({"id": 2, "n": 2, "big": big}, {"id": 1, "n": 2, "big": big}, None),
        ({"id": 2, "n": 2, "big": None}, {"id": 2, "n": 2, "big": big}, None),
    ]
    await world.matches_tables()


async def test_what_is_rolled_back_does_not_arrive(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await world.streaming()
    world.sql("BEGIN; INSERT INTO t VALUES (1); ROLLBACK")
    world.transaction(
        "INSERT INTO t VALUES (2)",
        "SAVEPOINT s",
        "INSERT INTO t VALUES (3)",
        "ROLLBACK TO s",
        "INSERT INTO t VALUES (4)",
        "SAVEPOINT s",
        "INSERT INTO t VALUES (5)",
        "RELEASE s",
    )
    assert [event.change[2] for event in await world.events()] == [2, 4, 5]


async def test_transactions_arrive_in_the_order_of_their_commits(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await world.streaming()
    with psycopg.connect(world.dsn) as first, psycopg.connect(world.dsn) as second:
        first.execute("INSERT INTO t VALUES (1)")
        second.execute("INSERT INTO t VALUES (2)")
        first.execute("INSERT INTO t VALUES (3)")
        second.commit()
        first.execute("INSERT INTO t VALUES (4)")
        first.commit()
    assert [event.change[2] for event in await world.events()] == [2, 1, 3, 4]


WIDE: dict[str, tuple[str, str, Any]] = {
    "yes": ("bool", "true", True),
    "small": ("int2", "-32768", -32768),
    "big": ("int8", "9223372036854775807", 9223372036854775807),
    "number": ("oid", "4294967295", 4294967295),
    "price": ("numeric", "12.340", "12.340"),
    "nan": ("numeric", "'NaN'", "NaN"),
    "ratio": ("float8", "0.1", 0.1),
    "endless": ("float8", "'-Infinity'", "-Infinity"),
    "body": ("text", "E'line\\n\\t\"q\" \\\\ é 🙂'", 'line\n\t"q" \\ é 🙂'),
    "padded": ("char(3)", "'a'", "a  "),
    "doc": ("jsonb", '\'{"a":[1,null,{"b":"c"}]}\'', {"a": [1, None, {"b": "c"}]}),
    "raw": ("json", "'[1, 2]'", [1, 2]),
    "null_doc": ("jsonb", "'null'", None),
    "key": ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "day": ("date", "'2026-02-03'", "2026-02-03"),
    "old_day": ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
    "clock": ("time", "'24:00:00'", "24:00:00"),
    "at": ("timestamptz", "'2026-01-02 03:04:05.1+02'", "2026-01-02T01:04:05.1Z"),
    "never": ("timestamptz", "'infinity'", "infinity"),
    "local": ("timestamp", "'2026-01-02 03:04:05'", "2026-01-02T03:04:05"),
    "span": ("interval", "'1 year 2 months -3 days 04:05:06.789'", "1 year 2 mons -3 days +04:05:06.789"),
    "blob": ("bytea", "'\\x00ff'", "AP8="),
    "ints": ("int[]", "'{{1,NULL},{3,4}}'", [[1, None], [3, 4]]),
    "texts": ("text[]", """ARRAY['a', 'b,c', 'q"x', NULL, 'NULL', '']""", ["a", "b,c", 'q"x', None, "NULL", ""]),
    "none": ("int[]", "'{}'", []),
    "boxes": ("box[]", "'{(1,1),(0,0);(2,2),(1,1)}'", ["(1,1),(0,0)", "(2,2),(1,1)"]),
    "range": ("int4range", "'[1,5]'", "[1,6)"),
    "mood": ("mood", "'fine'", "fine"),
    "cents": ("cents", "5", 5),
    "pair": ("pair", "ROW(1, 'x,y')", '(1,"x,y")'),
    "place": ("inet", "'10.0.0.1/8'", "10.0.0.1/8"),
    "empty": ("text", "''", ""),
    "missing": ("text", "NULL", None),
}


async def test_values_as_they_arrive(world: World) -> None:
    world.sql(
        "CREATE TYPE mood AS ENUM ('fine')",
        "CREATE DOMAIN cents AS int",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE TABLE wide (" + ", ".join(f"{name} {kind}" for name, (kind, _, _) in WIDE.items()) + ")",
        "ALTER TABLE wide REPLICA IDENTITY FULL",
        # Settings of the database must not reach the walsender.
        f"ALTER DATABASE {world.name} SET datestyle = 'German'",
        f"ALTER DATABASE {world.name} SET timezone = 'Asia/Tokyo'",
        f"ALTER DATABASE {world.name} SET bytea_output = 'escape'",
        f"ALTER DATABASE {world.name} SET intervalstyle = 'iso_8601'",
        f"ALTER DATABASE {world.name} SET extra_float_digits = -10",
    )
    await world.streaming()
    world.sql("INSERT INTO wide VALUES (" + ", ".join(value for _, value, _ in WIDE.values()) + ")")
    world.sql("DELETE FROM wide")
    expected = {name: value for name, (_, _, value) in WIDE.items()}
    inserted, deleted = await world.events()
    assert inserted.event["data"] == expected
    assert list(inserted.event["data"]) == list(expected)
    assert deleted.event["dataOld"] == expected


async def test_json_numbers_keep_all_digits(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, doc jsonb)")
    await world.streaming()
    world.sql("INSERT INTO t VALUES (1, '{\"n\": 9007199254740993.000000000000000000001}')")
    (event,) = await world.events()
    assert json.loads(event.payload, parse_float=str)["data"]["doc"] == {"n": "9007199254740993.000000000000000000001"}


async def test_tables_change_in_mid_stream(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text)")
    await world.streaming()
    world.sql("INSERT INTO t VALUES (1, 'x')")
    world.transaction(
        "INSERT INTO t VALUES (2, 'x')",
        "ALTER TABLE t ADD COLUMN b int DEFAULT 7",
        "INSERT INTO t VALUES (3, 'x', 8)",
        "ALTER TABLE t DROP COLUMN a",
        "INSERT INTO t VALUES (4, 9)",
        "ALTER TABLE t RENAME COLUMN b TO c",
        "INSERT INTO t VALUES (5, 10)",
        "ALTER TABLE t ALTER COLUMN c TYPE text",
        "INSERT INTO t VALUES (6, 'eleven')",
    )
    world.sql("ALTER TABLE t RENAME TO renamed", "INSERT INTO renamed VALUES (7, 'twelve')")
    events = await world.events()
    rows = [(event.event["table"], event.event["data"]) for event in events if event.event["action"] == "INSERT"]
    assert rows == [
        ("t", {"id": 1, "a": "x"}),
        ("t", {"id": 2, "a": "x"}),
        ("t", {"id": 3, "a": "x", "b": 8}),
        ("t", {"id": 4, "b": 9}),
        ("t", {"id": 5, "c": 10}),
        ("t", {"id": 6, "c": "eleven"}),
        ("renamed", {"id": 7, "c": "twelve"}),
    ]
    assert events[-1].subject == f"{world.name}_public_renamed"


async def test_logical_messages_are_not_published_and_count_as_changes(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    await world.streaming()
    world.transaction(
        "SELECT pg_logical_emit_message(true, 'p', 'body')",
        "INSERT INTO t VALUES (1)",
        "SELECT pg_logical_emit_message(false, 'p', 'body')",
    )
    (event,) = await world.events()
    assert event.position.ordinal == 2
