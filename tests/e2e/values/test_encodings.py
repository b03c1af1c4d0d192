"""Databases in other encodings than UTF-8, and names in any script."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.conftest import OpenWorld

ANY_SCRIPT = (
    "Übergrößen",
    "таблица",
    "表",
    "テーブル",
    "جدول",
    "טבלה",
    "ตาราง",
    "τραπέζι",
    "🐘 🦦",
    "e\u0301 and é",
    'a "quoted" name',
    "it's; -- DROP",
    "back\\slash",
    "two\nlines\tand tabs",
    "dotted.name",
    "*>%",
    "{braces}",
    "select",
    "MiXeD",
    "名" * 21,  # 63 bytes, the longest that there is
)


def quoted(name: str) -> str:
    return Identifier(name).as_string()


async def test_names_in_any_script(world: World) -> None:
    """Of schemas, tables, columns and the publication."""
    world.sql(
        *(f"CREATE SCHEMA {quoted(name)}" for name in ANY_SCRIPT[:3]),
        *(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, {quoted(name)} text)" for name in ANY_SCRIPT),
        *(f"CREATE TABLE {quoted(name)}.t ({quoted(name)} int PRIMARY KEY)" for name in ANY_SCRIPT[:3]),
    )
    publication = "Ver\"öffent'lichung 公"
    await world.streaming(
        postgres_publication=publication, events_prefix=world.name, events_subject="{prefix}.{schema}.{table}.{action}"
    )
    world.fence_subject = f"{world.name}.public.fence.insert"
    world.sql(
        *(f"INSERT INTO {quoted(name)} VALUES (1, {literal(name)})" for name in ANY_SCRIPT),
        *(f"INSERT INTO {quoted(name)}.t VALUES (1)" for name in ANY_SCRIPT[:3]),
    )
    events = [stored.event for stored in await world.events()]
    count = len(ANY_SCRIPT)
    assert [(event["table"], event["data"]) for event in events[:count]] == [
        (name, {"id": 1, name: name}) for name in ANY_SCRIPT
    ]
    assert [(event["schema"], event["data"]) for event in events[count:]] == [
        (name, {name: 1}) for name in ANY_SCRIPT[:3]
    ]
    await world.matches_tables(event_count=count + 3, publication=publication)


def literal(text: str) -> str:
    return SQL("{}").format(text).as_string()


@pytest.mark.parametrize("impl", ["c", "python"])
@pytest.mark.parametrize(
    ("encoding", "name", "texts"),
    [
        ("LATIN1", "größe", ["äöü ÿ \xa0 \x80", "ÀÁ", "ascii"]),
        ("EUC_JP", "商品表", ["日本語 カタカナ ﾊﾝｶｸ", "ギリシャ Ω", "ascii"]),
    ],
)
async def test_another_encoding(open_world: OpenWorld, impl: str, encoding: str, name: str, texts: list[str]) -> None:
    """Everything arrives as UTF-8: values, array elements, JSON, and the names of tables, columns, enum values."""
    world = open_world(f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    assert world.value("SHOW server_encoding") == encoding
    table = quoted(name)
    world.sql(
        f"CREATE TYPE {quoted(name + 'e')} AS ENUM ({literal(texts[0])})",
        f"CREATE TABLE {table} (id int PRIMARY KEY, {table} text, list text[], doc json, docb jsonb, "
        f"{quoted('e' + name)} {quoted(name + 'e')})",
    )
    await world.streaming(impl=impl, events_tables={name: ["insert", "update"], "fence": ["insert"]})
    for number, text in enumerate(texts):
        document = literal(json.dumps({text: [text]}, ensure_ascii=False))
        world.sql(
            f"INSERT INTO {table} VALUES ({number}, {literal(text)}, ARRAY[{literal(text)}], {document}, {document})"
        )
    world.sql(f"UPDATE {table} SET {quoted('e' + name)} = {literal(texts[0])} WHERE id = 0")
    events = await world.events()
    rows: list[dict[str, Any]] = [
        {"id": number, name: text, "list": [text], "doc": {text: [text]}, "docb": {text: [text]}, "e" + name: None}
        for number, text in enumerate(texts)
    ]
    assert [stored.event["data"] for stored in events] == [*rows, {**rows[0], "e" + name: texts[0]}]
    assert {stored.event["table"] for stored in events} == {name}
    assert {stored.subject for stored in events} == {f"{world.name}_public_{name}"}
    await world.matches_tables(event_count=len(events))


@contextmanager
def raw(world: World) -> Iterator[psycopg.Connection[Any]]:
    """Sends bytes as they are."""
    with psycopg.connect(world.dsn, autocommit=True, client_encoding="SQL_ASCII") as connection:
        yield connection


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_sql_ascii_that_holds_utf8(open_world: OpenWorld, impl: str) -> None:
    """PostgreSQL does not know what the bytes mean, and sends them as they are: UTF-8 is passed on."""
    world = open_world("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    name = "größe 表"
    world.sql(f"CREATE TABLE {quoted(name)} (id int PRIMARY KEY, {quoted(name)} text)")
    await world.streaming(impl=impl)
    world.sql(f"INSERT INTO {quoted(name)} VALUES (1, {literal('é 🙂 ' + name)})")
    (event,) = await world.events()
    assert event.event["data"] == {"id": 1, name: "é 🙂 " + name}
    await world.matches_tables(event_count=1)


@pytest.mark.parametrize("impl", ["c", "python"])
async def test_sql_ascii_that_holds_something_else(open_world: OpenWorld, impl: str) -> None:
    """Bytes that are not UTF-8 cannot be in JSON: it stops, and does not say what they are."""
    world = open_world("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    world.sql("CREATE TABLE t (id int PRIMARY KEY, a text, b bytea)")
    ditto = await world.streaming(impl=impl)
    with raw(world) as connection:
        connection.execute(b"INSERT INTO t VALUES (1, 'fine', '\\xff')")
        await world.fence()  # otherwise it may stop before it has stored the first
        connection.execute(b"INSERT INTO t VALUES (2, 'secret \xe9\xff', NULL)")
    assert await ditto.ended() == 3
    assert "not UTF-8" in ditto.output
    assert "public.t" in ditto.output
    assert "e9" not in ditto.output.split("not UTF-8")[1].split('"')[0]
    assert "secret" not in ditto.output
    events = [stored.event for stored in await world.messages() if stored.subject == f"{world.name}_public_t"]
    assert [event["data"] for event in events] == [{"id": 1, "a": "fine", "b": "/w=="}]
