"""The check itself: it must find each kind of fault, in the stream and in the tables, and nothing in a good stream."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import nats
import psycopg
import pytest

from ditto.config import Types
from ditto.errors import StreamNotFound
from ditto.lsn import Position
from ditto.source.sql import Control, open_control
from ditto.testing.servers import NatsServer, PostgresServer
from ditto.testing.stream_replay import replay
from ditto.verify import Comparison, Replay, compare, read_publication, table_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from nats.aio.client import Client

TABLES = """
    DROP SCHEMA IF EXISTS shop CASCADE;
    CREATE SCHEMA shop;
    CREATE TYPE shop.side AS ENUM ('buy', 'sell');
    CREATE DOMAIN shop.hash AS bytea;
    CREATE TABLE shop.trades (
        book text, id int, price numeric, doc jsonb, raw json, at timestamptz, ts timestamp, tags text[], grid int[][],
        blob bytea, digest shop.hash, blobs bytea[], side shop.side, ratio float8, span int4range, ok bool, big int8,
        doubled int GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id, book));
    CREATE TABLE shop.log (line text, n int);
    CREATE TABLE shop.docs (id int PRIMARY KEY, body text, n int);
"""

TRADE: dict[str, Any] = {
    "book": "a,b", "id": 1, "price": "10.500", "at": "2026-01-02T03:04:05.123456Z", "ts": "infinity",
    "tags": ["x", None, 'q"uote', ""], "grid": [[1, 2], [3, None]], "blob": base64.b64encode(b"\x00\xff").decode(),
    "digest": "3q2+7w==", "blobs": ["AA==", None], "side": "sell", "ratio": "NaN", "span": "[1,6)", "ok": True,
    "big": 9007199254740993,
}  # fmt: skip
DOCUMENT = '{"n": 12345678901234567890.12345678901234567890, "list": [1, {"a": null}]}'
RAW = '{"b": 1,  "a": 2.50, "b": 3}'

INSERT_TRADE = f"""
    INSERT INTO shop.trades VALUES ('a,b', 1, 10.500, '{DOCUMENT}', '{RAW}', '2026-01-02 03:04:05.123456Z', 'infinity',
        ARRAY['x', NULL, 'q"uote', ''], '{{{{1,2}},{{3,NULL}}}}', '\\x00ff', '\\xdeadbeef',
        ARRAY['\\x00', NULL]::bytea[], 'sell', 'NaN', '[1,6)', true, 9007199254740993)"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
async def connection(postgres: PostgresServer) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(postgres.dsn, autocommit=True) as connection:
        await connection.execute(TABLES)
        await connection.execute("DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR ALL TABLES")
        yield connection


class Bed:
    """Writes a stream by hand: each event as it should be, unless the test does otherwise."""

    def __init__(self, client: Client, connection: psycopg.AsyncConnection[Any], control: Control) -> None:
        self.client = client
        self.control = control
        self.connection = connection
        self.next = Position(0x16_0000_0100, 1)

    async def sql(self, statement: str) -> None:
        await self.connection.execute(statement.encode())

    async def publish(self, subject: str, payload: str, position: Position | None = None) -> None:
        self.next = position or self.next
        await self.client.jetstream().publish(subject, payload.encode(), headers={"Ditto-Position": str(self.next)})
        self.next = Position(self.next.commit_lsn, self.next.ordinal + 1)

    async def event(
        self,
        action: str,
        table: str,
        data: str = "{}",
        old: str = "{}",
        *,
        position: Position | None = None,
        **more: object,
    ) -> None:
        extra = "".join(f',"{name}":{json.dumps(value)}' for name, value in more.items())
        time = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        payload = (
            f'{{"id":"0","schema":"shop","table":"{table}","action":"{action}",'
            f'"data":{data},"dataOld":{old},"commitTime":"{time}"{extra}}}'
        )
        await self.publish(f"cdc.shop.{table}", payload, position)

    async def replay(self) -> Replay:
        return await replay(self.client, "CDC", keys=await table_keys(self.control), prefix="cdc")

    async def check(self, *, types: Types | None = None) -> tuple[Replay, Comparison]:
        copy = await self.replay()
        publication = await read_publication(self.control, "p")
        return copy, await compare(self.control, copy, publication=publication, types=types or Types())

    async def differences(self, *, types: Types | None = None) -> list[str]:
        copy, comparison = await self.check(types=types)
        assert not comparison.unjudged
        return [str(difference) for difference in copy.differences + comparison.differences]


@pytest.fixture
async def bed(
    postgres: PostgresServer, nats_server: NatsServer, connection: psycopg.AsyncConnection[Any]
) -> AsyncIterator[Bed]:
    client = await nats.connect(nats_server.url, allow_reconnect=False)
    try:
        await client.jetstream().add_stream(name="CDC", subjects=["cdc.>"])
        async with open_control(postgres.dsn) as control:
            yield Bed(client, connection, control)
        await client.jetstream().delete_stream("CDC")
    finally:
        await client.close()


def trade(**changed: object) -> str:
    """A row of shop.trades. Its documents are put in as text: Python's floats would round their numbers."""
    text = json.dumps({**TRADE, "doc": "DOCUMENT", "raw": "RAW", **changed})
    return text.replace('"DOCUMENT"', DOCUMENT).replace('"RAW"', RAW)


async def test_every_type_and_every_action_compare_equal(bed: Bed) -> None:
    await bed.sql(INSERT_TRADE)
    await bed.event("INSERT", "trades", trade())

    await bed.sql("INSERT INTO shop.docs VALUES (4, 'long', 2), (2, NULL, 7)")
    await bed.event("INSERT", "docs", '{"id":9,"body":"gone","n":0}')
    await bed.event("TRUNCATE", "docs")
    await bed.event("INSERT", "docs", '{"id":1,"body":"long","n":1}')
    await bed.event("INSERT", "docs", '{"id":2,"body":"x","n":1}')
    await bed.event("INSERT", "docs", '{"id":3,"body":"x","n":1}')
    await bed.event("UPDATE", "docs", '{"id":1,"n":2}', unchanged=["body"])
    await bed.event("UPDATE", "docs", '{"id":4,"n":2}', '{"id":1}', unchanged=["body"])
    await bed.event("UPDATE", "docs", '{"id":2,"body":null,"n":7}')
    await bed.event("DELETE", "docs", "{}", '{"id":3}')

    await bed.sql("INSERT INTO shop.log VALUES ('same', 1), ('same', 1), ('new', NULL)")
    for line in ("same", "old", "same", "third"):
        await bed.event("INSERT", "log", f'{{"line":"{line}","n":1}}')
    await bed.event("UPDATE", "log", '{"line":"new","n":null}', '{"line":"old","n":1}')
    await bed.event("DELETE", "log", "{}", '{"line":"third","n":1}')

    copy, comparison = await bed.check()
    assert copy.differences + comparison.differences == []
    assert (copy.events, comparison.rows, comparison.tables) == (16, 6, 3)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("price", "10.5"),  # equal as a number, but not what PostgreSQL shows
        ("big", 9007199254740992),  # what a float would make of it
        ("doc", json.loads(DOCUMENT)),  # the same for a number in a document
        ("raw", {"b": 3, "a": 2.50}),  # json keeps its text, jsonb does not
        ("at", "2026-01-02T03:04:05.123457Z"),
        ("ts", "2026-01-02T03:04:05"),
        ("tags", ["x", "", 'q"uote', ""]),  # NULL is not empty
        ("grid", [[1, 2], [3, 4]]),
        ("blob", "AP4="),
        ("blobs", ["AQ==", None]),
        ("digest", None),
        ("ratio", 0.1),
        ("ok", False),
    ],
)
async def test_a_changed_value_is_found_with_its_key_and_column(bed: Bed, column: str, value: object) -> None:
    await bed.sql(INSERT_TRADE)
    await bed.event("INSERT", "trades", trade(**{column: value}))
    assert await bed.differences() == [f"shop.trades (id, book) = (1, a,b): different values in {column}"]


SPECIAL = """
    CREATE EXTENSION IF NOT EXISTS hstore;
    DROP DOMAIN IF EXISTS paper;
    CREATE DOMAIN paper AS jsonb;
    CREATE TABLE shop.special (
        id int, h hstore, hs hstore[], j json, d paper, ds paper[], js jsonb[], b bytea[], price money, n int[]);"""
SPECIAL_VALUES = r"""1, 'a=>1, "b\""=>NULL', ARRAY['x=>y'::hstore], E' {"\\u0000": 1}\n', 'null', ARRAY['[1]'::paper],
    ARRAY['[1]', NULL]::jsonb[], '[0:0]={"\\x00"}', -1234.5, '[0:1]={1,2}'"""
SPECIAL_ROW = (
    r"""{"id":1,"h":{"a":"1","b\"":null},"hs":[{"x":"y"}],"j": {"\u0000": 1}"""
    "\n"
    r""","d":null,"ds":["[1]"],"js":[[1],null],"b":"[0:0]={\"\\\\x00\"}","price":"-$1,234.50","n":"[0:1]={1,2}"}"""
)


async def special(bed: Bed) -> None:
    """The table `special`, where the server has hstore."""
    found = await bed.connection.execute("SELECT FROM pg_available_extensions WHERE name = 'hstore'")
    if not await found.fetchall():
        pytest.skip("this server came without contrib")
    await bed.sql(SPECIAL)


@pytest.mark.parametrize("key", ["PRIMARY KEY (id)", "CHECK (true)"], ids=["keyed", "keyless"])
async def test_values_that_postgresql_does_not_read_as_json(bed: Bed, key: str) -> None:
    await special(bed)
    await bed.sql(f"ALTER TABLE shop.special ADD {key}")
    await bed.sql(f"INSERT INTO shop.special VALUES ({SPECIAL_VALUES})")
    before = SPECIAL_ROW.replace('"price":"-$1,234.50"', '"price":null')
    old = before if "CHECK" in key else "{}"
    await bed.event("INSERT", "special", before, jsonNull=["d"])
    await bed.event("UPDATE", "special", SPECIAL_ROW, old, jsonNull=["d"], jsonNullOld=["d"])
    assert await bed.differences() == []


@pytest.mark.parametrize(
    ("before", "after", "column"),
    [
        ('{"a":"1",', '{"a":"2",', "h"),
        ('{"x":"y"}', '{"x":null}', "hs"),
        ('"j": {', '"j":{', "j"),
        ('"ds":["[1]"]', '"ds":["[2]"]', "ds"),
        ('"js":[[1],null]', '"js":[[1]]', "js"),
        ("x00", "x01", "b"),
        ("[0:1]={1,2}", "{1,2}", "n"),
    ],
)
async def test_a_fault_in_such_a_value_is_found(bed: Bed, before: str, after: str, column: str) -> None:
    await special(bed)
    await bed.sql(f"ALTER TABLE shop.special ADD PRIMARY KEY (id); INSERT INTO shop.special VALUES ({SPECIAL_VALUES})")
    await bed.event("INSERT", "special", SPECIAL_ROW.replace(before, after), jsonNull=["d"])
    assert await bed.differences() == [f"shop.special (id) = (1): different values in {column}"]


async def test_jsons_null_is_not_sqls(bed: Bed) -> None:
    await special(bed)
    await bed.sql("ALTER TABLE shop.special ADD PRIMARY KEY (id)")
    await bed.sql("INSERT INTO shop.special (id, d) VALUES (1, NULL), (2, 'null')")
    await bed.event("INSERT", "special", '{"id":1,"d":null}', jsonNull=["d"])
    await bed.event("INSERT", "special", '{"id":2,"d":null}')
    assert sorted(await bed.differences()) == [
        "shop.special (id) = (1): different values in d",
        "shop.special (id) = (2): different values in d",
    ]


async def test_values_as_the_options_have_them(bed: Bed) -> None:
    await bed.sql("CREATE TABLE shop.t (id int8 PRIMARY KEY, n numeric, b bytea, i interval, j jsonb, t timestamp)")
    await bed.sql(r"""INSERT INTO shop.t VALUES (1, 1.10, '\xff', '1 day', 'null', '2026-01-02 03:04:05')""")
    row = r'{"id":"1","n":1.10,"b":"\\xff","i":"P1D","j":"null","t":"2026-01-02T03:04:05Z"}'
    await bed.event("INSERT", "t", row)
    assert await bed.differences(types=Types(json="string")) == []
    assert await bed.differences() == ["shop.t (id) = (1): different values in j"]


async def test_settings_of_the_database_do_not_matter(bed: Bed, postgres: PostgresServer) -> None:
    for setting in ("datestyle = 'German'", "intervalstyle = 'sql_standard'", "extra_float_digits = -15"):
        await bed.sql(f"ALTER DATABASE postgres SET {setting}")
    await bed.sql("CREATE TABLE shop.t (id int PRIMARY KEY, i interval, d date, f float8)")
    await bed.sql("INSERT INTO shop.t VALUES (1, '-1 day +02:00', '2026-02-03', 0.1)")
    await bed.event("INSERT", "t", '{"id":1,"i":"-1 days +02:00:00","d":"2026-02-03","f":0.2}')
    async with open_control(postgres.dsn) as bed.control:
        assert await bed.differences() == ["shop.t (id) = (1): different values in f"]
    await bed.sql("ALTER DATABASE postgres RESET ALL")


async def test_json_that_is_nested_deeply(bed: Bed) -> None:
    await bed.sql("CREATE TABLE shop.deep (id int PRIMARY KEY, d json, ds json[])")
    nested = "repeat('[', 3000) || repeat(']', 3000)"
    await bed.sql(
        f"INSERT INTO shop.deep SELECT n, ({nested})::json, ARRAY[({nested})::json] FROM generate_series(1, 2) n"
    )
    deep = "[" * 3000 + "]" * 3000
    await bed.event("INSERT", "deep", f'{{"id":1,"d":{deep},"ds":[{deep}]}}')
    await bed.event("INSERT", "deep", f'{{"id":2,"d":{deep},"ds":[[{deep}]]}}')
    assert await bed.differences() == ["shop.deep (id) = (2): different values in ds"]


async def test_a_value_that_is_none_of_its_type_is_found_among_good_rows(bed: Bed) -> None:
    await bed.sql("INSERT INTO shop.docs SELECT i, 'x', i FROM generate_series(1, 50) i")
    for number in range(1, 51):
        n = '"thirty"' if number == 33 else number
        await bed.event("INSERT", "docs", f'{{"id":{number},"body":"x","n":{n}}}')
    assert await bed.differences() == [
        "shop.docs (id) = (33): different values in n",
    ]


async def test_missing_and_extra_rows_are_found(bed: Bed) -> None:
    await bed.sql("INSERT INTO shop.docs VALUES (1, 'a', 1), (2, 'b', 2)")
    await bed.event("INSERT", "docs", '{"id":2,"body":"b","n":2}')
    await bed.event("INSERT", "docs", '{"id":3,"body":"c","n":3}')
    assert sorted(await bed.differences()) == ["shop.docs (id) = (1): missing row", "shop.docs (id) = (3): extra row"]


async def test_rows_without_a_key_are_counted(bed: Bed) -> None:
    await bed.sql("INSERT INTO shop.log VALUES ('a', 1), ('a', 1), ('b', 1)")
    await bed.event("INSERT", "log", '{"line":"a","n":1}')
    await bed.event("INSERT", "log", '{"line":"b","n":1}')
    await bed.event("INSERT", "log", '{"line":"b","n":1}')
    kinds = sorted(text.rpartition(": ")[2] for text in await bed.differences())
    assert kinds == ["extra row", "missing row"]


async def test_an_unchanged_column_that_is_sent_as_null_is_found(bed: Bed) -> None:
    await bed.sql("INSERT INTO shop.docs VALUES (1, 'long', 2)")
    await bed.event("INSERT", "docs", '{"id":1,"body":"long","n":1}')
    await bed.event("UPDATE", "docs", '{"id":1,"body":null,"n":2}')
    assert await bed.differences() == ["shop.docs (id) = (1): different values in body"]


async def test_a_published_table_without_events_is_compared_too(bed: Bed) -> None:
    await bed.sql("INSERT INTO shop.docs VALUES (1, 'a', 1)")
    await bed.sql("DROP PUBLICATION p")
    await bed.sql("CREATE PUBLICATION p FOR TABLE shop.docs, shop.log")
    _, result = await bed.check()
    assert [str(difference) for difference in result.differences] == ["shop.docs (id) = (1): missing row"]
    assert result.tables == 2


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (("INSERT", "docs", '{"id":1}'), "inserted twice"),
        (("UPDATE", "docs", '{"id":7}'), "updated but never inserted"),
        (("UPDATE", "docs", '{"id":2}', '{"id":1}'), "updated to the key of another row"),
        (("DELETE", "docs", "{}", '{"id":7}'), "deleted but never inserted"),
        (("DELETE", "log", "{}", '{"line":"x"}'), "deleted but never inserted"),
        (("MERGE", "docs", '{"id":1}'), "unknown action MERGE"),
    ],
)
async def test_an_event_that_does_not_fit_the_earlier_ones_is_found(bed: Bed, last: tuple[str, ...], kind: str) -> None:
    await bed.event("INSERT", "docs", '{"id":1}')
    await bed.event("INSERT", "docs", '{"id":2}')
    await bed.event(*last)
    _, comparison = await bed.check()
    found = [(difference.kind, difference.where) for difference in comparison.differences]
    assert (kind, "message 3 at 16/100:3") in found
    assert {kind for kind, _ in found} <= {kind, "extra row"}


@pytest.mark.parametrize(
    ("position", "kind"),
    [
        (Position(0x16_0000_0100, 1), "stored twice"),
        (Position(0x16_0000_00F0, 9), "out of order, after 16/100:1"),
        (Position(0x16_0000_0100, 0), "out of order, after 16/100:1"),
    ],
)
async def test_positions_must_increase(bed: Bed, position: Position, kind: str) -> None:
    await bed.event("INSERT", "docs", '{"id":1}')
    await bed.event("INSERT", "docs", '{"id":2}', position=position)
    assert [difference.kind for difference in (await bed.replay()).differences] == [kind]


async def test_positions_of_checkpoints_count_too_but_their_content_does_not(bed: Bed) -> None:
    await bed.event("INSERT", "docs", '{"id":1}')
    await bed.publish("cdc._checkpoint", "{}", Position(0x16_0000_0200, 0))
    await bed.event("INSERT", "docs", '{"id":2}', position=Position(0x16_0000_0150, 1))
    copy = await bed.replay()
    assert [difference.kind for difference in copy.differences] == ["out of order, after 16/200:0"]
    assert (copy.events, copy.checkpoints, copy.position) == (2, 1, Position(0x16_0000_0200, 0))


async def test_messages_of_others_are_found(bed: Bed) -> None:
    await bed.client.jetstream().publish("cdc.other", b"hello")
    assert [difference.kind for difference in (await bed.replay()).differences] == ["no position", "not an event"]


async def test_markers_of_the_server_are_nobodys_events(bed: Bed) -> None:
    await bed.event("INSERT", "docs", '{"id":1}')
    await bed.client.jetstream().publish("cdc.shop.log", b"", headers={"Nats-Marker-Reason": "MaxAge"})
    copy = await bed.replay()
    assert (copy.events, copy.differences) == (1, [])


async def test_latency_is_from_commit_to_stored(bed: Bed) -> None:
    await bed.event("INSERT", "docs", '{"id":1}')
    copy = await bed.replay()
    assert 0 <= copy.latency_s(99) < 30
    assert len(copy.latencies_s) == 1


async def test_a_stream_of_many_batches_is_read_to_its_end(bed: Bed) -> None:
    await bed.sql("INSERT INTO shop.docs SELECT i, repeat('x', 100), i FROM generate_series(1, 20000) i")
    body = "x" * 100
    for number in range(1, 20_001):
        data = f'{{"id":{number},"body":"{body}","n":{number}}}'
        event = f'{{"schema":"shop","table":"docs","action":"INSERT","data":{data},"dataOld":{{}}'
        payload = event + ',"commitTime":"2026-01-02T03:04:05.000001Z"}'
        position = Position(0x16_0000_0100, number)
        if number < 20_000:
            headers = {"Ditto-Position": str(position)}
            await bed.client.publish("cdc.shop.docs", payload.encode(), headers=headers)
        else:  # acknowledged: everything before it is stored, too
            await bed.publish("cdc.shop.docs", payload, position)
    seen: list[tuple[int, int]] = []
    copy = await replay(
        bed.client,
        "CDC",
        keys=await table_keys(bed.control),
        prefix="cdc",
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert (copy.events, copy.differences) == (20_000, [])
    assert seen[-1] == (20_000, 20_000)
    assert await bed.differences() == []


async def test_a_missing_stream_is_named(bed: Bed) -> None:
    with pytest.raises(StreamNotFound, match="NONE"):
        await replay(bed.client, "NONE", keys={})
