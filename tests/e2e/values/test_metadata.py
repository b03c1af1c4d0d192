"""What events say besides the row, where the configuration asks for it: `meta`, schema messages, the last mark."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from ditto.lsn import Position

if TYPE_CHECKING:
    from e2e.world import Stored, World

METADATA = ["lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"]


def meta(message: Stored) -> dict[str, Any]:
    found: dict[str, Any] = message.event["meta"]
    return found


async def all_messages(world: World) -> list[Stored]:
    """Events and schema messages, in stream order, without the fence's."""
    await world.fence()
    return [
        message
        for message in await world.messages()
        if not message.subject.endswith(("_fence", ".fence", "._checkpoint"))
    ]


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_every_field(world: World, impl: str) -> None:
    world.sql(
        "CREATE TABLE keyed (a int, b text, c int, PRIMARY KEY (c, a))",
        "CREATE TABLE whole (id int PRIMARY KEY, v text)",
        "ALTER TABLE whole REPLICA IDENTITY FULL",
        "CREATE TABLE bare (v int)",
        "ALTER TABLE bare REPLICA IDENTITY FULL",
        "CREATE TABLE indexed (id int PRIMARY KEY, code text NOT NULL)",
        "CREATE UNIQUE INDEX by_code ON indexed (code)",
        "ALTER TABLE indexed REPLICA IDENTITY USING INDEX by_code",
        f"SELECT pg_replication_origin_create('from_{world.name}')",
    )
    await world.streaming(impl=impl, events_metadata=METADATA)
    world.transaction(
        "INSERT INTO keyed VALUES (1, 'x', 2), (3, 'y', 4)",
        "INSERT INTO whole VALUES (1, 'x')",
        "INSERT INTO bare VALUES (1)",
        "INSERT INTO indexed VALUES (1, 'x')",
    )
    world.transaction(
        f"SELECT pg_replication_origin_session_setup('from_{world.name}')",
        "UPDATE whole SET v = 'y'",
        "DELETE FROM bare",
    )
    xid = world.value("SELECT xmin::text::int FROM whole")
    messages = await world.events()
    assert all(Position.parse(f"{meta(each)['lsn']}:{meta(each)['ordinal']}") == each.position for each in messages)
    assert [meta(each)["primaryKey"] for each in messages] == [
        ["a", "c"], ["a", "c"], ["id"], [], ["code"], ["id"], []
    ]  # fmt: skip
    assert [meta(each)["origin"] for each in messages] == [None] * 5 + [f"from_{world.name}"] * 2
    assert [meta(each)["ordinal"] for each in messages] == [1, 2, 3, 4, 5, 1, 2]
    assert {meta(each)["xid"] for each in messages[5:]} == {xid}
    versions = [meta(each)["schemaVersion"] for each in messages]
    assert versions[0] == versions[1]
    assert versions[2] == versions[5]
    assert versions[3] == versions[6]
    assert len(set(versions)) == 4


async def test_types_whose_names_begin_like_an_arrays_and_come_later(world: World) -> None:
    ditto = await world.streaming(events_schemas=True)
    for number in range(2):
        world.sql(
            f"CREATE TYPE mood{number} AS ENUM ('sad')",
            f"CREATE TYPE _odd{number} AS ENUM ('{{a}}')",
            f"CREATE TABLE t{number} (id int PRIMARY KEY, moods mood{number}[], odd _odd{number})",
            f"INSERT INTO t{number} VALUES (1, '{{sad}}', '{{a}}')",
        )
        await world.fence()
    rows = [message.event["data"] for message in await world.events() if "data" in message.event]
    assert rows == [{"id": 1, "moods": ["sad"], "odd": "{a}"}] * 2
    assert not ditto.logs("session.failed")


@pytest.mark.parametrize("is_created", [False, True], ids=["new stream", "configuration changed"])
async def test_descriptions_beside_a_dotted_template(world: World, *, is_created: bool) -> None:
    """nats-server refuses subjects that overlap, as the template's wildcard and the descriptions' do."""
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    if is_created:
        ditto = await world.streaming()
        assert await ditto.stop() == 0
    world.fence_subject = f"{world.name}.public.fence"
    await world.streaming(events_schemas=True, events_subject="{prefix}.{schema}.{table}")
    world.sql("INSERT INTO t VALUES (1)")
    found = [message.subject for message in await all_messages(world)]
    assert found[-2:] == [f"{world.name}._schema.public.t", f"{world.name}.public.t"]
    subjects = (await world.info()).config.subjects or []
    assert [subject for subject in subjects if subject.startswith(f"{world.name}.")] == [f"{world.name}.>"]


async def test_a_table_is_described_once_in_order_and_again_when_it_changes(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, v varchar(7))", "CREATE TYPE mood AS ENUM ('sad')")
    settings: dict[str, Any] = {"events_schemas": True, "events_metadata": ["schema_version"]}
    ditto = await world.streaming(**settings)
    world.sql("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')")
    await world.fence()
    await ditto.stop()
    ditto = await world.streaming(**settings)  # what it has described it does not describe again
    world.sql("INSERT INTO t VALUES (3, 'c')")
    world.transaction(
        "INSERT INTO t VALUES (4, 'd')",
        "ALTER TABLE t ADD COLUMN m mood[]",
        "INSERT INTO t VALUES (5, 'e', '{sad}')",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t VALUES (6, 'f', NULL)",
    )
    found = await all_messages(world)
    subject = f"{world.name}._schema.public.t"
    table = f"{world.name}_public_t"
    assert [message.subject for message in found if message.subject != f"{world.name}._schema.public.fence"] == [
        subject, table, table, table, table, subject, table, subject, table
    ]  # fmt: skip
    first, second, third = [json.loads(message.payload) for message in found if message.subject == subject]
    assert first == {
        "schema": "public",
        "table": "t",
        "version": first["version"],
        "replicaIdentity": "default",
        "primaryKey": ["id"],
        "columns": [
            {"name": "id", "type": "int4", "typeOid": 23, "typmod": -1, "key": True},
            {"name": "v", "type": "varchar", "typeOid": 1043, "typmod": 11, "key": False},
        ],
    }
    assert second["columns"][2] | {"typeOid": 0} == {
        "name": "m", "type": "public.mood[]", "typeOid": 0, "typmod": -1, "key": False
    }  # fmt: skip
    assert (third["replicaIdentity"], third["primaryKey"]) == ("full", ["id"])
    current = ""
    for message in found:
        if message.subject == subject:
            current = json.loads(message.payload)["version"]
        elif message.subject == table:
            assert meta(message)["schemaVersion"] == current
    await world.matches_tables(event_count=6)


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_the_last_event_of_each_transaction_is_marked(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, v int)", "CREATE TABLE skipped (id int PRIMARY KEY)")
    await world.streaming(impl=impl, events_transactions=True, events_tables={"t": ["insert"], "fence": ["insert"]})
    world.sql("INSERT INTO t VALUES (1)", "INSERT INTO t SELECT generate_series(2, 1000)")
    world.transaction("INSERT INTO t VALUES (1001), (1002)", "INSERT INTO skipped SELECT generate_series(1, 1000)")
    world.transaction("UPDATE t SET v = 1 WHERE id < 10")
    world.transaction("INSERT INTO t VALUES (1003)", "SAVEPOINT s", "INSERT INTO t VALUES (0)", "ROLLBACK TO s")
    events = await world.events()
    last = [message.event["data"]["id"] for message in events if message.event.get("meta") == {"last": True}]
    assert last == [1, 1000, 1002, 1003]
    assert all("meta" not in message.event for message in events if message.event["data"]["id"] not in last)


async def test_a_description_at_the_tail_is_gone_on_after(world: World) -> None:
    """The stream's last message may be a description: killed at many places in a transaction that describes a lot."""
    world.sql(*(f"CREATE TABLE t{number} (id int PRIMARY KEY)" for number in range(40)))
    settings: dict[str, Any] = {
        "events_schemas": True,
        "events_transactions": True,
        "delivery_max_in_flight": 1,
        "delivery_lease_ttl": 0,
    }
    ditto = await world.streaming(**settings)
    world.transaction(*(f"INSERT INTO t{number} VALUES (1)" for number in range(40)))
    for count in range(10, 60, 10):
        await world.holds(count)
        ditto.send(signal.SIGKILL)
        await ditto.ended()
        ditto = world.ditto(**settings)
    found = await all_messages(world)
    described = [message.subject for message in found if "._schema." in message.subject]
    assert len(described) == len(set(described))
    events = [message for message in found if "._schema." not in message.subject]
    assert [message.event["table"] for message in events] == [f"t{number}" for number in range(40)]
    assert [message.event["table"] for message in events if "meta" in message.event] == ["t39"]
    await world.matches_tables(event_count=40)


async def test_what_somebody_else_stores_under_schema_does_not_stop_it(world: World) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    settings: dict[str, Any] = {"events_schemas": True}
    ditto = await world.streaming(**settings)
    await world.fence()
    await ditto.stop()
    async with world.jetstream() as jetstream:
        await jetstream.publish(f"{world.name}._schema.public.t", b"no description")
    ditto = await world.streaming(**settings)
    world.sql("INSERT INTO t VALUES (1)")
    await world.fence()
    await ditto.logged("stream.foreign_message", subject=f"{world.name}._schema.public.t")
    async with world.jetstream() as jetstream:
        last = await jetstream.get_last_msg(world.stream, f"{world.name}._schema.public.t")
    assert json.loads(last.data or b"")["table"] == "t"


async def test_types_by_option(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int8 PRIMARY KEY, n numeric, b bytea, i interval, j jsonb, t timestamp, f float8[], "
        "a int8[])"
    )
    types = {
        "numeric": "number", "int8": "string", "bytea": "hex", "interval": "iso8601", "json": "string",
        "timestamp": "utc",
    }  # fmt: skip
    await world.streaming(**{f"events_types_{name}": value for name, value in types.items()})
    world.sql(
        r"""INSERT INTO t VALUES (1, 1.10, '\xff', '1 day 2 hours', '{"a": null}', '2026-01-02 03:04:05', """
        "'{1.5,NaN}', '{7}')"
    )
    (message,) = await world.events()
    assert b'"n":1.10,' in message.payload
    assert message.event["data"] == {
        "id": "1", "n": 1.1, "b": r"\xff", "i": "P1DT2H", "j": '{"a": null}', "t": "2026-01-02T03:04:05Z",
        "f": [1.5, "NaN"], "a": ["7"],
    }  # fmt: skip


async def test_types_by_profile(world: World) -> None:
    world.sql(
        "CREATE TABLE t (id int8 PRIMARY KEY, n numeric, b bytea, i interval, j json, jb jsonb, t timestamp, "
        "tz timestamptz, f float8, a int[], u uuid, ok bool)"
    )
    await world.streaming(events_types_profile="wal-listener")
    world.sql(
        r"""INSERT INTO t VALUES (1, 1.10, '\xff', '1 day', '{"a": 1}', '{"b": 2}', '2026-01-02 03:04:05', """
        r"""'2026-01-02 03:04:05+01', 1.5, '{1,2}', '6C0F5A52-6a7b-4c1e-9a53-0d3b2d2f1a10', true)"""
    )
    (message,) = await world.events()
    assert message.event["data"] == {
        "id": 1, "n": "1.10", "b": r"\xff", "i": "1 day", "j": '{"a": 1}', "jb": {"b": 2},
        "t": "2026-01-02T03:04:05Z", "tz": "2026-01-02T02:04:05Z", "f": "1.5", "a": "{1,2}",
        "u": "6c0f5a52-6a7b-4c1e-9a53-0d3b2d2f1a10", "ok": True,
    }  # fmt: skip
