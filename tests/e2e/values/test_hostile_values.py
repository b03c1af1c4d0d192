"""Values that are hard to carry: escapes, control characters, bytes that are no text, and hundreds of megabytes."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from ditto.testing.servers import NatsServer
from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.servers import PostgresServer
    from e2e.process import DittoProcess

MB = 1_000_000


@pytest.fixture(params=["c", "python"])
def impl(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def as_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


TEXTS = (
    r"\u0000",
    r"\\u0000",
    r"\x00",
    "\\",
    '"',
    '\\"',
    "".join(chr(code) for code in range(1, 0x20)) + "\x7f\x80\x9f",
    "\u2028\u2029\ufeff\ufffe\uffff\U0010ffff",
    "\r\nHPUB evil 0 0\r\n\r\n",
    "NATS/1.0\r\nDitto-Position: 0/0:1\r\n\r\n",
    "</script><!-- ",
    "",
    " ",
    "null",
    "NULL",
    r"\N",
    "{}",
)
# What `json`, unlike `jsonb`, keeps as it was written.
DOCUMENTS = (
    r'"\u0000"',
    r'{"\u0000": "\ud83d\ude42"}',
    r'"\ud800"',
    '{"a": 1, "a": 2}',
    " [1 , 2e400,\t-0.0 ] ",
    "1" * 400,
    "[" * 500 + "]" * 500,
)


async def test_escapes_and_control_characters_arrive_as_they_are(world: World, impl: str) -> None:
    world.sql("CREATE TABLE t (id int PRIMARY KEY, body text, list text[], doc json)")
    world.settings["DITTO_IMPL"] = impl
    await world.streaming()
    rows = [f"({n}, {as_literal(text)}, ARRAY[{as_literal(text)}, NULL], NULL)" for n, text in enumerate(TEXTS)]
    rows += [f"({100 + n}, NULL, NULL, {as_literal(doc)})" for n, doc in enumerate(DOCUMENTS)]
    world.sql(f"INSERT INTO t VALUES {', '.join(rows)}")
    events = await world.events()
    assert [event.event["data"] for event in events[: len(TEXTS)]] == [
        {"id": n, "body": text, "list": [text, None], "doc": None} for n, text in enumerate(TEXTS)
    ]
    for event, document in zip(events[len(TEXTS) :], DOCUMENTS, strict=True):
        assert document.strip().encode() in event.payload, "to the letter"
        assert event.event["data"]["doc"] == json.loads(document)
    assert b"\n" not in b"".join(event.payload for event in events[: len(TEXTS)]), "control characters are escaped"


@pytest.fixture
def ascii_world(shared_postgres: PostgresServer, shared_nats: NatsServer, tmp_path: Path) -> Iterator[World]:
    """On a database that does not know what its bytes mean."""
    world = World(shared_postgres, shared_nats, name=f"ascii_{tmp_path.name[-6:].lower()}", folder=tmp_path)
    world.sql(
        f"DROP DATABASE {world.name}",
        f"CREATE DATABASE {world.name} ENCODING 'SQL_ASCII' TEMPLATE template0",
        dsn=shared_postgres.dsn,
    )
    world.sql("CREATE TABLE fence (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY)")
    yield world
    world.close()
    world.sql(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{world.name}'")


@pytest.mark.parametrize("kind", ["text", "json", "text[]"])
async def test_bytes_that_are_no_text_stop_it_by_name(ascii_world: World, impl: str, kind: str) -> None:
    world = ascii_world
    world.settings["DITTO_IMPL"] = impl
    world.sql(f"CREATE TABLE t (id int PRIMARY KEY, fine text, body {kind})")
    ditto = await world.streaming()
    value = {"text": b"caf\xe9", "json": b'"caf\xe9"', "text[]": b"{caf\xe9}"}[kind]
    world.sql("INSERT INTO t VALUES (1, 'x', NULL)")
    await world.fence()  # read together with the next one, it would not be stored before Ditto stops
    with psycopg.connect(world.dsn, client_encoding="SQL_ASCII", autocommit=True) as connection:
        connection.execute(b"INSERT INTO t VALUES (2, 'x', '" + value + b"')")
    assert await ditto.ended() == 3
    sentence = ditto.sentence()
    assert "table public.t" in sentence
    assert "column body" in sentence
    assert "in the transaction that commits at " in sentence
    assert "text that is not UTF-8" in sentence
    assert "caf" not in ditto.output
    stored = [message for message in await world.messages() if message.subject == f"{world.name}_public_t"]
    assert [message.change[2] for message in stored] == [1]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["text", "json", "text[]"])
async def test_a_value_of_200_mb(world: World, impl: str, kind: str) -> None:
    """Far more than the server takes: an error that names it, without a conversion that would multiply it in memory."""
    world.settings["DITTO_IMPL"] = impl
    world.sql(f"CREATE TABLE big (id int PRIMARY KEY, body {kind})")
    ditto = await world.streaming()
    sizes = [ditto.rss_bytes]
    watching = asyncio.create_task(watch(ditto, sizes))
    value = f"('\"' || repeat('confidential ', {200 * MB // 13}) || '\"')::{kind}"
    if kind == "text[]":
        value = f"(SELECT array_agg('confidential ' || n) FROM generate_series(1, {9 * MB}) AS n)"
    await asyncio.to_thread(world.sql, f"INSERT INTO big VALUES (1, {value})")
    assert await ditto.ended(timeout_s=60) == 4
    await watching
    sentence = ditto.sentence()
    assert "public.big" in sentence
    assert "max_payload" in sentence
    assert "confidential" not in ditto.output
    assert "column body" in sentence
    # libpq's buffer, and the message; the plain-Python decoder has two copies more.
    assert max(sizes) - sizes[0] < (2.5 if impl == "c" else 5) * 200 * MB, f"{max(sizes) // MB} MB"


async def watch(ditto: DittoProcess, sizes: list[int]) -> None:
    """Note its memory until it has ended."""
    with suppress(psutil.Error):
        while ditto.is_running:
            sizes.append(ditto.rss_bytes)
            await asyncio.sleep(0.01)


@pytest.mark.long
async def test_a_value_of_30_mb(world: World, impl: str, tmp_path: Path) -> None:
    """Within what nats-server is configured to take, and what its file store can take; then beyond the latter."""
    world.settings["DITTO_IMPL"] = impl
    world.sql("CREATE TABLE big (id int PRIMARY KEY, body text)")
    with NatsServer(tmp_path / "big", config="max_payload: 64MB\nmax_pending: 256MB") as server:
        world.nats_server = server
        ditto = await world.streaming(nats_url=server.url, nats_ack_timeout="60s")
        await asyncio.to_thread(world.sql, f"INSERT INTO big VALUES (1, repeat('0123456789', {3 * MB}))")
        await world.fence(timeout_s=60)
        async with world.jetstream() as jetstream:
            message = await jetstream.get_last_msg(world.stream, f"{world.name}_public_big")
        assert message.data is not None
        assert json.loads(message.data)["data"] == {"id": 1, "body": "0123456789" * (3 * MB)}
        await asyncio.to_thread(world.sql, f"INSERT INTO big VALUES (2, repeat('0123456789', {6 * MB}))")
        assert await ditto.ended(timeout_s=60) == 4
        assert "public.big" in ditto.sentence()
        assert "32 MB" in ditto.sentence()


# What is built of 29 MB: the value, and megabytes that the process may grow by meanwhile.
LARGE_VALUES = {
    "text": ("repeat('0123456789', 2900000)", 220),
    "text beyond ASCII": ("repeat('0123456789', 2900000) || '\U0001f600'", 330),
    "text[]": ("(SELECT array_agg('ab cd' || n) FROM generate_series(1, 2100000) AS n)", 220),
    "float8[]": ("(SELECT array_agg(0.5) FROM generate_series(1, 7000000) AS n)", 220),
    "int4[]": ("(SELECT array_agg(ARRAY[n % 10]) FROM generate_series(1, 7000000) AS n)", 220),
    "hstore": ("(SELECT hstore(array_agg('k' || n), array_agg('v' || n)) FROM generate_series(1, 1200000) AS n)", 220),
    "bytea": ("decode(repeat('00ff0a', 7000000), 'hex')", 220),
    "jsonb": ("(SELECT jsonb_agg(n) FROM generate_series(1, 3000000) AS n)", 220),
}


@pytest.mark.long
@pytest.mark.parametrize("name", LARGE_VALUES)
async def test_a_large_value_takes_little_memory_and_holds_up_nothing(world: World, tmp_path: Path, name: str) -> None:
    """The memory that deploy/kubernetes allows is chosen by it; systemd's watchdog is fed all the time."""
    expression, allowed_mb = LARGE_VALUES[name]
    type_name = name.split(maxsplit=1)[0]
    world.sql("CREATE EXTENSION IF NOT EXISTS hstore", f"CREATE TABLE big (id int PRIMARY KEY, body {type_name})")
    with (
        NatsServer(tmp_path / "big", config="max_payload: 64MB\nmax_pending: 256MB") as server,
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
    ):
        channel.bind(str(Path(folder, "notify")))
        channel.setblocking(False)
        world.nats_server = server
        world.settings |= {"NOTIFY_SOCKET": str(Path(folder, "notify")), "WATCHDOG_USEC": "4000000"}
        ditto = await world.streaming(nats_url=server.url, nats_ack_timeout="60s")
        sizes, gaps_s = [ditto.rss_bytes], [0.0]
        watching = asyncio.create_task(watch(ditto, sizes))
        listening = asyncio.create_task(listen(channel, gaps_s))
        await asyncio.to_thread(world.sql, f"INSERT INTO big VALUES (1, {expression})")
        await world.fence(timeout_s=60)
        async with world.jetstream() as jetstream:
            message = await jetstream.get_last_msg(world.stream, f"{world.name}_public_big")
        assert len(message.data or b"") > 20 * MB
        assert await ditto.stop() == 0
        await watching
        listening.cancel()
    assert max(sizes) - sizes[0] < allowed_mb * MB, f"{(max(sizes) - sizes[0]) // MB} MB"
    assert max(gaps_s) < 4


async def listen(channel: socket.socket, gaps_s: list[float]) -> None:
    """Note how long systemd hears nothing."""
    heard_at = time.monotonic()
    while True:
        with suppress(BlockingIOError):
            while channel.recv(4096):
                gaps_s.append(time.monotonic() - heard_at)
                heard_at = time.monotonic()
        await asyncio.sleep(0.01)
