"""The type "char", a byte: the same events from every version of PostgreSQL, and the way back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from ditto.verify.inverse import char_number, input_text

if TYPE_CHECKING:
    from e2e.world import World


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_every_byte(world: World, impl: str) -> None:
    world.sql(
        'CREATE TABLE t (id int PRIMARY KEY, v "char", list "char"[])',
        "ALTER TABLE t REPLICA IDENTITY FULL",
        'CREATE TABLE key (id "char" PRIMARY KEY)',
    )
    world.settings["DITTO_IMPL"] = impl
    await world.streaming()
    world.sql(
        """INSERT INTO t SELECT n, n::"char", ARRAY['a', n::"char", NULL] FROM generate_series(-128, 127) AS n""",
        "UPDATE t SET id = id + 1000 WHERE id < -100",
        'INSERT INTO key SELECT n::"char" FROM generate_series(-128, 127) AS n',
        'DELETE FROM key WHERE id = (-56)::"char"',
    )
    rows = [event.event["data"] for event in await world.events() if event.change[:2] == ("t", "INSERT")]
    values = {row["id"]: row["v"] for row in rows}
    assert values == {
        number: f"\\{number + 256:o}" if number < 0 else chr(number) if number else "" for number in range(-128, 128)
    }
    assert all(row["list"] == ["a", row["v"], None] for row in rows)
    with psycopg.connect(world.dsn) as connection:
        for number, value in values.items():
            text = input_text(json.dumps(value).encode())
            assert text == value
            assert char_number(value) == number
            row = connection.execute('SELECT (%s::int4::"char")::int4', [char_number(value)]).fetchone()
            assert row == (number,)
            if world.major >= 15:
                assert connection.execute('SELECT (%s::text::"char")::int4', [value]).fetchone() == (number,)
    await world.matches_tables()
