"""Events of every type and action in each format: read back they say what the tables hold."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import nats
import psycopg
import pytest

from ditto.config import Types
from ditto.formats.stored_events import read_event
from e2e.samples import has_xml
from e2e.snapshots.recording import StreamRecording
from e2e.snapshots.writers import request
from e2e.values.test_documented_values import DEFAULT, VALUES

if TYPE_CHECKING:
    from e2e.values.test_documented_values import Example
    from e2e.world import World

FORMATS = {
    "cloudevents": Types(),
    "cloudevents-binary": Types(),
    "msgpack": Types(json="string"),
    "wal-listener": Types(profile="wal-listener"),
}
"""Those whose values tell PostgreSQL's text, and the options that say how."""


class Message(NamedTuple):
    """One of the stream, with its headers."""

    subject: str
    headers: dict[str, str]
    payload: bytes


async def messages(world: World) -> list[Message]:
    """Every event but fences and Ditto's own messages."""
    client = await nats.connect(world.nats_server.url)
    try:
        subscription = await client.jetstream().subscribe(">", stream=world.stream, ordered_consumer=True)
        last = (await client.jetstream().stream_info(world.stream)).state.last_seq
        found: list[Message] = []
        while True:
            message = await subscription.next_msg(timeout=10)
            if "._" not in message.subject and message.subject != world.fence_subject:
                found.append(Message(message.subject, dict(message.headers or {}), message.data))
            if message.metadata.sequence.stream >= last:
                return found
    finally:
        await client.close()


async def streaming(world: World, event_format: str, impl: str, **settings: Any) -> None:
    world.settings["DITTO_IMPL"] = impl
    tables = {"fence": {"format": "ditto"}, "*": {"format": event_format}}
    await world.streaming(events_tables=tables, **settings)


def create_all_types(world: World) -> list[Example]:
    """A table for each documented value; returns them."""
    match = re.search(r"```sql\n(.*?)```", VALUES, re.DOTALL)
    assert match
    with psycopg.connect(world.dsn) as connection:
        if not connection.execute("SELECT FROM pg_available_extensions WHERE name = 'hstore'").fetchall():
            pytest.skip("this server came without contrib")
        connection.execute(match[1].encode())
        rows = DEFAULT if has_xml(connection) else [row for row in DEFAULT if row.type != "xml"]
        for number, row in enumerate(rows):
            connection.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, v {row.type})".encode())
    return rows


CHANGES = (
    "INSERT INTO big VALUES (1, repeat(md5('1'), 200), decode(repeat(md5('1'), 200), 'hex'), '{1,2}', 1.5)",
    "UPDATE big SET n = 'NaN'",
    "UPDATE big SET id = 2",
    "INSERT INTO whole VALUES (1, 'a'), (2, NULL)",
    "UPDATE whole SET t = 'b' WHERE id = 1",
    "DELETE FROM whole WHERE id = 2",
    "DELETE FROM big WHERE id = 2",
    "INSERT INTO gone VALUES (1)",
    "TRUNCATE gone",
)


def create_others(world: World) -> None:
    world.sql(
        "CREATE TABLE big (id int PRIMARY KEY, t text, b bytea, a int[], n float8)",
        "ALTER TABLE big ALTER t SET STORAGE EXTERNAL, ALTER b SET STORAGE EXTERNAL",
        "CREATE TABLE whole (id int PRIMARY KEY, t text)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "CREATE TABLE gone (id int PRIMARY KEY)",
    )


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("event_format", FORMATS)
async def test_the_stream_gives_the_tables(world: World, event_format: str, impl: str) -> None:
    rows = create_all_types(world)
    create_others(world)
    await streaming(world, event_format, impl)
    world.transaction(*(f"INSERT INTO t{number} VALUES (1, {row.literal})" for number, row in enumerate(rows)))
    world.sql(*CHANGES)
    await world.fence()
    await world.matches_tables(event_count=len(rows) + 10, types=FORMATS[event_format])
    actions = [read_event(each.payload, each.headers.get).action for each in await messages(world)]
    assert actions[len(rows) :] == [
        *("INSERT", "UPDATE", "UPDATE"),
        *("INSERT", "INSERT", "UPDATE", "DELETE"),
        *("DELETE", "INSERT", "TRUNCATE"),
    ]


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize("event_format", [*FORMATS, "debezium", "debezium-schema"])
async def test_rows_are_read_as_they_were_inserted(world: World, event_format: str, impl: str) -> None:
    rows = create_all_types(world)
    await streaming(world, event_format, impl)
    world.transaction(*(f"INSERT INTO t{number} VALUES (1, {row.literal})" for number, row in enumerate(rows)))
    await world.fence()
    recording = StreamRecording(world)
    request(world, "run")
    await recording.finished("run", ditto=world._processes[-1], timeout_s=60)
    found: dict[str, list[Any]] = {"INSERT": [], "READ": []}
    for each in await messages(world):
        event = read_event(each.payload, each.headers.get)
        found[event.action].append((event.schema, event.table, bytes(event.data), event.json_null))
    assert len(found["READ"]) == len(rows)
    assert sorted(found["READ"]) == sorted(found["INSERT"])


@pytest.mark.parametrize("event_format", [*FORMATS, "debezium", "debezium-schema"])
async def test_a_restart_goes_on_after_the_last_event(world: World, event_format: str) -> None:
    """The tail is an event in the format, and proves its position."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    settings = {"events_format": event_format, "events_tables": {"fence": {"format": "ditto"}, "t": {}}}
    ditto = await world.streaming(**settings)
    world.sql("INSERT INTO t SELECT generate_series(1, 100)")
    await world.holds(100)
    await world.confirms_tail()
    ditto.kill()
    world.sql("INSERT INTO t SELECT generate_series(101, 200)")
    again = await world.streaming(**settings)
    await world.fence()
    ids = []
    for each in await messages(world):
        event = read_event(each.payload, each.headers.get)
        ids.append(json.loads(bytes(event.data))["id"])
    assert ids == list(range(1, 201))
    assert not again.logs("session.failed")


async def test_tables_of_all_formats_in_one_transaction(world: World) -> None:
    formats = ["ditto", *FORMATS, "debezium", "debezium-schema"]
    world.sql(*(f"CREATE TABLE t{number} (id int PRIMARY KEY, v text)" for number in range(len(formats))))
    tables = {f"t{number}": {"format": name} for number, name in enumerate(formats)}
    await world.streaming(events_tables={"fence": {}, **tables}, events_transactions="true")
    world.transaction(
        *(f"INSERT INTO t{number} VALUES ({row}, '{row}')" for row in range(3) for number in range(len(formats)))
    )
    await world.fence()
    found = [read_event(each.payload, each.headers.get) for each in await messages(world)]
    assert [event.table for event in found] == [f"t{number}" for number in range(len(formats))] * 3
    assert [json.loads(bytes(event.data)) for event in found] == [
        {"id": row, "v": str(row)} for row in range(3) for _ in formats
    ]
