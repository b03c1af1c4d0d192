"""Every documented type and every bound in each format, beside the new rows of single events: old rows, rows of
snapshots, groups; and the same bytes from both implementations.

Two Dittos read the same database, each into a stream of its own, and their events are compared one by one.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest

from ditto.formats.stored_events import as_json, read_event
from ditto.formats.stored_groups import events_in
from ditto.verify.inverse import members
from e2e.formats.test_formats import messages
from e2e.process import eventually
from e2e.samples import has_xml
from e2e.snapshots.finished import snapshot_finished
from e2e.snapshots.writers import request
from e2e.values.test_documented_values import DEFAULT, VALUES
from e2e.values.test_round_trip import fill, store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from e2e.formats.test_formats import Message
    from e2e.world import World

FORMATS = ("ditto", "cloudevents", "cloudevents-binary", "msgpack", "wal-listener", "debezium", "debezium-schema")
IN_GROUPS = ("ditto", "msgpack", "wal-listener", "debezium", "debezium-schema")
OF_ONE_DITTO = re.compile(rb'"ts_[mun]s":\d+(?=[,}])|(?<="id":")[0-9a-f-]{36}(?=")|(?<=\xa2id\xd9\x24)[0-9a-f-]{36}')
"""When events were made, and their ids: the stream's name is in these."""


def create(world: World, *tables: str) -> None:
    """Each with a column of every documented type, and a row."""
    match = re.search(r"```sql\n(.*?)```", VALUES, re.DOTALL)
    assert match
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        if not connection.execute("SELECT FROM pg_available_extensions WHERE name = 'hstore'").fetchall():
            pytest.skip("this server came without contrib")
        connection.execute(match[1].encode())
        rows = DEFAULT if has_xml(connection) else [row for row in DEFAULT if row.type != "xml"]
        columns = ", ".join(f"v{number} {row.type}" for number, row in enumerate(rows))
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, {columns})".encode())
            connection.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL".encode())
            connection.execute(f"INSERT INTO {table} VALUES (1, {', '.join(row.literal for row in rows)})".encode())


def change(world: World, *tables: str) -> None:
    """An INSERT, an UPDATE and a DELETE of each, one transaction."""
    world.transaction(
        *(
            statement
            for table in tables
            for statement in (
                f"CREATE TEMP TABLE copy_{table} ON COMMIT DROP AS SELECT * FROM {table}",
                f"UPDATE copy_{table} SET id = 2",
                f"INSERT INTO {table} SELECT * FROM copy_{table}",
                f"UPDATE {table} SET id = 3 WHERE id = 2",
                f"DELETE FROM {table} WHERE id = 3",
            )
        )
    )


async def arrived(world: World) -> None:
    """Everything that is committed now is stored by each Ditto."""
    lsn = world.value("SELECT pg_current_wal_flush_lsn()::text")
    of_here = "FROM pg_replication_slots WHERE database = current_database()"
    query = f"SELECT bool_and(confirmed_flush_lsn >= '{lsn}') {of_here}"
    await eventually(lambda: bool(world.value(query)), "everything is stored", timeout_s=120)


def values(row: msgspec.Raw) -> dict[str, bytes]:
    """The JSON of each column but the key."""
    return {name: bytes(value) for name, value in members(row).items() if name != "id"}


async def _of_the_stream(world: World) -> list[tuple[bytes, Mapping[str, str]]]:
    """Once the snapshot has ended."""
    await snapshot_finished(world)
    await world.fence()
    return [(each.payload, each.headers) for each in await messages(world)]


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_old_rows_and_rows_of_snapshots_are_as_new_ones(world: World, impl: str) -> None:
    await as_new_ones(world, lambda: _of_the_stream(world), impl=impl)


async def as_new_ones(
    world: World,
    stored: Callable[[], Awaitable[list[tuple[bytes, Mapping[str, str]]]]],
    *,
    impl: str = "c",
    formats: Sequence[str] = FORMATS,
) -> None:
    """Every type in every format: each value of INSERT comes again in old rows and in the row of a snapshot.

    `stored` waits for all events but fences, and gives payloads and headers.
    """
    tables = {f"t{number}": name for number, name in enumerate(formats)}
    create(world, *tables)
    ditto = await world.streaming(
        impl=impl, events_tables={"fence": {}, **{table: {"format": name} for table, name in tables.items()}}
    )
    change(world, *tables)
    request(world, "run", *tables)
    found: dict[str, list[Any]] = {table: [] for table in tables}
    for payload, headers in await stored():
        event = read_event(payload, headers.get)
        found[event.table].append(event)
    expected: dict[str, bytes] = {}
    for table, name in tables.items():
        inserted, updated, deleted, read = found[table]
        assert [each.action for each in found[table]] == ["INSERT", "UPDATE", "DELETE", "READ"], name
        new = values(inserted.data)
        assert len(new) > 100, name
        for row in (updated.data, updated.data_old, deleted.data_old, read.data):
            assert values(row) == new, name
        assert inserted.json_null == updated.json_null == updated.json_null_old == deleted.json_null_old, name
        assert inserted.json_null == read.json_null, name
        expected = expected or new
        if name.startswith("cloudevents"):
            assert new == expected, name
    assert await ditto.stop() == 0


async def _together(world: World, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Start both Dittos: the second one's slot, stream and prefix end in `_b`."""
    await world.streaming(**first)
    other = f"{world.name}_b"
    await world.streaming(postgres_slot=other, nats_stream=other.upper(), events_prefix=other, **second)


async def _both(world: World) -> tuple[list[Message], list[Message]]:
    """The messages of both."""
    other = f"{world.name}_b"
    first = await messages(world)
    prefix, stream = world.name, world.stream
    world.stream = other.upper()
    try:
        return first, [
            each._replace(subject=prefix + each.subject.removeprefix(other), payload=_same(each.payload, other, prefix))
            for each in await messages(world)
        ]
    finally:
        world.stream = stream


def _same(payload: bytes, other: str, prefix: str) -> bytes:
    """With the name that the first Ditto has: Debezium's `source.name`, and the names of schemas begin with it."""
    return payload.replace(f'"{other}'.encode(), f'"{prefix}'.encode())


def _comparable(payload: bytes) -> bytes:
    return OF_ONE_DITTO.sub(b"", payload)


async def _are_grouped(world: World, event_format: str, *, impl: str, layout: str = "array") -> None:
    create(world, "t")
    settings: dict[str, Any] = {"impl": impl, "events_format": event_format, "events_tables": {"t": {}}}
    grouped = {"events_group_by": "transaction", "events_group_layout": layout, "events_group_max_bytes": "900kB"}
    await _together(world, settings, {**settings, **grouped})
    change(world, "t")
    async with asyncio.timeout(60):
        single, groups = await _both(world)
        while len(single) < 3 or not groups:
            single, groups = await _both(world)
    (group,) = groups
    assert group.headers["Ditto-Events"] == str(len(single)) == "3"
    events = events_in(group.payload, group.headers.get)
    for one, other in zip(single, events, strict=True):
        first, second = as_json(one.payload, one.headers.get), as_json(other, group.headers.get)
        if layout == "lines":  # where white space of json becomes one line
            first, second = (msgspec.json.encode(msgspec.json.decode(each)) for each in (first, second))
        assert _comparable(first) == _comparable(second)
        if event_format == "msgpack":
            assert _comparable(one.payload) == _comparable(other)


@pytest.mark.parametrize("event_format", ["msgpack", "debezium"])
async def test_events_in_groups_are_the_single_ones(world: World, event_format: str) -> None:
    await _are_grouped(world, event_format, impl="c")


@pytest.mark.long
@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("event_format", IN_GROUPS)
async def test_events_in_groups_are_the_single_ones_in_every_format(world: World, event_format: str, impl: str) -> None:
    await _are_grouped(world, event_format, impl=impl)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("event_format", FORMATS)
async def test_bounds_of_every_type_have_the_same_bytes_from_both_implementations(
    world: World, event_format: str
) -> None:
    """All the bounds, arrays of them and some random values, as new and as old rows."""
    cases = fill(world, count=10)
    tables = {"*": {"format": event_format}}
    await _together(world, {"impl": "c", "events_tables": tables}, {"impl": "python", "events_tables": tables})
    with psycopg.connect(world.dsn) as connection:
        for case in cases:
            store(connection, case.original, enumerate(case.rows))
    world.transaction(*(f"DELETE FROM {case.name}" for case in cases))
    await arrived(world)
    first, second = await _both(world)
    count = sum(len(case.rows) for case in cases)
    assert len(first) == len(second) == 2 * count
    rows: list[dict[str, bytes]] = []
    for one, other in zip(first, second, strict=True):
        assert one.subject == other.subject
        ids = {"Ditto-Id", "ce-id", "Nats-Msg-Id"}
        assert {**one.headers, **dict.fromkeys(ids)} == {**other.headers, **dict.fromkeys(ids)}
        # Of long values a difference says where it is, and no more.
        if (a := _comparable(one.payload)) != (b := _comparable(other.payload)):
            place = next((number for number, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), None)
            pytest.fail(
                f"{one.subject} at {place}: {a[place : (place or 0) + 200]!r}, {b[place : (place or 0) + 200]!r}"
            )
        event = read_event(one.payload, one.headers.get)
        rows.append(values(event.data) if event.action == "INSERT" else values(event.data_old))
    assert sorted(map(repr, rows[:count])) == sorted(map(repr, rows[count:]))
