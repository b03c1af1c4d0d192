"""What each supported PostgreSQL sent for the scripts in tests/data."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from ditto.lsn import Position
from unit import captured
from unit.implementations import encode, positions

if TYPE_CHECKING:
    from unit.implementations import Implementation

pytestmark = pytest.mark.parametrize("major", captured.MAJORS)

FIRST_ROW: dict[str, Any] = {
    "id": 1,
    "c_bool": True,
    "c_int2": -32768,
    "c_int4": 2147483647,
    "c_int8": 9223372036854775807,
    "c_oid": 4294967295,
    "c_numeric": "5.00",
    "c_float4": Decimal("0.1"),
    "c_float8": Decimal("1e300"),
    "c_text": 'a "b" \\ \t\n é 😀',
    "c_varchar": "v",
    "c_bpchar": "c   ",
    "c_name": "n",
    "c_char": "x",
    "c_enum": 'ok, "fine"',
    "c_xml": "<a/>",
    "c_uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "c_json": {"a": Decimal("12345678901234567890.10")},
    "c_jsonb": {"b": [Decimal("1.50"), None, "x"], "n": 12345678901234567890},
    "c_date": "2026-02-03",
    "c_time": "24:00:00",
    "c_timetz": "12:34:56.789+05:30",
    "c_timestamp": "2026-01-02T03:04:05.1",
    "c_timestamptz": "2026-01-02T01:04:05Z",
    "c_interval": "1 year 2 mons -3 days +04:05:06.789",
    "c_bytea": "3q2+7w==",
    "c_inet": "10.0.0.1/8",
    "c_cidr": "10.0.0.0/8",
    "c_macaddr": "08:00:2b:01:02:03",
    "c_bit": "101",
    "c_varbit": "10110",
    "c_money": "$1,234.50",
    "c_pg_lsn": "16/B374D848",
    "c_tsvector": "'a':1 'fat':2",
    "c_point": "(1,2)",
    "c_box": "(3,4),(1,2)",
    "c_int4range": "[1,6)",
    "c_multirange": "{[1,3),[5,8)}",
    "c_pair": '(1,"x,""y"" z")',
    "c_positive": 7,
    "c_tags": ["a", None],
    "c_moment": "2026-01-02T03:04:05.000001Z",
    "a_bool": [True, None, False],
    "a_int4": [[1, None], [3, 4]],
    "a_numeric": ["1.50", "NaN"],
    "a_float8": [Decimal("0.1"), "NaN", "Infinity"],
    "a_text": ["a", "b,c", 'q"x', None, "NULL", "", "back\\slash", "{x}", " "],
    "a_json": '{"{\\"a\\": [1, 2]}","null","\\"s\\"",NULL}',  # JSON's null in it would look like SQL's
    "a_jsonb": [{"a": 'q"x'}, 1],
    "a_bytea": ["AP8=", ""],
    "a_timestamp": ["2026-01-02T03:04:05", "infinity"],
    "a_timestamptz": ["2026-01-02T03:04:05Z", "-infinity", None],
    "a_box": ["(3,4),(1,2)", "(7,8),(5,6)"],
    "a_mood": ["sad", 'ok, "fine"'],
    "a_uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
}

# The columns that are not null, by id.
EDGES: dict[int, dict[str, Any]] = {
    2: {},
    3: {
        "c_bool": False,
        "c_int2": 0,
        "c_int4": -2147483648,
        "c_int8": -9223372036854775808,
        "c_oid": 0,
        "c_numeric": "NaN",
        "c_float4": "NaN",
        "c_float8": "-Infinity",
        "c_text": "",
        "c_json": {"a": 1},
        "c_date": "0044-03-15 BC",
        "c_timestamp": "infinity",
        "c_timestamptz": "0044-03-15 12:00:00+00 BC",
        "c_bytea": "",
        "c_int4range": "empty",
        "a_int4": "[0:2]={1,2,3}",
        "a_text": [],
        "a_timestamptz": [],
    },
    4: {
        "c_numeric": "123456789012345678901234567890.123456789",
        "c_float4": Decimal("1e-45"),
        "c_float8": 0,
        "c_date": "12345-01-01",
        "c_timestamp": "12345-01-01T00:00:00.5",
        "c_timestamptz": "294276-12-31T23:59:59.999999Z",
        "a_int4": "[-1:0][2:3]={{1,2},{3,4}}",
        "a_text": [[[[[["deep"]]]]]],
    },
    5: {
        "c_numeric": "0.000000000000000000000000000001",
        "c_float8": Decimal("1.7976931348623157e308"),
        "c_date": "infinity",
        "c_timestamp": "0001-01-01 00:00:00 BC",
        "c_timestamptz": "-infinity",
        "c_text": "NULL",
    },
}


def decode(impl: Implementation, major: str, name: str) -> list[dict[str, Any]]:
    """The events as a consumer's JSON parser gives them."""
    events = impl.decode(captured.frames(major, name)).changes
    return [json.loads(payload, parse_float=Decimal) for payload in encode(events)]


def test_every_type(impl: Implementation, major: str) -> None:
    events = decode(impl, major, "types")
    assert [event["data"]["id"] for event in events] == [1, 2, 3, 4, 5]
    assert events[0]["data"] == FIRST_ROW
    for event in events[1:]:
        assert event["data"].keys() == FIRST_ROW.keys()
        filled = {name: value for name, value in event["data"].items() if value is not None}
        assert filled == {"id": event["data"]["id"], **EDGES[event["data"]["id"]]}


def test_columns_that_the_server_puts_into_json_alike(impl: Implementation, major: str) -> None:
    alike = ["id", "c_bool", "c_int4", "c_int8", "c_text", "c_varchar", "c_enum", "c_uuid", "c_date", "c_interval"]
    alike += ["c_tsvector", "c_int4range", "c_positive", "c_tags", "a_bool", "a_text", "a_uuid"]
    sent = [event["data"] for event in decode(impl, major, "types")]
    expected = captured.rows(major, "types")["types"]
    assert len(sent) == len(expected) == 5
    for ours, theirs in zip(sent, expected, strict=True):
        assert {name: ours[name] for name in alike} == {name: theirs[name] for name in alike}


def test_replaying_the_events_gives_the_tables(impl: Implementation, major: str) -> None:
    tables: dict[str, dict[Any, dict[str, Any]]] = {}
    for event in decode(impl, major, "changes"):
        table = tables.setdefault(event["table"], {})
        data, old = event["data"], event["dataOld"]
        if event["action"] == "TRUNCATE":
            table.clear()
            continue
        # A row's replica identity is its id, but for `indexed`, where PostgreSQL sends the code when it changes.
        key = "code" if event["table"] == "indexed" else "id"
        before = table.pop(old.get(key, data.get(key)), None)
        assert (before is None) == (event["action"] == "INSERT")
        for column in event.get("unchanged", ()):
            assert before is not None
            data[column] = before[column]
        if event["action"] != "DELETE":
            table[data[key]] = data
    expected = captured.rows(major, "changes")
    assert tables.keys() <= expected.keys()
    # A column that was dropped, or added with a default, is not in the rows that nothing touched since.
    columns = expected["items"][0].keys()
    items = tables.pop("items")
    replayed = [{column: items[id_].get(column, 7) for column in columns} for id_ in sorted(items)]
    assert replayed == expected.pop("items")
    for name, rows in expected.items():
        assert sorted(tables.get(name, {}).values(), key=lambda row: int(row["id"])) == rows


def test_positions_ids_and_times(impl: Implementation, major: str) -> None:
    block = impl.decode(captured.frames(major, "changes"))
    assert all(first < second for first, second in pairwise(positions(block)))
    assert len({event.id for event in block.changes}) == len(block.changes)
    times = [event.commit_time for event in block.changes]
    assert times == sorted(times)
    assert block.delivered is not None
    assert block.delivered.commit_lsn == block.commit_lsns[-1]
    assert block.delivered.event_count == len(block.changes)
    assert block.idle_lsn >= block.delivered.end_lsn > block.delivered.commit_lsn


def test_it_saw_what_the_script_did(impl: Implementation, major: str) -> None:
    decoder = impl.decoder()
    for frame in captured.frames(major, "changes"):
        decoder.feed(frame)
    block = decoder.take()
    assert decoder.logical_message_count == 2
    truncated = [event.table for event in block.changes if event.action == "TRUNCATE"]
    assert truncated == ["cleared", "cleared_too"]
    messages = {frame[25:26] for frame in captured.frames(major, "changes") if frame[:1] == b"w"}
    assert messages >= {b"B", b"C", b"R", b"I", b"U", b"D", b"T", b"M", b"O"}
    assert {frame[25:26] for frame in captured.frames(major, "types") if frame[:1] == b"w"} == {
        *map(str.encode, "BYRIC")
    }


def test_resuming_at_each_event_gives_the_rest(impl: Implementation, major: str) -> None:
    frames = captured.frames(major, "changes")
    whole = positions(impl.decode(frames))
    for index in range(0, len(whole), 7):
        after = whole[index]
        assert positions(impl.decode(frames, after=after)) == whole[index + 1 :]
    assert positions(impl.decode(frames, after=Position(whole[-1].commit_lsn + 1, 0))) == []
