"""Row filters that do what a condition does: judged by PostgreSQL itself, over rows of every combination of values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.pq import ExecStatus

from ditto.decoding.messages import RuleFailed
from ditto.routing.conditions import TypedColumn, as_row_filter, compile_condition
from ditto.testing.servers import PostgresServer

COLUMNS: Final = (
    TypedColumn("id", "int8", is_key=True),
    TypedColumn("status", "text"),
    TypedColumn("amount", "int4"),
    TypedColumn("price", "numeric"),
    TypedColumn("is_open", "bool"),
    TypedColumn("at", "timestamptz"),
    TypedColumn("Odd name", "varchar"),
)
VALUES: Final = {
    "status": [None, "", "a", "it's"],
    "amount": [None, "1", "2"],
    "price": [None, "0.10", "NaN", "7"],
    "is_open": [None, "t", "f"],
    "at": [None, "2024-01-01 00:00:00+00", "infinity", "0044-03-15 00:00:00+00 BC"],
    "Odd name": [None, "x"],
}
PARTS: Final = [
    "row.status == 'a'", "row.status != 'a'", "'it\\'s' == row.status", "row.status == null", "row.status != null",
    "row.status in ['a', '']", "row.status in ['a', null]", "row.amount == 1", "row.amount > 1", "2 <= row.amount",
    "row.amount in [1, 5000000000]", "row.price == 0.1", "row.price > 0.1", "row.price < 7", "row.price >= 1",
    "row.price != 7", "row.is_open", "row.is_open == true", "row.is_open == null",
    "row.at > timestamp('2023-01-01T00:00:00Z')", "row.at == timestamp('2024-01-01T00:00:00Z')",
    "row['Odd name'] == 'x'", "row['Odd name'] == row.status", "row.price != null && row.price > 1",
    "(row.amount == null || row.amount < 2)",
]  # fmt: skip
EXPRESSIONS: Final = st.recursive(
    st.sampled_from(PARTS),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda parts: f"({' '.join(parts)})")
        | inner.map(lambda part: f"!({part})")
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psycopg.Connection]:
    with (
        PostgresServer(tmp_path_factory.mktemp("pg"), settings={"fsync": "off"}) as server,
        psycopg.connect(server.dsn, autocommit=True) as connection,
    ):
        if connection.info.server_version < 150000:
            pytest.skip("PostgreSQL before 15 has no row filters")
        connection.execute("SET timezone = 'UTC'")
        connection.execute(
            "CREATE TABLE filtered (id bigserial PRIMARY KEY, status text, amount int4, price numeric, is_open bool, "
            'at timestamptz, "Odd name" varchar)'
        )
        rows = list(itertools.product(*VALUES.values()))
        with connection.cursor() as cursor:
            cursor.executemany(
                'INSERT INTO filtered (status, amount, price, is_open, at, "Odd name") VALUES (%s, %s, %s, %s, %s, %s)',
                rows,
            )
        yield connection


def judged(text: str, row: tuple[str | None, ...]) -> bool | None:
    condition = compile_condition(text, COLUMNS, schema="public", table="filtered", identity="f")
    try:
        return condition.test("INSERT", [row[index] for index in condition.columns], None)
    except RuleFailed:
        return None


def filtered(connection: psycopg.Connection, sql: str) -> list[tuple[bool, tuple[str | None, ...]]]:
    """Of every row whether the expression is true, and the texts of its columns as a walsender has them."""
    names = ", ".join(f'"{column.name}"' for column in COLUMNS)
    found = connection.pgconn.exec_(f"SELECT coalesce(({sql}), false), {names} FROM filtered".encode())
    assert found.status == ExecStatus.TUPLES_OK, found.error_message
    rows = []
    for row in range(found.ntuples):
        passed, *values = (found.get_value(row, column) for column in range(found.nfields))
        rows.append((passed == b"t", tuple(None if value is None else value.decode() for value in values)))
    return rows


def assert_same(connection: psycopg.Connection, text: str, sql: str, *, drops_errors: bool) -> None:
    for passed, row in filtered(connection, sql):
        expected = judged(text, row)
        assert passed == (bool(expected) if drops_errors else expected), (text, sql, row)


@pytest.mark.parametrize("text", PARTS)
@pytest.mark.parametrize("drops_errors", [False, True])
def test_a_publication_takes_the_filter_and_it_passes_the_same_rows(
    connection: psycopg.Connection, text: str, drops_errors: bool
) -> None:
    sql = as_row_filter(text, COLUMNS, drops_errors=drops_errors)
    if sql is None:
        assert any(judged(text, row) is None for _, row in filtered(connection, "true"))
        return
    assert_same(connection, text, sql, drops_errors=drops_errors)
    connection.execute(f"CREATE PUBLICATION taken FOR TABLE filtered WHERE ({sql}) WITH (publish = 'insert')".encode())
    connection.execute("DROP PUBLICATION taken")


@settings(max_examples=20, deadline=None)
@given(text=EXPRESSIONS, drops_errors=st.booleans())
@pytest.mark.long
def test_combinations_pass_the_same_rows(connection: psycopg.Connection, text: str, drops_errors: bool) -> None:
    sql = as_row_filter(text, COLUMNS, drops_errors=drops_errors)
    if sql is not None:
        assert_same(connection, text, sql, drops_errors=drops_errors)
    else:
        assert not drops_errors


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("row.status == 'paid'", "\"status\" = 'paid'"),
        ("row.status in ['a', 'b'] && row.amount != 3", "\"status\" IN ('a', 'b') AND \"amount\" IS DISTINCT FROM 3"),
        ("!(row.status in ['a'])", '"status" NOT IN (\'a\') OR "status" IS NULL'),
        ("row.amount != null && row.amount > 5", '"amount" IS NOT NULL AND "amount" > 5'),
        ("row.amount > 5", None),
        ("changed('status')", None),
        ("dataOld.status == 'a'", None),
        ("row.status.startsWith('a')", None),
        ("action == 'INSERT'", None),
        ("has(row.status)", None),
    ],
)
def test_the_filter_reads_like_one_that_people_write(text: str, sql: str | None) -> None:
    assert as_row_filter(text, COLUMNS) == sql


def test_of_a_delete_only_row_has_a_filter() -> None:
    assert as_row_filter("data.status == 'a'", COLUMNS, actions=("INSERT", "DELETE")) is None
    assert as_row_filter("row.status == 'a'", COLUMNS, actions=("INSERT", "DELETE")) is not None
    assert as_row_filter("row.status == 'a'", COLUMNS, actions=("INSERT", "TRUNCATE")) is None
