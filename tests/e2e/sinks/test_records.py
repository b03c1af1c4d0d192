"""A file that holds records beside events: messages of the application's, and events with headers of their own."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from ditto.decoding.event_id import event_id
from ditto.lsn import Position
from ditto.sinks.file.records import read_record
from e2e.kills import killed_at_random
from e2e.sinks.webhook_world import WebhookWorld

if TYPE_CHECKING:
    from e2e.sinks.file_world import FileWorld, LineWorld

SETTINGS: dict[str, object] = {
    "events_messages": {"orders.*": "{prefix}.{message.prefix}"},
    "events_outbox_table": "public.outbox",
    "events_outbox_subject": "{prefix}.{data.topic}",
    "events_outbox_id": "id",
    "events_outbox_key": "id",
    "events_outbox_headers": "headers",
    "events_tables": {"t": {"actions": ["insert"], "headers": {"row": "{data.id}"}}, "fence": ["insert"]},
}


def entries(world: FileWorld) -> list[dict[str, Any]]:
    """The lines that are no checkpoints and no fences, with positions that increase strictly."""
    found = [json.loads(line) for line in world.lines() if not line.startswith(b'{"lsn":')]
    records = [each for each in found if "position" in each]
    positions = [Position.parse(each["position"]) for each in records]
    assert positions == sorted(set(positions))
    assert all(each["id"] == event_id(Position.parse(each["position"]), world.key) for each in records)
    return [each for each in found if each.get("table") != "fence"]


def told(entry: dict[str, Any]) -> object:
    """The number that the row, or the body, has."""
    if "payloadBase64" in entry:
        return int(base64.b64decode(entry["payloadBase64"]))
    payload = entry["payload"]
    return payload["data"]["id"] if "data" in payload else payload["n"]


async def make_tables(world: FileWorld) -> None:
    world.sql(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "CREATE TABLE outbox (id int PRIMARY KEY, topic text, payload bytea, headers jsonb)",
    )


async def test_what_a_record_holds(file_world: FileWorld) -> None:
    world = file_world
    await make_tables(world)
    await world.streaming(**SETTINGS)
    world.transaction(
        "INSERT INTO t VALUES (1)",
        """INSERT INTO outbox VALUES (2, 'paid', '2', '{"tenant": "a\\nb"}')""",
        """SELECT pg_logical_emit_message(true, 'orders.a', E'{"n":\\r\\n 3}')""",
    )
    world.sql("SELECT pg_logical_emit_message(false, 'orders.a', '4')")
    await world.fence()
    row, outbox, message, beside = entries(world)
    assert [told(each) for each in (row, outbox, message, beside)] == [1, 2, 3, 4]
    assert row["headers"] == {"row": "1"}
    assert row["payload"]["id"] == row["id"]
    assert row["payload"]["commitTime"] == row["commitTime"] == outbox["commitTime"] == message["commitTime"]
    assert "commitTime" not in beside
    assert (outbox["subject"], outbox["key"]) == (f"{world.name}.paid", "2")
    assert outbox["headers"] == {
        "Ditto-Id": "2",
        "Ditto-Outbox": "public.outbox",
        "Content-Type": "application/octet-stream",
        "tenant": "a%0Ab",
    }
    assert message["headers"]["Ditto-Message"] == "orders.a"


HOSTILE = [
    *("a.b", "a%2Eb", "*", ">", " ", "%20", "", "%empty", "%null", "..", "../../etc/passwd", "/dev/null"),
    *("\r\nHost: x\r\n\r\n", "\n", "\r", "a\tb", "\x01", "\\x00", "\\u0000", "\x7f", "\x85", "\u2028"),
    *("é", "e\u0301", "😀", "\U0010ffff", '"}\n{"position":"0/1:1","id":"x"}', '","key":"x', "a ", "a", "A"),
    *("x" * 512, "😀" * 42, "x" * 100_000),
]


@pytest.mark.parametrize("kind", ["file_world", "webhook_world"])
async def test_hostile_values_stay_in_their_place(request: pytest.FixtureRequest, kind: str) -> None:
    world: LineWorld = request.getfixturevalue(kind)
    world.sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
    rules = {"subject": "{prefix}.t.{data.v}", "headers": {"h": "{data.v}"}, "key": ["v"], "actions": ["insert"]}
    await world.streaming(events_tables={"t": {**rules, "on_error": "keep"}, "fence": ["insert"]})
    world.sql("INSERT INTO t VALUES (-1, 'first')")
    await world.fence()
    files = set(world.folder.rglob("*"))
    with world.connect() as connection:
        for number, value in enumerate(HOSTILE):
            connection.execute("INSERT INTO t VALUES (%s, %s)", (number, value))
    await world.fence()
    assert set(world.folder.rglob("*")) == files
    _, *found = [read_record(line) for line in world.lines() if line.startswith(b'{"position":')]
    assert [json.loads(each.payload)["data"]["v"] for each in found] == HOSTILE
    assert [each.key for each in found] == [*HOSTILE[:-1], None], "the last one is too long"
    for told in ([each.subject for each in found], [each.headers["h"] for each in found]):
        assert len(set(told)) == len(HOSTILE)
        assert all(each.isprintable() or not each.isascii() for each in told)
    assert all(len(each.subject.split(".")) == 3 and list(each.headers) == ["h"] for each in found)
    if isinstance(world, WebhookWorld):
        usual = {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "ditto-position"}
        sent = {name for taken in world.taken() for name in taken.headers if not name.startswith((":", "webhook-"))}
        assert sent == usual


async def test_a_torn_record_is_cut_off(file_world: FileWorld) -> None:
    world = file_world
    await make_tables(world)
    ditto = await world.streaming(**SETTINGS)
    world.sql("INSERT INTO outbox VALUES (1, 'a', '1')")
    await world.fence()
    for number in range(2, 5):
        world.sql(f"INSERT INTO outbox VALUES ({number}, 'a', '{number}')")
        await world.holds(len(world.lines()))
        ditto.kill()
        lines = world.path.read_bytes().splitlines(keepends=True)
        record = next(line for line in reversed(lines) if line.startswith(b'{"position":'))
        with world.path.open("ab") as file:
            file.write(record[: len(record) * number // 5])
        ditto = await world.streaming(**SETTINGS)
    await world.fence()
    assert [told(each) for each in entries(world)] == [1, 2, 3, 4]


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_everything_is_there_once_and_in_order(file_world: FileWorld, kills: int) -> None:
    world, chance = file_world, random.Random(kills)
    await make_tables(world)
    ditto = await world.streaming(**SETTINGS)
    count = 0

    async def goes_on(_: object) -> None:
        nonlocal count
        before = await world.message_count()
        for _ in range(chance.randint(3, 12)):
            with world.connect() as connection:
                for _ in range(chance.randint(1, 200)):
                    count += 1
                    statement = chance.choice(
                        [
                            f"INSERT INTO t VALUES ({count})",
                            f"INSERT INTO outbox VALUES ({count}, 'a', '{count}')",
                            f"""SELECT pg_logical_emit_message(true, 'orders.a', '{{"n":{count}}}')""",
                        ]
                    )
                    connection.execute(statement.encode())
        await world.holds(before + chance.randint(1, 20))

    ditto = await killed_at_random(world, ditto, goes_on, count=kills, chance=chance, **SETTINGS)
    await world.fence()
    assert [told(each) for each in entries(world)] == list(range(1, count + 1))
    assert await ditto.stop() == 0
