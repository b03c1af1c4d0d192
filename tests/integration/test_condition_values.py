"""PostgreSQL's own text of each type, under the settings of Ditto's sessions, reads as the value in conditions."""
# ruff: noqa: E501 -- one sample a line

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from psycopg.pq import ExecStatus

from ditto.routing.conditions import TypedColumn, compile_condition
from ditto.testing.servers import PostgresServer

SAMPLES = [
    ("true", "bool", "data.x"),
    ("'-9223372036854775808'::int8", "int8", "data.x == -9223372036854775808 && data.x < 0"),
    ("4294967295::oid", "oid", "data.x == 4294967295"),
    ("0.1::float4", "float4", "data.x == 0.1"),
    ("'-Infinity'::float8", "float8", "data.x < -1e300"),
    ("1e-7::numeric", "numeric", "data.x == 0.0000001 && string(data.x) == '0.0000001'"),
    ("'NaN'::numeric", "numeric", "data.x != data.x"),
    ("'2024-02-29 12:00:00.000001+02'::timestamptz", "timestamptz", "data.x == timestamp('2024-02-29T10:00:00.000001Z')"),
    ("'4713-01-01 BC'::timestamp", "timestamp", "data.x < timestamp('0001-01-01T00:00:00Z')"),
    ("'294276-12-31'::timestamp", "timestamp", "data.x > timestamp('9999-12-31T00:00:00Z')"),
    ("'12345-06-07'::date", "date", "data.x > timestamp('9999-12-31T00:00:00Z')"),
    ("'0001-12-31 BC'::date", "date", "data.x < timestamp('0001-01-01T00:00:00Z')"),
    ("'-infinity'::date", "date", "data.x < timestamp('0001-01-01T00:00:00Z')"),
    ("'0001-01-01'::date", "date", "data.x == timestamp('0001-01-01T00:00:00Z')"),
    ("'1 day -2 hours 0.25 seconds'::interval", "interval", "data.x == duration('22h0.25s')"),
    ("'-1 day +26 hours'::interval", "interval", "data.x == duration('2h')"),
    ("'-0.000001 seconds'::interval", "interval", "data.x == duration('-1us')"),
    ("'-100 hours'::interval", "interval", "data.x == duration('-100h')"),
    ("'0'::interval", "interval", "data.x == duration('0')"),
    (r"'\x00ff'::bytea", "bytea", r"data.x == b'\x00\xff'"),
    ("'{\"a\": [1, 2.0, null]}'::jsonb", "jsonb", "data.x.a[0] == 1 && data.x.a[1] == 2 && data.x.a[2] == null"),
    (r"""array['a', 'NULL', null, 'b,"\c', '', '{']""", "text[]", r"""data.x == ['a', 'NULL', null, 'b,"\\c', '', '{']"""),
    ("'[3:4]={1,2}'::int4[]", "int4[]", "data.x == [1, 2]"),
    ("'{}'::int4[]", "int4[]", "size(data.x) == 0"),
    ("array[box '((0,0),(1,1))', box '((2,2),(3,3))']", "box[]", "data.x[1] == '(3,3),(2,2)'"),
    ("array['2024-01-01'::timestamptz, 'infinity']", "timestamptz[]", "data.x.all(t, t >= timestamp('2024-01-01T00:00:00Z'))"),
    (r"""'{"b": {"b\"": 1}, "a": "x", "a": "a, é]"}'::jsonb""", "jsonb", "data.x.a == 'a, é]' && has(data.x.b)"),
    (r"""'{"a": {"b": -12.50}, "a": {"b": 12.50}}'::json""", "json", "data.x.a.b == 12.5 && data.x.a.b < 13"),
    ("-12345678901234567890.1234567890123456789::numeric", "numeric", "data.x < -12345678901234567890.12345 && data.x > -1e21"),
    ("array['{\"a\": 1}'::jsonb, 'null']", "jsonb[]", "data.x[0].a == 1 && data.x[1] == null"),
    ("array[true, false]", "bool[]", "data.x.exists_one(b, b)"),
    (r"""hstore(array['k"', 'n', ''], array['v\', null, ', '])""", "public.hstore",
     r"""data.x['k"'] == 'v\\' && data.x.n == null && data.x[''] == ', '"""),
    ("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "uuid", "data.x == 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"),
    ("'ab'::char(4)", "bpchar", "data.x == 'ab  '"),
]  # fmt: skip


@pytest.fixture(scope="module", params=["postgres", "iso_8601"])
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[psycopg.Connection]:
    with (
        PostgresServer(tmp_path_factory.mktemp("pg"), settings={"fsync": "off"}) as server,
        psycopg.connect(server.dsn, autocommit=True) as connection,
    ):
        connection.execute("CREATE EXTENSION hstore")
        connection.execute(f"SET timezone = 'UTC'; SET intervalstyle = {request.param}".encode())
        yield connection


@pytest.mark.parametrize(("sql", "type_name", "condition"), SAMPLES)
def test_a_value_as_the_server_writes_it(
    connection: psycopg.Connection, sql: str, type_name: str, condition: str
) -> None:
    result = connection.pgconn.exec_(f"SELECT {sql}".encode())
    assert result.status == ExecStatus.TUPLES_OK, result.error_message
    text = result.get_value(0, 0)
    assert text is not None
    column = TypedColumn("x", type_name)
    found = compile_condition(condition, [column], schema="public", table="t", identity="d")
    assert found.test("INSERT", [text.decode()], None), text
    if found.row_test is not None:
        assert found.row_test.judge("INSERT", [text.decode()], None) in {None, True}, text
