"""Each row arrives as READ exactly as it did as INSERT, whatever its types and key, however its table is published."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from e2e.samples import has_xml
from e2e.snapshots.recording import StreamRecording
from e2e.snapshots.writers import request
from e2e.values.test_documented_values import RUNS, VALUES

if TYPE_CHECKING:
    from e2e.values.test_documented_values import Example
    from e2e.world import World

Rows = Counter[tuple[bytes, bytes, bytes, bytes]]


async def read_as_inserted(world: World, *statements: str, timeout_s: float = 60, **settings: Any) -> Counter[str]:
    """Run statements that only insert while Ditto streams, then snapshot all; returns how many rows each table has."""
    ditto = await world.streaming(**settings)
    world.sql(*statements)
    await world.fence(timeout_s=timeout_s)
    recording = StreamRecording(world)
    request(world, "run")
    await recording.finished("run", ditto=ditto, timeout_s=timeout_s)
    assert recording.controls(state="failed") == []
    found: dict[bytes, Rows] = {b'"INSERT"': Counter(), b'"READ"': Counter()}
    for message in await world.messages():
        event = msgspec.json.decode(message.payload, type=dict[str, msgspec.Raw])
        if b"action" in message.payload and "action" in event:
            row = tuple(bytes(event.get(name, b"")) for name in ("schema", "table", "data", "jsonNull"))
            found[bytes(event["action"])][row] += 1  # type: ignore[index]
    inserted, read = found.values()
    lacking, surplus = inserted - read, read - inserted
    assert (list(lacking)[:2], list(surplus)[:2]) == ([], [])
    assert not ditto.logs("session.failed")
    counts: Counter[str] = Counter()
    for (_, table, _, _), count in read.items():
        counts[table.decode().strip('"')] += count
    return counts


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize(("types", "rows"), RUNS.values(), ids=RUNS)
async def test_each_documented_value(world: World, types: dict[str, str], rows: list[Example], impl: str) -> None:
    world.settings["DITTO_IMPL"] = impl
    match = re.search(r"```sql\n(.*?)```", VALUES, re.DOTALL)
    assert match
    with psycopg.connect(world.dsn) as connection:
        if not connection.execute("SELECT FROM pg_available_extensions WHERE name = 'hstore'").fetchall():
            pytest.skip("this server came without contrib")
        connection.execute(match[1].encode())
        if not has_xml(connection):
            rows = [row for row in rows if row.type != "xml"]
    # A table for each type: most of them have several values.
    names = {kind: f"t{number}" for number, kind in enumerate(dict.fromkeys(row.type for row in rows))}
    world.sql(*(f"CREATE TABLE {name} (id int PRIMARY KEY, v {kind})" for kind, name in names.items()))
    settings: dict[str, Any] = {f"events_types_{name}": value for name, value in types.items()}
    inserts = (f"INSERT INTO {names[row.type]} VALUES ({n}, {row.literal})" for n, row in enumerate(rows))
    counts = await read_as_inserted(world, *inserts, **settings)
    assert counts.total() == len(rows) + 1


KEYS = {
    "int": ("id int PRIMARY KEY", "i * i - 500"),
    "bigint, sparse": ("id bigint PRIMARY KEY", "i::bigint * 92233720368547758 - 5000000000000000000"),
    "text": ("id text PRIMARY KEY", "(ARRAY['a', 'B', 'ä', 'Z', '', '1 '])[i %% 6 + 1] || i"),
    "text, C": ('id text COLLATE "C" PRIMARY KEY', "(ARRAY['a', 'B', 'ä', 'Z', '', E'\\n\\t\\\\'])[i %% 6 + 1] || i"),
    "uuid": ("id uuid PRIMARY KEY", "md5(i::text)::uuid"),
    "numeric": ("id numeric PRIMARY KEY", "CASE i WHEN 1 THEN 'NaN' ELSE (i - 50) / 7.0 END"),
    "composite": ("id text, b int, c date, PRIMARY KEY (b, id, c)", "'x' || i %% 3, i %% 5, date '2026-01-01' + i"),
    "enum": ("id mood, b int, PRIMARY KEY (id, b)", "(ARRAY['sad', 'fine', 'good'])[i %% 3 + 1]::mood, i"),
    "domain": ("id cents PRIMARY KEY", "i"),
    "timestamptz": ("id timestamptz PRIMARY KEY", "CASE i WHEN 1 THEN 'infinity' ELSE now() + i * interval '1 h' END"),
    "bpchar": ("id char(5) PRIMARY KEY", "'a' || i"),
    '"char"': ('id "char", b int, PRIMARY KEY (id, b)', '(64 + i %% 26)::"char", i'),
    "boolean": ("id boolean, b int, PRIMARY KEY (id, b)", "i %% 2 = 0, i"),
    "bytea": ("id bytea PRIMARY KEY", "decode(md5(i::text), 'hex')"),
    "inet": ("id inet PRIMARY KEY", "inet '10.0.0.0' + i"),
    "array": ("id int[] PRIMARY KEY", "ARRAY[i %% 4, i]"),
    "double": ("id float8 PRIMARY KEY", "CASE i WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE i / 3.0 END"),
    "jsonb": ("id jsonb PRIMARY KEY", "jsonb_build_object('a', i %% 3, 'b', i)"),
    "identity index": ("id int, b text NOT NULL", "i, 'b' || i"),
    "none": ("id int", "i %% 10"),
    "large": ("id text PRIMARY KEY", "repeat(md5(i::text), 30)"),
}


@pytest.mark.parametrize("kind", KEYS)
async def test_each_kind_of_key(world: World, kind: str) -> None:
    """In chunks of seven rows: each row once, wherever the chunks begin."""
    definition, values = KEYS[kind]
    world.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'fine', 'good')",
        "CREATE DOMAIN cents AS int",
        f"CREATE TABLE t ({definition}, note text)",
        f"CREATE TABLE empty ({definition})",
    )
    if kind == "identity index":
        world.sql("CREATE UNIQUE INDEX other ON t (b DESC)", "ALTER TABLE t REPLICA IDENTITY USING INDEX other")
    columns = world.value("SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
                          "WHERE attrelid = 't'::regclass AND attnum > 0 AND attname <> 'note'")  # fmt: skip
    insert = (
        f"INSERT INTO t ({columns}, note) SELECT {values.replace('%%', '%')}, 'n' FROM generate_series(1, 100) AS i"
    )
    settings = {"snapshot_chunk_rows": "7", "postgres_allow_missing_identity": "true"}
    counts = await read_as_inserted(world, insert, **settings)  # type: ignore[arg-type]
    assert counts["t"] == 100


async def test_collations(world: World) -> None:
    """Those of ICU order otherwise than bytes do, and one takes different texts for equal."""
    try:
        world.sql("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server came without ICU")
    world.sql(
        'CREATE TABLE t (id text COLLATE "en-x-icu" PRIMARY KEY)',
        "CREATE TABLE u (id text COLLATE loose PRIMARY KEY)",
    )
    words = "(ARRAY['a', 'B', 'ä', 'Z', '-', 'É', '_ x'])[i % 7 + 1] || i"
    inserts = [f"INSERT INTO {table} SELECT {words} FROM generate_series(1, 100) AS i" for table in "tu"]
    assert (await read_as_inserted(world, *inserts, snapshot_chunk_rows="7"))["u"] == 100


PARTITIONED = (
    "CREATE TABLE p (region text, id int, a text, PRIMARY KEY (id, region)) PARTITION BY LIST (region)",
    "CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu')",
    "CREATE TABLE p_us PARTITION OF p FOR VALUES IN ('us') PARTITION BY RANGE (id)",
    "CREATE TABLE p_us_1 PARTITION OF p_us FOR VALUES FROM (0) TO (100)",
    # One that is attached: other order of columns, and a column that was dropped.
    "CREATE TABLE p_jp (gone int, a text, id int NOT NULL, region text NOT NULL, PRIMARY KEY (id, region))",
    "ALTER TABLE p_jp DROP gone",
    "ALTER TABLE p ATTACH PARTITION p_jp FOR VALUES IN ('jp')",
)


@pytest.mark.parametrize("is_root", [False, True])
async def test_partitions(world: World, is_root: bool) -> None:
    world.sql(
        *PARTITIONED,
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES WITH (publish_via_partition_root = {is_root})",
    )
    insert = "INSERT INTO p SELECT (ARRAY['eu', 'us', 'jp'])[i % 3 + 1], i, 'a' || i FROM generate_series(1, 90) AS i"
    counts = await read_as_inserted(world, insert, snapshot_chunk_rows="7")
    del counts["fence"]
    assert counts == ({"p": 90} if is_root else {"p_eu": 30, "p_us_1": 30, "p_jp": 30})


async def test_inheritance_and_dropped_and_generated_columns(world: World) -> None:
    more = ", publish_generated_columns = stored" if world.major >= 18 else ""
    world.sql(
        "CREATE TABLE parent (gone int, id int PRIMARY KEY, a text)",
        "ALTER TABLE parent DROP gone",
        "CREATE TABLE child (b int, PRIMARY KEY (id)) INHERITS (parent)",
        "CREATE TABLE made (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, a text)",
        f"CREATE PUBLICATION {world.name} FOR ALL TABLES WITH (publish = 'insert, update, delete, truncate'{more})",
    )
    counts = await read_as_inserted(
        world,
        "INSERT INTO parent SELECT i, 'parent' FROM generate_series(1, 20) AS i",
        "INSERT INTO child SELECT i, 'child', i FROM generate_series(1, 20) AS i",
        "INSERT INTO made (id, a) SELECT i, 'x' FROM generate_series(1, 20) AS i",
        snapshot_chunk_rows="7",
    )
    assert (counts["parent"], counts["child"], counts["made"]) == (20, 20, 20)


async def test_column_lists_and_row_filters(world: World) -> None:
    if world.major < 15:
        pytest.skip("PostgreSQL 14 has neither")
    world.sql(
        "CREATE TABLE few (a text, id int PRIMARY KEY, secret text, b int)",
        "CREATE TABLE part (id int PRIMARY KEY, n int)",
        f"CREATE PUBLICATION {world.name} FOR TABLE fence, few (id, b), part WHERE (id % 3 = 0)",
    )
    counts = await read_as_inserted(
        world,
        "INSERT INTO few SELECT 'a', i, 'secret', i FROM generate_series(1, 20) AS i",
        "INSERT INTO part SELECT i, i FROM generate_series(1, 30) AS i",
        snapshot_chunk_rows="7",
    )
    assert (counts["few"], counts["part"]) == (20, 10)


async def test_the_most_columns(world: World) -> None:
    columns = ", ".join(f"c{number} bool" for number in range(1599))
    world.sql(f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    insert = "INSERT INTO t (id, c0, c1598) SELECT i, true, i % 2 = 0 FROM generate_series(1, 50) AS i"
    assert (await read_as_inserted(world, insert, snapshot_chunk_rows="20"))["t"] == 50


async def test_conditions_columns_and_masks_apply(world: World) -> None:
    """What is selected of changes is selected of rows that are read."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE TABLE other (id int PRIMARY KEY)")
    counts = await read_as_inserted(
        world,
        "INSERT INTO t SELECT i, i FROM generate_series(1, 20) AS i",
        "INSERT INTO other SELECT generate_series(1, 20)",
        events_tables={"t": ["insert"], "fence": ["insert"]},
    )
    assert counts == {"t": 20, "fence": 1}


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_ten_thousand_tables(postgres_world: World) -> None:
    world = postgres_world
    for first in range(0, 10_000, 500):
        world.transaction(*(f"CREATE TABLE t{n} (id int PRIMARY KEY)" for n in range(first, first + 500)))
    inserts = (
        "DO $$ BEGIN FOR n IN 0..9999 LOOP EXECUTE 'INSERT INTO t' || n || ' VALUES (1), (2)'; END LOOP; END $$",
    )
    world.fence_subject = f"{world.name}.public.fence"
    counts = await read_as_inserted(world, *inserts, timeout_s=1200, events_subject="{prefix}.{schema}.{table}")
    assert len(counts) == 10_001
    assert counts.total() == 20_001
