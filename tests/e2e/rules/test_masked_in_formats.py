"""A masked or excluded value is nowhere in any format: whole, stripped, in an object, in groups, or read by a snapshot.

Formats write a value in ways of their own: as text, hexadecimal, base64, or as the bytes of a number. All of these are
searched for; columns of the same types that are not masked show that the search finds what is there.
"""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import urllib3

from ditto.testing.process import free_port
from e2e.process import eventually
from e2e.rules.commands import ditto

if TYPE_CHECKING:
    from e2e.world import World


class Value(NamedTuple):
    """A value in SQL, and what formats may write of it."""

    sql: str
    traces: list[bytes]


def _of_bytes(value: bytes) -> list[bytes]:
    """As they are, in hexadecimal, and in base64 wherever they begin in what is encoded."""
    found = [value, value.hex().encode()]
    for offset in range(3):
        encoded = b64encode(bytes(offset) + value)
        # The first and the last characters depend on what is beside the value.
        found.append(encoded[-(-offset * 4 // 3) : 4 * ((offset + len(value)) // 3)])
    return found


def values(word: str, number: int) -> dict[str, Value]:
    """A value of each type, made of that word, or of that number, which has 15 digits."""
    uuid = f"{number:016x}".rjust(32, "5")
    micros = 500_000_000_000_000 + number % 10**14
    clock = (datetime(1970, 1, 1) + timedelta(microseconds=micros)).time()  # noqa: DTZ001  a timestamp without a zone
    return {
        "text": Value(f"'{word}-text'", _of_bytes(word.encode())),
        "bytea": Value(f"'{word}-bytea'::bytea", _of_bytes(word.encode())),
        "jsonb": Value(f"""'{{"a": "{word}"}}'""", [word.encode()]),
        "text[]": Value(f"ARRAY['{word}']", [word.encode()]),
        "bigint": Value(str(number), [str(number).encode(), struct.pack(">q", number)]),
        "numeric(20,4)": Value(
            f"{number}::numeric / 10000",
            [f"{number // 10000}.{number % 10000:04}".encode(), b64encode(number.to_bytes(7)).rstrip(b"=")[:-1]],
        ),
        "float8": Value(f"{number}::float8 / 1024", [str(number // 1024).encode(), struct.pack(">d", number / 1024)]),
        "uuid": Value(f"'{uuid}'", _of_bytes(bytes.fromhex(uuid[-12:]))),
        "timestamp": Value(
            f"timestamp '1970-01-01' + {micros} * interval '1 microsecond'",
            [str(micros).encode(), str(clock).encode()],
        ),
    }


SECRET = values("Xq7SecretValue", 731_188_229_944_157)
OPEN = values("OpenValueKw3", 642_955_117_833_281)
TRACES = [trace for value in SECRET.values() for trace in value.traces]
MASKS: list[dict[str, Any]] = [
    {"constant": "***"},
    {"keep_last": 2},
    {"hash": "sha256"},
    {"hash": "hmac-sha256", "key": "sesame-key"},
    {"null": True},
]
COLUMNS = [
    "email text PRIMARY KEY",
    *(f"s{number} {type_name}" for number, type_name in enumerate(SECRET)),
    *(f"x{number} {type_name}" for number, type_name in enumerate(SECRET)),
    *(f"o{number} {type_name}" for number, type_name in enumerate(OPEN)),
    *("s_big text", "x_big text", "o_big text", "n int"),
]


def row(key: int, *, size: int) -> str:
    """Large are a masked, an excluded and an open column alike."""
    word = "Xq7SecretValue"
    found = [value.sql for value in (*SECRET.values(), *SECRET.values(), *OPEN.values())]
    large = [f"repeat('{text}', {size // len(text) + 1})" for text in (word, word, "y")]
    return ", ".join([f"'{word}-{key}'", *found, *large, "1"])


def rules(event_format: str, shift: int, *, is_grouped: bool) -> dict[str, Any]:
    """Each table has the masks in another order."""
    masked = {f"s{number}": MASKS[(number + shift) % len(MASKS)] for number in range(len(SECRET))}
    found: dict[str, Any] = {
        "actions": ["insert", "update", "delete"],
        "columns": {
            "exclude": [*(f"x{number}" for number in range(len(SECRET))), "x_big"],
            "mask": {"email": MASKS[3], "s_big": {"keep_last": 2}, **masked},
        },
    }
    if is_grouped:
        return found
    return found | {
        "format": event_format,
        "subject": "{prefix}.{table}.{data.email}",
        "headers": {"who": "{data.email}"},
        "key": ["email"],
        "on_error": "keep",
    }


def _assert_is_clear_of(data: bytes, where: str) -> None:
    assert [trace for trace in (*TRACES, b"sesame-key") if trace in data] == [], where


RUNS = {
    "debezium": (["debezium", "debezium-schema"], "stop"),
    "stripped": (["ditto", "cloudevents", "cloudevents-binary", "msgpack", "wal-listener"], "strip"),
    "objects": (["ditto", "cloudevents", "cloudevents-binary", "msgpack", "wal-listener"], "object_store"),
}


@pytest.mark.parametrize(("formats", "oversize"), RUNS.values(), ids=RUNS)
async def test_no_format_shows_what_is_masked(nats_world: World, formats: list[str], oversize: str) -> None:
    await _shows_nothing(nats_world, formats, oversize)


@pytest.mark.long
@pytest.mark.parametrize("oversize", ["strip", "object_store"])
@pytest.mark.parametrize("event_format", ["ditto", "msgpack", "wal-listener"])
async def test_no_group_shows_what_is_masked(nats_world: World, event_format: str, oversize: str) -> None:
    await _shows_nothing(nats_world, [event_format], oversize, is_grouped=True)


async def _shows_nothing(world: World, formats: list[str], oversize: str, *, is_grouped: bool = False) -> None:
    size = 10_000 if oversize == "stop" else 60_000
    world.nats_server.config = "max_payload: 64KB"
    world.nats_server.restart()
    tables: dict[str, Any] = {"fence": {}}
    port = free_port()
    for number, event_format in enumerate(formats):
        for kind in ("keyed", "whole"):
            table = f"{kind}{number}"
            tables[table] = rules(event_format, number, is_grouped=is_grouped)
            world.sql(
                f"CREATE TABLE {table} ({', '.join(COLUMNS)})",
                *(f"ALTER TABLE {table} ALTER {name} SET STORAGE EXTERNAL" for name in ("s_big", "x_big", "o_big")),
                f"INSERT INTO {table} VALUES ({row(0, size=size)})",
            )
        world.sql(f"ALTER TABLE whole{number} REPLICA IDENTITY FULL")
    settings: dict[str, Any] = {
        "events_tables": tables,
        "events_oversize": oversize,
        "nats_object_store_bucket": world.name,
        "events_schemas": True,
        "http_listen": f"127.0.0.1:{port}",
    }
    if is_grouped:
        settings |= {"events_format": formats[0], "events_group_by": "transaction"}
    else:
        settings |= {"events_traceparent_column": "email"}
    process = await world.streaming(**settings, log_level="debug", snapshot_mode="initial")
    for table in list(tables)[1:]:
        world.transaction(
            f"INSERT INTO {table} VALUES ({row(1, size=size)})",
            f"INSERT INTO {table} VALUES ({row(2, size=100)})",
            f"UPDATE {table} SET n = 2",
            f"UPDATE {table} SET email = 'Xq7SecretValue-3', s0 = s0 || '!' WHERE email = 'Xq7SecretValue-1'",
            f"DELETE FROM {table} WHERE email = 'Xq7SecretValue-3'",
        )
    await eventually(lambda: '"snapshot.finished"' in process.output, "the snapshot is done", timeout_s=60)
    if is_grouped:  # whose fence may be MessagePack
        lsn = world.value("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn")
        await eventually(lambda: world.confirmed_lsn >= lsn, "everything is stored", timeout_s=60)
    else:
        await world.fence(timeout_s=60)
    await _shown(world, settings, f"http://127.0.0.1:{port}", has_values=oversize != "stop")
    await _stored(world, formats, oversize, is_grouped=is_grouped)
    assert await process.stop() == 0
    _assert_is_clear_of(process.output.encode(), "the log")
    world.nats_server.stop()
    files = [each for each in world.nats_server.folder.rglob("*") if each.is_file()]
    for each in files:
        _assert_is_clear_of(each.read_bytes(), str(each))


async def _shown(world: World, settings: dict[str, Any], url: str, *, has_values: bool) -> None:
    """What commands print and HTTP answers."""
    variables = {
        f"DITTO_{name.upper()}": each if isinstance(each, str) else json.dumps(each) for name, each in settings.items()
    }
    verified = await ditto(world, "verify", "--json", **variables)
    assert verified.exit_code == 0, verified.output
    printed = [
        (await ditto(world, *arguments, **variables)).output
        for arguments in (
            ("verify",),
            ("tail", "--no-follow"),
            ("tail", "--no-follow", "--json"),
            ("check", "--json"),
            ("config", "show"),
            ("preview", "--table", "keyed0", "--json"),
        )
    ]
    for text in (verified.output, *printed):
        _assert_is_clear_of(text.encode(), text[:200])
    if has_values:
        assert "OpenValueKw3" in printed[2]
    with urllib3.PoolManager() as pool:
        for path in ("/v1/status", "/metrics", "/v1/snapshots"):
            _assert_is_clear_of(pool.request("GET", url + path).data, path)


async def _stored(world: World, formats: list[str], oversize: str, *, is_grouped: bool) -> None:
    """Messages and objects have each open value, in each format, rows of snapshots too, and no masked one."""
    found: dict[str, bytes] = {}
    bodies: list[bytes] = []
    async with world.jetstream() as jetstream:
        last = (await jetstream.stream_info(world.stream)).state.last_seq
        subscription = await jetstream.subscribe(">", stream=world.stream, ordered_consumer=True)
        sequence = 0
        while sequence < last:
            message = await subscription.next_msg(timeout=20)
            sequence = message.metadata.sequence.stream
            told = f"{message.subject} {dict(message.headers or {})}".encode()
            _assert_is_clear_of(told + message.data, message.subject)
            bodies.append(message.data)
            table = "keyed0" if is_grouped else message.subject.removeprefix(f"{world.name}.").partition(".")[0]
            found[table] = found.get(table, b"") + message.data
        objects = b""
        if oversize == "object_store":
            store = await jetstream.object_store(world.name)
            for each in await store.list():
                data = (await store.get(each.name)).data or b""
                assert b"OpenValueKw3" in data
                _assert_is_clear_of(data, each.name)
                objects += data
            assert len(await store.list()) >= 2 * len(formats)
    for number, event_format in enumerate(formats):
        for table in ("keyed0",) if is_grouped else (f"keyed{number}", f"whole{number}"):
            data = found[table]
            missing = [name for name, value in OPEN.items() if not any(trace in data for trace in value.traces)]
            assert missing == [], (event_format, table)
            assert any(word in data for word in (b'"READ"', b"\xa4READ", b'"op":"r"')), (event_format, table)
            if oversize == "strip":
                assert b"stripped" in data, (event_format, table)
