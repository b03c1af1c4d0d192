"""The proof that every value is right: out as events, back through the documented inverse, compared in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psycopg
import pytest
from psycopg import sql

from ditto.config import Types
from ditto.verify.inverse import Form, form, input_text, members
from e2e.samples import BUILT_IN, CATALOGUE, WITHOUT_INPUT, Sample, array, drawn, has_xml
from e2e.samples_more import CREATED, EXTENSIONS, OF_EXTENSIONS, USER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.world import World

DELIMITER = "SELECT typdelim FROM pg_type WHERE oid = to_regtype(%s)"

OPTIONS: dict[str, dict[str, str]] = {
    "number": {"numeric": "number"},
    "int8 as string": {"int8": "string"},
    "hex": {"bytea": "hex"},
    "iso8601": {"interval": "iso8601"},
    "json as string": {"json": "string"},
    "utc": {"timestamp": "utc"},
    "wal-listener": {"profile": "wal-listener"},
    "wal-listener, json embedded": {"profile": "wal-listener", "json": "embed", "bytea": "base64"},
}


class Row(msgspec.Struct, rename="camel"):
    """What the inverse reads of an event."""

    table: str
    action: str
    data: msgspec.Raw
    data_old: msgspec.Raw
    json_null: list[str] = []
    json_null_old: list[str] = []


class Case(NamedTuple):
    """One type's table, which has its values in the column `v`, and in the copy after they have come back."""

    table: str
    type: str
    values: list[str]

    @property
    def original(self) -> sql.Identifier:
        return sql.Identifier("public", self.table)

    @property
    def copy(self) -> sql.Identifier:
        return sql.Identifier("copies", self.table)


_row = msgspec.json.Decoder(Row)
_documents = msgspec.json.Decoder(dict[str, Any])


def available(connection: psycopg.Connection[Any]) -> dict[str, Sample]:
    """Samples of every type that this server has; extensions and types of our own are created."""
    names = [name for (name,) in connection.execute(CATALOGUE).fetchall()]
    assert set(names) <= set(BUILT_IN) | WITHOUT_INPUT, "a type without samples"
    samples = {name if name != "char" else '"char"': BUILT_IN[name] for name in names if name in BUILT_IN}
    for statement in CREATED:
        connection.execute(statement.encode())
    found = {name for (name,) in connection.execute("SELECT name FROM pg_available_extensions").fetchall()}
    for name in found.intersection(EXTENSIONS):
        connection.execute(sql.SQL("CREATE EXTENSION {}").format(sql.Identifier(name)))
        samples |= OF_EXTENSIONS[name]
    if not has_xml(connection):
        del samples["xml"]
    return samples | USER


def fill(world: World, *, count: int) -> list[Case]:
    """A table for each type and for arrays of it; all the bounds and about `count` random values of each."""
    with psycopg.connect(world.dsn) as connection:
        connection.execute("CREATE SCHEMA copies")
        samples: dict[str, Sample] = {}
        for name, sample in available(connection).items():
            row = connection.execute(DELIMITER, [name.partition("(")[0]]).fetchone()
            samples[name] = sample
            samples[f"{name}[]"] = array(sample, row[0] if row else ",")
        cases = [
            Case(f"t{number}", name, [*sample.bounds, *random])
            for number, ((name, sample), random) in enumerate(
                zip(samples.items(), drawn(list(samples.values()), count), strict=True)
            )
        ]
        for case in cases:
            columns = sql.SQL("(id int PRIMARY KEY, v {})").format(sql.SQL(case.type))
            connection.execute(sql.SQL("CREATE TABLE {} ").format(case.original) + columns)
            connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(case.original))
            connection.execute(sql.SQL("CREATE UNLOGGED TABLE {} ").format(case.copy) + columns)
    return cases


def store(connection: psycopg.Connection[Any], table: sql.Identifier, rows: Iterable[tuple[int, str | None]]) -> None:
    """COPY reads a text through its type's input function."""
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
        for row in rows:
            copy.write_row(row)


def differing(connection: psycopg.Connection[Any], case: Case) -> list[Any]:
    """The rows whose value did not come back: by the type's own equality where it has one, and by what it shows."""
    query = """
        SELECT id, left(ROW(a.v)::text, 200), left(ROW(b.v)::text, 200) FROM {} a FULL JOIN {} b USING (id)
        WHERE a.id IS NULL OR b.id IS NULL OR NOT {}"""
    found: list[Any] = []
    for condition in ("a.v IS NOT DISTINCT FROM b.v", "ROW(a.v)::text IS NOT DISTINCT FROM ROW(b.v)::text"):
        try:
            with connection.transaction():
                composed = sql.SQL(query).format(case.original, case.copy, sql.SQL(condition))
                found += connection.execute(composed).fetchall()
        except psycopg.errors.UndefinedFunction:
            assert "ROW" not in condition
    return found


async def check(world: World, types: dict[str, str], *, impl: str, count: int) -> None:
    cases = fill(world, count=count)
    settings: dict[str, Any] = {f"events_types_{name}": value for name, value in types.items()}
    await world.streaming(impl=impl, events_schemas=True, **settings)
    options = msgspec.convert(types, Types)
    with psycopg.connect(world.dsn) as connection:
        for case in cases:
            store(connection, case.original, [*enumerate(case.values), (len(case.values), None)])
    messages = await world.events(timeout_s=120)
    by_table: dict[str, list[tuple[int, str | None]]] = {}
    forms: dict[str, Form] = {}
    inserted: dict[tuple[str, int], tuple[bytes, list[str]]] = {}
    for message in messages:
        if "._schema." in message.subject:
            description = _documents.decode(message.payload)
            forms[description["table"]] = form(description["columns"][-1]["type"], options)
            continue
        event = _row.decode(message.payload)
        row = members(event.data)
        number = int(bytes(row["id"]))
        text = input_text(row["v"], forms[event.table], is_json_null="v" in event.json_null)
        by_table.setdefault(event.table, []).append((number, text))
        inserted[event.table, number] = (bytes(event.data), event.json_null)
    wrong = []
    with psycopg.connect(world.dsn) as connection:
        for case in cases:
            try:
                with connection.transaction():
                    store(connection, case.copy, by_table[case.table])
            except psycopg.DataError as error:
                wrong.append((case.type, str(error)[:300]))
            else:
                wrong += [(case.type, *row) for row in differing(connection, case)]
    assert wrong == []
    assert sum(map(len, by_table.values())) == sum(len(case.values) + 1 for case in cases)
    await world.matches_tables(types=options)
    world.transaction(*(f"DELETE FROM {case.table}" for case in cases))
    deleted = [_row.decode(message.payload) for message in (await world.events(timeout_s=120))[len(messages) :]]
    assert {
        (event.table, int(bytes(members(event.data_old)["id"]))): (bytes(event.data_old), event.json_null_old)
        for event in deleted
    } == inserted


async def test_types_without_samples_take_no_value(world: World) -> None:
    with psycopg.connect(world.dsn) as connection:
        for (name,) in connection.execute(CATALOGUE).fetchall():
            if name in WITHOUT_INPUT:
                with pytest.raises(psycopg.errors.FeatureNotSupported), connection.transaction():
                    connection.execute(f"SELECT ''::{name}".encode())


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_every_type_comes_back(world: World, impl: str) -> None:
    await check(world, {}, impl=impl, count=3)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("impl", ["c", "python"])
async def test_many_values_of_every_type_come_back(world: World, impl: str) -> None:
    await check(world, {}, impl=impl, count=150)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("types", OPTIONS.values(), ids=OPTIONS)
async def test_every_type_comes_back_by_option(world: World, types: dict[str, str], impl: str) -> None:
    await check(world, types, impl=impl, count=15)


@pytest.mark.long
@pytest.mark.parametrize("impl", ["c", "python"])
async def test_sixty_megabytes_in_one_value(nats_world: World, impl: str) -> None:
    """PostgreSQL's own limit is 1 GB, that of nats-server, and so of an event, 64 MB."""
    world = nats_world
    world.nats_server.config = "max_payload: 64MB"
    world.nats_server.restart()
    world.sql("CREATE TABLE t (id int PRIMARY KEY, s text, b bytea, j json)")
    await world.streaming(impl=impl)
    world.sql(
        "INSERT INTO t VALUES (1, repeat('x\u00e9\U0001f600\"', 6600000))",
        "INSERT INTO t (id, b) VALUES (2, decode(repeat('00ff5c22', 11000000), 'hex'))",
        """INSERT INTO t (id, j) VALUES (3, ('{"a": "' || repeat('x', 60000000) || '"}')::json)""",
    )
    await world.fence(timeout_s=90)
    await world.matches_tables(event_count=3)
