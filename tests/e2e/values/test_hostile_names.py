"""Names made to break out of where they stand: of subjects, headers, the protocol, JSON and SQL."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import nats
import pytest

if TYPE_CHECKING:
    from nats.aio.msg import Msg

    from e2e.world import World

INJECTIONS = (
    "t\r\nPUB evil 4\r\nevil",
    "t\r\nDitto-Position: 0/0:9\r\n\r\nevil",
    "t\nNats-Rollup: all",
    "t 5\r\n",
    "\r",
    "\n",
    "\t",
    "a\x0bb\x0c\x01\x7f",
)
PATTERNS = (">", "*", ".", "..", "a.*.b", "a.>", "$JS.API.STREAM.DELETE.X", "$SYS", "_INBOX.x", "%2E", "%", "{table}")
QUOTES = (
    '"',
    '""',
    "'",
    "'; DROP TABLE fence; --",
    "\\",
    "\\u0000",
    '","evil":"',
    "$1",
    "$$",
    "-- x",
    "/* */",
    "${HOME}",
)
SCRIPTS = (
    "ü" * 31,  # 62 bytes
    "🙂" * 15 + "abc",  # 63 bytes: as many as fit
    "e\u0301",  # two spellings of one letter
    "é",
    "CamelCase",
    "camelcase",
    "CAMELCASE",
    "\u200b",  # looks empty
    "\u00a0",
    "\u2028",
    "\u202etxt",
    "\ufeff",
    " ",
    "\uffff",
)
NAMES = (*INJECTIONS, *PATTERNS, *QUOTES, *SCRIPTS)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.fixture(params=["c", "python"])
def impl(request: pytest.FixtureRequest, world: World) -> str:
    world.settings["DITTO_IMPL"] = request.param
    return str(request.param)


def is_subject(subject: str) -> bool:
    """As nats-server has it: no white space, no wildcards, no empty token."""
    return all(subject.split(".")) and not set(subject) & set("*> \t\r\n\x0b\x0c")


@pytest.mark.parametrize("separator", ["_", "."])
async def test_hostile_names_arrive_as_they_are(world: World, impl: str, separator: str) -> None:
    assert all(0 < len(name.encode()) <= 63 for name in NAMES), "PostgreSQL would cut them"
    schemas = [name for name in NAMES if name != "$SYS"][:: 7 if separator == "_" else 5]
    places = [("public", name) for name in NAMES] + [(schema, "t") for schema in schemas]
    world.sql(
        *(f"CREATE SCHEMA {quoted(schema)}" for schema in schemas),
        *(
            f"CREATE TABLE {quoted(schema)}.{quoted(table)} (id int PRIMARY KEY, {quoted(table)} text)"
            for schema, table in places
        ),
    )
    world.fence_subject = f"{world.name}{separator}public{separator}fence"
    heard: list[Msg] = []
    client = await nats.connect(world.nats_server.url, allow_reconnect=False)
    try:
        # Whatever is published outside Ditto's own subjects, or with a header that is not Ditto's, is heard here.
        subscription = await client.subscribe(">")
        await client.flush()
        await world.streaming(events_subject=f"{{prefix}}{separator}{{schema}}{separator}{{table}}")
        world.transaction(
            *(f"INSERT INTO {quoted(schema)}.{quoted(table)} VALUES (1, E'\\r\\n+OK')" for schema, table in places)
        )
        events = await world.events()
        while subscription.pending_msgs:
            heard.append(await subscription.next_msg())
    finally:
        await client.close()
    assert [(each.event["schema"], each.event["table"]) for each in events] == places
    assert [each.event["data"] for each in events] == [{"id": 1, table: "\r\n+OK"} for _, table in places]
    assert all(is_subject(each.subject) for each in events)
    assert all(each.subject.startswith(f"{world.name}{separator}") for each in events)
    assert len({each.subject for each in events}) == len(places), "no two tables share a subject"
    stored = [message for message in heard if message.subject.startswith(world.name)]
    assert len(stored) >= len(places)
    assert {name for message in stored for name in message.headers or {}} <= {
        "Nats-Expected-Last-Sequence",
        "Ditto-Position",
        "Nats-Rollup",
    }
    rolled = {message.subject for message in stored if "Nats-Rollup" in (message.headers or {})}
    assert rolled <= {f"{world.name}._checkpoint"}
    foreign = {message.subject for message in heard} - {message.subject for message in stored}
    assert "evil" not in foreign
    await world.matches_tables(event_count=len(places))


async def test_hostile_names_reach_mapped_subjects(world: World, impl: str) -> None:
    topics = {name: f"{world.name}-mapped.{number}" for number, name in enumerate(NAMES) if is_plain(name)}
    world.sql(*(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY)" for name in topics))
    await world.streaming(events_topics=topics)
    world.transaction(*(f"INSERT INTO {quoted(name)} VALUES (1)" for name in topics))
    events = await world.events()
    assert {each.event["table"]: each.subject for each in events} == topics


def is_plain(name: str) -> bool:
    """Whether a key of `events.topics` can say exactly this name: no glob, no dot, which would part schema and name."""
    return not set(name) & set("*?[.") and bool(name.strip())


async def test_a_prefix_or_a_topic_that_is_no_subject_is_refused(world: World) -> None:
    for settings in (
        {"events_prefix": "a\r\nPUB evil 4"},
        {"events_prefix": "a b"},
        {"events_subject": "{table}.>"},
        {"events_topics": {"t": "a\r\nb"}},
        {"events_topics": {"t": "a..b"}},
    ):
        ditto = world.ditto(**settings)
        assert await ditto.ended() == 2
        assert "events." in ditto.sentence()


async def test_a_table_name_cannot_speak_the_protocol(world: World, impl: str) -> None:
    """The bytes themselves: what a raw subscriber sees has one message a row, and no header but Ditto's."""
    name = "t\r\nHPUB evil 12 12\r\nNATS/1.0\r\n\r\n\r\n"
    world.sql(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, body text)")
    await world.streaming()
    with socket.create_connection(("127.0.0.1", world.nats_server.port)) as raw:
        raw.sendall(b'CONNECT {"verbose":false,"headers":true}\r\nSUB > 1\r\nPING\r\n')
        received = b""
        while b"PONG" not in received:
            received += await asyncio.to_thread(raw.recv, 1 << 16)
        world.sql(f"INSERT INTO {quoted(name)} VALUES (1, E'\\r\\nMSG evil 1 0\\r\\n\\r\\n')")
        await world.fence()
        raw.sendall(b"PING\r\n")
        received = b""
        while not received.endswith(b"PONG\r\n"):
            received += await asyncio.to_thread(raw.recv, 1 << 16)
    lines = received.split(b"\r\n")
    subjects = [line.split(b" ")[1] for line in lines if line.startswith((b"MSG ", b"HMSG "))]
    assert b"evil" not in subjects
    prefix = world.name.encode()
    mine = [subject for subject in subjects if subject.startswith(prefix + b"_public_t")]
    assert mine == [prefix + b"_public_t%0D%0AHPUB%20evil%2012%2012%0D%0ANATS/1%2E0%0D%0A%0D%0A%0D%0A"]
