"""Chunks: every row exactly once, in the order of the key's index, whatever the key; and what else a chunk promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import conninfo

from ditto.source.snapshot_key import is_after, is_at_or_before, order_by
from e2e.snapshots.database import read_all

if TYPE_CHECKING:
    from e2e.snapshots.database import Database

# By key type: the columns, and the rows: `n` counts from 1 to 60.
INDEXED = {
    "int": ("id int PRIMARY KEY", "n"),
    "bigint": ("id bigint PRIMARY KEY", "n * 10000000000"),
    "smallint": ("id smallint PRIMARY KEY", "n - 30"),
    "text": ("id text PRIMARY KEY", "'it''s \\' || chr(200 + n) || n"),
    "varchar": ("id varchar(30) PRIMARY KEY", "'k' || n"),
    "uuid": ("id uuid PRIMARY KEY", "md5(n::text)::uuid"),
    "timestamptz": ("id timestamptz PRIMARY KEY", "'2026-01-01 BC'::timestamptz + n * interval '40 years 1.5 s'"),
    "date": (
        "id date PRIMARY KEY",
        "CASE n WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' ELSE '2026-01-01'::date + n END",
    ),
    "int_text": ("a int, b text, PRIMARY KEY (a, b)", "n % 5, 'x' || n"),
    "text_int": ("b text, a int, PRIMARY KEY (b, a)", "'x' || n % 5, n"),
    "three": ("a int, b uuid, c bigint, PRIMARY KEY (a, b, c)", "n % 3, md5((n % 6)::text)::uuid, n"),
    "numeric": ("id numeric PRIMARY KEY", "CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-0.0001' ELSE n / 7.0 END"),
    "float": ("id float8 PRIMARY KEY", "CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE n / 7.0 END"),
    "bytea": ("id bytea PRIMARY KEY", "decode(lpad(to_hex(n * 4), 4, '0'), 'hex')"),
    "bpchar": ("id char(6) PRIMARY KEY", "'a' || n"),
    "enum": ("id mood PRIMARY KEY", "(enum_range(NULL::mood))[n]"),
    "domain": ("id known PRIMARY KEY", "'k' || n"),
    "name": ("id name PRIMARY KEY", "'k' || n"),
    "array": ("id int[] PRIMARY KEY", "ARRAY[n % 4, n]"),
    "range": ("id int4range PRIMARY KEY", "int4range(n % 4, n + 10)"),
    "interval": ("id interval PRIMARY KEY", "n * interval '1 mon -3 days 04:05:06.7'"),
    "bit": ("id varbit PRIMARY KEY", "n::bit(8)"),
    "money": ("id money PRIMARY KEY", "n * 1234.5"),
    "oid": ("id oid PRIMARY KEY", "n + 3000000000"),
    "inet": ("id inet PRIMARY KEY", "'10.0.0.0'::inet + n"),
    "bool": ("id bool, n int, PRIMARY KEY (id, n)", "n % 2 = 0, n"),
    "collated": ('id text COLLATE "C" PRIMARY KEY', "'K' || n"),
    "icu": ('id text COLLATE "en-x-icu" PRIMARY KEY', "(ARRAY['a', 'B', 'ä', 'z'])[n % 4 + 1] || n"),
    "other_collation": ("id text NOT NULL", "(ARRAY['a', 'B', 'ä', 'z'])[n % 4 + 1] || n"),
    "pattern": ("id text NOT NULL", "(ARRAY['a', 'B', 'ä', 'z'])[n % 4 + 1] || n"),
    "descending": ("id int NOT NULL", "n"),
    "mixed": ("a int NOT NULL, b text NOT NULL", "n % 5, 'x' || n"),
    "twice": ("id int NOT NULL", "n"),
    "nulls_first": ("id int NOT NULL", "n"),
    "nulls_moved": ("a int NOT NULL, b text NOT NULL", "n % 5, 'x' || n"),
}
BY_INDEX = {
    "other_collation": '(id COLLATE "en-x-icu")',
    "pattern": "(id text_pattern_ops)",
    "descending": "(id DESC)",
    "mixed": "(a, b DESC)",
    "twice": "(id, id DESC)",
    "nulls_first": "(id NULLS FIRST)",
    "nulls_moved": "(a NULLS FIRST, b DESC NULLS LAST)",
}
ONLY_CHUNKED = {
    "char": ('id "char" PRIMARY KEY', '(n + 40)::"char"'),
    "insensitive": ("id text COLLATE insensitive PRIMARY KEY", "(ARRAY['k', 'K'])[n % 2 + 1] || n"),
    "citext": ("id citext PRIMARY KEY", "(ARRAY['k', 'K'])[n % 2 + 1] || n"),
    "int_citext": ("a int, b citext, PRIMARY KEY (a, b)", "n % 5, (ARRAY['k', 'K'])[n % 2 + 1] || n"),
}
TYPES = (
    "CREATE TYPE mood AS ENUM ({})".format(", ".join(f"'m{n}'" for n in range(100, 40, -1))),
    "CREATE FUNCTION refuse(text) RETURNS bool LANGUAGE plpgsql AS "
    "$$ BEGIN IF current_setting('ditto.strict', true) = 'on' THEN RAISE 'it has run'; END IF; RETURN true; END $$",
    "CREATE DOMAIN known AS text CHECK (refuse(value))",
    "CREATE COLLATION insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
)


async def plan(database: Database, name: str, cursor: list[str]) -> str:
    """The plan of a chunk of a large table."""
    async with database.reader() as reader:
        table = await reader.describe("pub", "public", name)
        query = (
            f"EXPLAIN SELECT {table.select} FROM {table.source} "
            f"{table.filtered(is_after(table.key_columns, cursor))} {order_by(table.key_columns)} LIMIT 100"
        )
        rows = await reader.control.fetch(query, doing="explain")
        both = table.filtered(is_after(table.key_columns, cursor), is_at_or_before(table.key_columns, cursor))
        ranged = await reader.control.fetch(f"EXPLAIN SELECT FROM {table.source} {both}", doing="explain")
    return "\n".join(row["QUERY PLAN"] for row in [*rows, *ranged])


@pytest.mark.parametrize("name", [*INDEXED, *ONLY_CHUNKED])
async def test_every_row_exactly_once(database: Database, name: str) -> None:
    definition, values = {**INDEXED, **ONLY_CHUNKED}[name]
    if "citext" in name:
        if not database.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
            pytest.skip("this PostgreSQL comes without citext")
        database.sql("CREATE EXTENSION citext")
    needs_icu = any(word in definition + BY_INDEX.get(name, "") for word in ("icu", "insensitive"))
    if needs_icu and not database.value("SELECT count(*) FROM pg_collation WHERE collname = 'en-x-icu'"):
        pytest.skip("this PostgreSQL is built without ICU: Debian's 15 has it, see scripts/test --all-postgres")
    database.sql(*(each for each in TYPES if "icu" not in each or name == "insensitive"))
    database.sql(f"CREATE TABLE t ({definition}, v text)")
    if name in BY_INDEX:
        database.sql(
            f"CREATE UNIQUE INDEX identity ON t {BY_INDEX[name]}", "ALTER TABLE t REPLICA IDENTITY USING INDEX identity"
        )
    database.publish()
    database.sql(f"INSERT INTO t SELECT {values}, n FROM generate_series(1, 60) AS n", "ANALYZE t")
    expected = database.sql("SELECT v FROM t")
    async with database.reader(conninfo.make_conninfo(database.dsn, options="-c ditto.strict=on")) as reader:
        table = await reader.describe("pub", "public", "t")
        if name == "char" and database.major < 16:
            assert table.key == ()
            return
        assert table.key
        rows = await read_all(reader, table)
        assert len(rows) == 60
        assert sorted(str(row[-1]) for row in rows) == sorted(value for (value,) in expected)
        # By its index, both bounds: a plan that reads everything would do so for each chunk.
        cursor = [str(rows[20][index]) for index in table.key]
    explained = await plan(database, "t", cursor)
    assert "Index" in explained, explained
    assert explained.count("Index Cond") >= 1, explained
    assert "Sort" not in explained, explained
