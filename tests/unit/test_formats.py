"""Blocks in each format: what is made of each action, also where formats meet in one block."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Config, Events, Types
from ditto.config.events import Group, TableRules
from ditto.config.format_rules import check_formats
from ditto.decoding.change import Change, ReadRow, SnapshotMark
from ditto.decoding.column_kinds import KINDS
from ditto.decoding.messages import Begun, Block, Column, Relation
from ditto.errors import ConfigError
from ditto.formats import _debezium, _msgpack_arrays, _msgpack_events, _own_lines
from ditto.formats.choose import BlockFormat, TableFormats, needs_transactions, readable_types, types_of
from ditto.formats.cloudevents import _header_value
from ditto.formats.debezium.envelopes import Frame
from ditto.formats.debezium.envelopes import pure_encode_events as pure_debezium
from ditto.formats.msgpack_arrays import pure_split_array
from ditto.formats.msgpack_events import pure_encode_events
from ditto.formats.own_headers import pairs
from ditto.formats.own_lines import pure_lines_of
from ditto.formats.snapshot_events import read_mark
from ditto.formats.stored_events import as_json, read_event
from ditto.routing.table_descriptions import TableDescription

if TYPE_CHECKING:
    from ditto.formats.base import Layout

FORMATS = TableFormats(Events(prefix="shop"), system_identifier="7", database="s p")
NAMES = ("cloudevents", "cloudevents-binary", "debezium", "debezium-schema", "msgpack")
ID = "b0180ac7-4d9d-850d-b249-66b69f1201e6"
TIME = "2026-11-23T18:04:48.132508Z"
RELATION = Relation(
    1, "public", "trädes", "d", (Column("id", 23, -1, True), Column("t", 25, -1, False), Column("b", 17, -1, False))
)


def layout(name: str, **options: Any) -> Layout | None:
    found = FORMATS.find(name)
    usual = bytes(KINDS.find(column.type_oid, "", "") for column in RELATION.columns)
    return None if found is None else found.layout(RELATION, usual, **options)


LAYOUTS = {name: layout(name) for name in ("ditto", *NAMES)}


def change(action: str = "INSERT", **options: Any) -> Change:
    data = {} if action in {"DELETE", "TRUNCATE"} else options.pop("data", {"id": 1, "t": "é\n", "b": None})
    old = options.pop("old", {"id": 1} if action == "DELETE" else {})
    return Change(ID, "public", "trädes", action, data, old, TIME, **options)


def block(*changes: tuple[str, Any]) -> Block:
    events = [event for _, event in changes]
    made = Block(events, [b"r"] * len(events), [0x16_B374D848] * len(events), [*range(1, len(events) + 1)])
    made.layouts = [LAYOUTS[name] for name, _ in changes]
    made.transactions = {0x16_B374D848: Begun(795, 1_795_457_088_132_508, None)}
    return made


def stored(made: Block) -> list[tuple[bytes, dict[str, str]]]:
    """Payload and headers of each message."""
    payloads = BlockFormat().encode(made)
    headers = made.headers or [b""] * len(made.changes)
    return [(bytes(payload), pairs(lines)) for payload, lines in zip(payloads.each(), headers, strict=True)]


ACTIONS = [
    change(),
    change("UPDATE", data={"id": 2, "b": None}, old={"id": 1}, unchanged=["t"]),
    change("DELETE"),
    change("TRUNCATE"),
]


@pytest.mark.parametrize("name", NAMES)
def test_each_action_is_read_back(name: str) -> None:
    found = [
        read_event(payload, headers.get) for payload, headers in stored(block(*((name, each) for each in ACTIONS)))
    ]
    assert [event.action for event in found] == ["INSERT", "UPDATE", "DELETE", "TRUNCATE"]
    assert {(event.schema, event.table, event.commit_time) for event in found} == {("public", "trädes", TIME)}
    assert found[1].unchanged == ("t",)
    rows = [(json.loads(bytes(event.data)), json.loads(bytes(event.data_old))) for event in found]
    key = {"id": 1, "t": None, "b": None} if name.startswith("debezium") else {"id": 1}
    assert rows == [({"id": 1, "t": "é\n", "b": None}, {}), ({"id": 2, "b": None}, key), ({}, key), ({}, {})]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_a_snapshot_says_where_the_run_goes_on(name: str) -> None:
    mark = SnapshotMark("run", ["}é"])
    row = ReadRow(ID, "public", "trädes", "READ", {"id": 1}, {}, TIME, snapshot=mark)
    ((payload, headers),) = stored(block((name, row)))
    assert read_event(payload, headers.get).action == "READ"
    if name.startswith("cloudevents"):
        assert read_mark(payload) == mark
    else:
        assert headers["Ditto-Id"] == ID
        assert headers["Ditto-Commit-Time"] == TIME
        assert json.loads(headers["Ditto-Snapshot-Mark"]) == {"run": "run", "cursor": ["}é"]}


@pytest.mark.parametrize("name", NAMES)
def test_the_columns_that_are_left_out_are_nowhere(name: str) -> None:
    made = layout(name, skipped=frozenset({2}), masked=frozenset({1}))
    assert made is not None
    given = block((name, change(data={"id": 1, "t": "***"})))
    given.layouts = [made]
    ((payload, headers),) = stored(given)
    assert b'"b"' not in as_json(payload, headers.get).replace(b'"field":"before"', b"")
    assert json.loads(bytes(read_event(payload, headers.get).data)) == {"id": 1, "t": "***"}


def test_formats_meet_in_one_block() -> None:
    description = TableDescription("public", "t", "v", "default", [], [])
    events = [("ditto", description), *((name, change()) for name in ("ditto", *NAMES)), ("ditto", change())]
    given = block(*events)
    given.headers = [b"own: x\r\n"] * len(events)
    found = stored(given)
    assert json.loads(found[0][0])["replicaIdentity"] == "default"
    assert [read_event(payload, headers.get).table for payload, headers in found[1:]] == ["trädes"] * (len(events) - 1)
    assert all(headers["own"] == "x" for _, headers in found)
    assert "Ditto-Id" not in found[1][1]


def test_a_block_without_layouts_is_dittos() -> None:
    given = block(("ditto", change()))
    given.layouts = None
    ((payload, headers),) = stored(given)
    assert json.loads(payload)["id"] == ID
    assert headers == {}


# ------------------------------------------------------------------------------------- CloudEvents


def test_a_cloud_event_as_its_sdk_reads_it() -> None:
    ((payload, headers),) = stored(block(("cloudevents", change())))
    assert headers == {"Content-Type": "application/cloudevents+json"}
    event = JSONFormat().read(None, payload)
    assert (event.get_id(), event.get_type(), event.get_subject()) == (ID, "io.ditto.row.inserted", "public.trädes")
    assert event.get_source() == "urn:postgresql:7:s%20p"
    time = event.get_time()
    assert time is not None
    assert time.isoformat() == TIME.replace("Z", "+00:00")
    assert event.get_extension("dittoposition") == "16/B374D848:1"
    data = event.get_data()
    assert isinstance(data, dict)
    assert data == json.loads(msgspec.json.encode(change()))


def test_a_cloud_event_in_headers_as_its_sdk_reads_it() -> None:
    ((payload, headers),) = stored(block(("cloudevents-binary", change("DELETE"))))
    # The binding of HTTP has the attribute datacontenttype in a header of its own.
    given = {**headers, "content-type": headers["ce-datacontenttype"]}
    event = from_http_event(HTTPMessage(given, payload))
    assert (event.get_id(), event.get_type(), event.get_subject()) == (ID, "io.ditto.row.deleted", "public.trädes")
    assert event.get_extension("dittoposition") == "16/B374D848:1"
    assert event.get_data() == json.loads(msgspec.json.encode(change("DELETE")))


@given(st.text())
def test_a_header_is_one_line_of_ascii(text: str) -> None:
    encoded = _header_value(text.encode("utf-8", "replace").decode())
    assert encoded.isascii()
    assert encoded.isprintable()
    assert " " not in encoded
    assert '"' not in encoded


# ------------------------------------------------------------------------------------- MessagePack

documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=30,
)


@given(st.lists(documents, max_size=40))
def test_an_array_is_split_into_its_elements(elements: list[Any]) -> None:
    whole = msgspec.msgpack.encode(elements)
    data, ends = _msgpack_arrays.split_array(whole)
    assert (data, ends) == pure_split_array(whole)
    starts = [0, *ends]
    found = [data[start:end] for start, end in zip(starts, ends, strict=False)]
    assert found == [msgspec.msgpack.encode(each) for each in elements]


@pytest.mark.parametrize("size", [0, 15, 16, 255, 256, 65_535, 65_536])
def test_sizes_of_every_width(size: int) -> None:
    elements = [
        b"x" * size,
        "x" * size,
        [None] * size,
        {str(n): n for n in range(size)},
        msgspec.msgpack.Ext(1, b"x" * size),
    ]
    whole = msgspec.msgpack.encode(elements * 4)
    assert _msgpack_arrays.split_array(whole) == pure_split_array(whole)
    assert len(_msgpack_arrays.split_array(msgspec.msgpack.encode([1] * size))[1]) == size


@given(st.binary(max_size=30))
def test_what_is_no_array_is_refused(data: bytes) -> None:
    for split in (_msgpack_arrays.split_array, pure_split_array):
        try:
            _, ends = split(data)
        except (IndexError, ValueError):
            continue
        assert ends == sorted(ends)


values = documents | st.text(max_size=300) | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.dictionaries(st.text(), values, max_size=20), max_size=5))
def test_events_are_encoded_as_msgspec_does(rows: list[dict[str, Any]]) -> None:
    given_rows = [change(data=row, old=dict(list(row.items())[:1])) for row in rows]
    given_rows += [change(unchanged=["t"]), change("DELETE"), change("TRUNCATE"), change()]
    layouts = [LAYOUTS["msgpack"]] * len(given_rows)
    data, ends = _msgpack_events.encode_events(given_rows, layouts)
    assert (data, ends) == pure_encode_events(given_rows, layouts)
    assert bytes(data[: ends[0]]) == msgspec.msgpack.encode(given_rows[0])


@pytest.mark.parametrize("bits", range(63))
def test_integers_of_every_width(bits: int) -> None:
    numbers = {f"{sign}{more}": sign * ((1 << bits) + more) for sign in (1, -1) for more in (-1, 0, 1)}
    row = [change(data=numbers)]
    layouts = [LAYOUTS["msgpack"]]
    assert _msgpack_events.encode_events(row, layouts) == pure_encode_events(row, layouts)
    assert json_row(numbers) == msgspec.json.encode(numbers)


def test_values_of_messagepack() -> None:
    columns = (
        Column("f", 701, -1, False),
        Column("b", 17, -1, False),
        Column("bs", 1001, -1, False),
        Column("fs", 1022, -1, False),
        Column("n", 1700, -1, False),
        Column("ns", 1231, -1, False),
        Column("j", 3802, -1, False),
        Column("js", 3807, -1, False),
        Column("i", 20, -1, False),
        Column("is", 1016, -1, False),
        Column("h", 70_000, -1, False, "public", "hstore"),
    )
    relation = Relation(1, "public", "t", "d", columns)
    usual = bytes(KINDS.find(each.type_oid, each.type_namespace, each.type_name) for each in columns)
    found = FORMATS.find("msgpack")
    assert found is not None
    made = found.layout(relation, usual)
    texts = {
        "f": ("1e300", 1e300), "b": (r"\xdead", b"\xde\xad"), "bs": (r'{"\\x00",NULL}', [b"\0", None]),
        "fs": ("{1.5,Infinity}", [1.5, float("inf")]), "ns": ("{1.50}", ["1.50"]),
        "js": ('{"[1, 2]",NULL}', ["[1, 2]", None]),
        "is": ("{{1},{2}}", [[1], [2]]), "h": ('"a"=>NULL', {"a": None}),
    }  # fmt: skip
    for column, function in zip(columns, made.functions, strict=True):
        if column.name in texts:
            assert function is not None
            text, wanted = texts[column.name]
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(function(text))) == wanted
            assert function(None) is None
        else:
            assert function is None  # numeric and JSON as text, int8 as a number


# ------------------------------------------------------------------------------------- the compiled functions


def json_row(row: dict[str, Any]) -> bytes:
    """As the compiled function writes it."""
    frame = Frame(b"", b"", b"", b"", True)
    data, _ = _debezium.encode_events([change(data=row)], [LAYOUTS["debezium"]], [1], [1], lambda *_: frame)
    return bytes(data).removeprefix(b"null").removesuffix(b"1\n")


@given(st.dictionaries(st.text(), values | st.builds(msgspec.Raw, st.just(b"[1]")), max_size=20))
def test_rows_are_the_json_of_msgspec(row: dict[str, Any]) -> None:
    assert json_row(row) == msgspec.json.encode(row)


@pytest.mark.parametrize("size", [*range(20), 4095, 4096, 4097, 4104, 10_000])
def test_a_sign_anywhere_in_a_text(size: int) -> None:
    for sign in [*map(chr, range(0x80)), "\x80", "ä", "ÿ", "€", "😀"]:
        text = "x" * size + sign
        row = {"one": text, "then": text + "behind it", "many": sign * size}
        assert json_row(row) == msgspec.json.encode(row)


@given(st.lists(st.sampled_from(["INSERT", "UPDATE", "DELETE", "TRUNCATE"]), min_size=1, max_size=20), st.binary())
def test_compiled_functions_agree_with_their_twins(actions: list[str], more: bytes) -> None:
    events = [
        change(action, unchanged=["t"]) if action == "UPDATE" and index % 3 == 0 else change(action)
        for index, action in enumerate(actions)
    ]
    one, other = LAYOUTS["debezium"], LAYOUTS["debezium-schema"]
    layouts = [one if number < 3 else other for number in range(len(events))]
    lsns = [number // 2 for number in range(len(events))]
    ordinals = [10**number % (1 << 40) for number in range(len(events))]

    def frame(layout: object, lsn: int, event: Change) -> Frame:
        return Frame(b"<", b"|" + more, f"{layout is one}{lsn}".encode(), b">", event.action in {"INSERT", "UPDATE"})

    arguments: Any = (events, layouts, lsns, ordinals, frame)
    assert _debezium.encode_events(*arguments) == pure_debezium(*arguments)
    assert _own_lines.lines_of(events, more) == pure_lines_of(events, more)
    mixed = [LAYOUTS["msgpack"]] * len(events)
    assert _msgpack_events.encode_events(events, mixed) == pure_encode_events(events, mixed)


def test_another_object_than_a_change_is_refused() -> None:
    stranger: Any = [msgspec.Raw(b"1")]
    with pytest.raises(TypeError, match="no change"):
        _debezium.encode_events(stranger, [LAYOUTS["debezium"]], [1], [1], lambda *_: Frame(b"", b"", b"", b"", True))
    with pytest.raises(TypeError, match="no change"):
        _own_lines.lines_of(stranger)


# ------------------------------------------------------------------------------------- the configuration


def events(**options: Any) -> Events:
    return msgspec.convert(options, Events)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"format": "debezium", "metadata": ["lsn"]}, "events.metadata"),
        ({"format": "debezium-schema", "transactions": True}, "events.transactions"),
        ({"format": "debezium", "types": {"numeric": "number"}}, "events.types"),
        ({"format": "msgpack", "types": {"numeric": "number"}}, "events.types.numeric"),
        ({"format": "msgpack", "types": {"json": "embed"}}, "events.types.json"),
        ({"format": "cloudevents", "group": {}}, "events.group"),
        ({"group": {}, "tables": {"t": {"format": "msgpack"}}}, "events.group"),
        ({"format": "msgpack", "group": {"layout": "lines"}}, "events.group.layout"),
        ({"oversize": "strip", "tables": {"t": {"format": "debezium"}}}, "events.oversize"),
    ],
)
def test_what_a_format_has_no_place_for(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_formats(events(**options))
    assert raised.value.context["key"] == key
    assert raised.value.hint


def test_what_can_be_together() -> None:
    check_formats(events())
    check_formats(events(format="debezium", metadata=["lsn"], tables={"t": {"format": "ditto"}}))
    check_formats(events(format="msgpack", group={}))
    check_formats(events(format="debezium", group={"layout": "lines"}))
    assert isinstance(Config().events.format, str)
    assert Group().layout == "array"
    assert TableRules(format="msgpack").shapes


def test_types_of_formats() -> None:
    hex_types = Types(bytea="hex")
    assert types_of("debezium", hex_types) == Types()
    assert types_of("wal-listener", hex_types) == Types(profile="wal-listener", bytea="hex")
    assert readable_types("msgpack", hex_types) == Types(bytea="hex", json="string")
    assert needs_transactions(events(tables={"t": {"format": "debezium"}}))
    assert not needs_transactions(events())
