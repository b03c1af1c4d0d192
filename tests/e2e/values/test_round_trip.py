"""The proof that every value is right: out as events, back through the documented inverse, compared in the database."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import psycopg
import pytest
from psycopg import sql

from ditto.config import Types
from ditto.verify.inverse import Form, form, input_text, members
from e2e.samples import BUILT_IN, CATALOGUE, WITHOUT_INPUT, Sample, array, chosen, drawn, has_xml
from e2e.samples_more import CREATED, EXTENSIONS, OF_EXTENSIONS, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from e2e.world import Stored, World

DELIMITER = "SELECT typdelim FROM pg_type WHERE oid = to_regtype(%s)"

COLUMNS = 16
"""Of a table: one for each type is too slow, one for all is too large for an event."""

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
    """A table with a column for each of some types, and its copy for the values that have come back."""

    name: str
    columns: dict[str, str]
    """Their types."""
    rows: list[tuple[str | None, ...]]

    @property
    def original(self) -> sql.Identifier:
        return sql.Identifier("public", self.name)

    @property
    def copy(self) -> sql.Identifier:
        return sql.Identifier("copies", self.name)

    def create(self, connection: psycopg.Connection[Any]) -> None:
        types = ", ".join(f"{column} {type_name}" for column, type_name in self.columns.items())
        columns = sql.SQL("(id int PRIMARY KEY, {})").format(sql.SQL(types))
        connection.execute(sql.SQL("CREATE TABLE {} ").format(self.original) + columns)
        connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(self.original))
        connection.execute(sql.SQL("CREATE UNLOGGED TABLE {} ").format(self.copy) + columns)


_NO_BREAKS = str.maketrans("\n\r", "  ")
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
    if connection.info.server_version < 150000:  # which cannot read the longest that it shows
        samples["interval"] = chosen(
            "1 year 2 mons -3 days +04:05:06.789", "-178956970 years -8 mons", "-00:00:00.000001"
        )
    return samples | USER


def fill(world: World, *, count: int) -> list[Case]:
    """Tables with all types and arrays of each; all the bounds and about `count` random values of each."""
    with psycopg.connect(world.dsn) as connection:
        connection.execute("CREATE SCHEMA copies")
        samples: dict[str, Sample] = {}
        for name, sample in available(connection).items():
            row = connection.execute(DELIMITER, [name.partition("(")[0]]).fetchone()
            samples[name] = sample
            samples[f"{name}[]"] = array(sample, row[0] if row else ",")
        random = dict(zip(samples, drawn(list(samples.values()), count), strict=True))
        cases = []
        for start in range(0, len(samples), COLUMNS):
            types = list(samples)[start : start + COLUMNS]
            values = [[*samples[name].bounds, *random[name]] for name in types]
            columns = {f"c{number}": name for number, name in enumerate(types, start)}
            # Shorter ones end in NULLs, and so does each.
            cases.append(Case(f"t{start}", columns, [*zip_longest(*values), (None,) * len(types)]))
            cases[-1].create(connection)
    return cases


def store(
    connection: psycopg.Connection[Any], table: sql.Identifier, rows: Iterable[tuple[int, tuple[str | None, ...]]]
) -> None:
    """COPY reads a text through its type's input function."""
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
        for number, row in rows:
            copy.write_row((number, *row))


def differing(connection: psycopg.Connection[Any], case: Case) -> list[Any]:
    """The values that did not come back: by the type's own equality where it has one, and by what it shows."""
    query = """
        SELECT {name}, id, left(ROW(a.{c})::text, 200), left(ROW(b.{c})::text, 200)
        FROM {original} a FULL JOIN {copy} b USING (id) WHERE a.id IS NULL OR b.id IS NULL OR NOT {condition}"""
    found: list[Any] = []
    for column, name in case.columns.items():
        for condition in ("a.{c} IS NOT DISTINCT FROM b.{c}", "ROW(a.{c})::text IS NOT DISTINCT FROM ROW(b.{c})::text"):
            c = sql.Identifier(column)
            composed = sql.SQL(query).format(
                c=c, name=name, original=case.original, copy=case.copy, condition=sql.SQL(condition).format(c=c)
            )
            try:
                with connection.transaction():
                    found += connection.execute(composed).fetchall()
            except psycopg.errors.UndefinedFunction:
                assert "ROW" not in condition
    return found


async def _rows(world: World) -> list[Stored]:
    """Events of rows."""
    return [each for each in await world.events(timeout_s=120) if "._schema." not in each.subject]


def on_one_line(case: Case) -> Case:
    """The rows of a sink whose events are lines: white space between the tokens of `json` has no line breaks there."""
    is_json = [name.removesuffix("[]") in {"json", "odd.raw"} for name in case.columns.values()]
    rows = [
        tuple(
            text.translate(_NO_BREAKS) if text and has_breaks else text
            for text, has_breaks in zip(row, is_json, strict=True)
        )
        for row in case.rows
    ]
    return case._replace(rows=rows)


async def check(
    world: World, types: dict[str, str], *, impl: str, count: int, prepared: Callable[[Case], Case] = lambda case: case
) -> None:
    cases = [prepared(case) for case in fill(world, count=count)]
    settings: dict[str, Any] = {f"events_types_{name}": value for name, value in types.items()}
    await world.streaming(impl=impl, events_schemas=True, **settings)
    options = msgspec.convert(types, Types)
    with psycopg.connect(world.dsn) as connection:
        for case in cases:
            store(connection, case.original, enumerate(case.rows))
    messages = await _rows(world)
    returned: dict[str, list[tuple[int, tuple[str | None, ...]]]] = {}
    forms: dict[str, list[Form]] = {}
    inserted: list[tuple[str, bytes, list[str]]] = []
    for payload in await world.descriptions():
        description = _documents.decode(payload)
        forms[description["table"]] = [form(column["type"], options) for column in description["columns"]]
    for message in messages:
        event = _row.decode(message.payload)
        texts = [
            input_text(value, column_form, is_json_null=name in event.json_null)
            for (name, value), column_form in zip(members(event.data).items(), forms[event.table], strict=True)
        ]
        returned.setdefault(event.table, []).append((int(texts[0] or 0), tuple(texts[1:])))
        inserted.append((event.table, bytes(event.data), event.json_null))
    with psycopg.connect(world.dsn) as connection:
        for case in cases:
            store(connection, case.copy, returned[case.name])
        wrong = [found for case in cases for found in differing(connection, case)]
    assert wrong == []
    assert len(inserted) == sum(len(case.rows) for case in cases)
    await world.matches_tables(types=options)
    world.transaction(*(f"DELETE FROM {case.name}" for case in cases))
    deleted = [_row.decode(message.payload) for message in (await _rows(world))[len(messages) :]]
    old_rows = [(event.table, bytes(event.data_old), event.json_null_old) for event in deleted]
    assert sorted(old_rows) == sorted(inserted)


async def test_types_without_samples_take_no_value(world: World) -> None:
    with psycopg.connect(world.dsn) as connection:
        for (name,) in connection.execute(CATALOGUE).fetchall():
            if name in WITHOUT_INPUT:
                with pytest.raises(psycopg.errors.FeatureNotSupported), connection.transaction():
                    connection.execute(f"SELECT ''::{name}".encode())


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_every_type_comes_back(world: World, impl: str) -> None:
    await check(world, {}, impl=impl, count=10)


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
async def test_thirty_megabytes_in_one_value(nats_world: World, impl: str) -> None:
    """PostgreSQL's own limit is 1 GB; that of a message in JetStream's file storage, and so of an event, is 32 MB."""
    world = nats_world
    world.nats_server.config = "max_payload: 64MB"
    world.nats_server.restart()
    world.sql("CREATE TABLE t (id int PRIMARY KEY, s text, b bytea, j json)")
    ditto = await world.streaming(impl=impl)
    world.sql(
        "INSERT INTO t VALUES (1, repeat('x\u00e9\U0001f600\"', 3000000))",
        "INSERT INTO t (id, b) VALUES (2, decode(repeat('00ff5c22', 5000000), 'hex'))",
        """INSERT INTO t (id, j) VALUES (3, ('{"a": "' || repeat('x', 30000000) || '"}')::json)""",
    )
    await world.fence(timeout_s=90)
    await world.matches_tables(event_count=3)
    world.sql("INSERT INTO t VALUES (4, repeat('x', 33554000))")
    assert await ditto.ended() == 4
    assert "335" in ditto.sentence()
    assert "32 MB" in ditto.output
