"""Events whose values are nested more deeply than a recursive parser takes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.formats import deep_json

DEEP = 100_000
DEEP_LIST = b"[" * DEEP + b"]" * DEEP
DEEP_OBJECT = b'{"a, \\"]}": ' * DEEP + b"null" + b"}" * DEEP


class Event(msgspec.Struct, rename="camel"):
    table: str
    data: msgspec.Raw
    data_old: deep_json.Row
    unchanged: tuple[str, ...] = ()


decoder = msgspec.json.Decoder(Event)
scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from([",", '"', "[", "}", "\\"])
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@pytest.mark.parametrize("deep", [DEEP_LIST, DEEP_OBJECT], ids=["list", "object"])
def test_an_event_with_deep_values(deep: bytes) -> None:
    row = b'{"id":1,"doc":' + deep + b"}"
    payload = b'{"table":"t","data":' + row + b',"dataOld":' + row + b',"unchanged":["x"],"other":' + deep + b"}"
    with pytest.raises(RecursionError):
        decoder.decode(payload)
    event = deep_json.decode(payload, decoder)
    assert (event.table, event.unchanged, bytes(event.data)) == ("t", ("x",), row)
    assert {name: bytes(value) for name, value in event.data_old.items()} == {"id": b"1", "doc": deep}
    assert bytes(deep_json.members(event.data)["doc"]) == deep


@pytest.mark.parametrize(
    "payload",
    [
        DEEP_LIST,
        b"[" * DEEP,
        b"{" * DEEP,
        b"{" + DEEP_LIST + b"}",
        b'{"table":"t","data":' + DEEP_LIST + b"}",
        b'{"table":' + DEEP_LIST + b',"data":1,"dataOld":{}}',
        b'{"table":"t","data":1,"dataOld":' + DEEP_LIST + b"}",
        b'{"table":"t","data":,"dataOld":{},"x":' + DEEP_LIST + b"}",
        b'{"table":"\xff","data":1,"dataOld":{},"x":' + DEEP_LIST + b"}",
        b'{"table":"\xff","data":1,"dataOld":{}}',
        b'{"table":"t","data":1,"dataOld":{},"x":' + DEEP_LIST + b"}]",
        b"not an event",
        b"",
    ],
    ids=range(13),
)
def test_what_is_no_event_is_said_to_be_none(payload: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        deep_json.decode(payload, decoder)


@given(st.dictionaries(st.text(max_size=4), documents, max_size=4), st.sampled_from([None, 1]))
def test_members_are_those_that_a_parser_finds(row: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(row, indent=indent).encode()
    found = deep_json.members(text, is_exact=True)
    assert {name: json.loads(bytes(value)) for name, value in found.items()} == row
    assert {name: bytes(value).strip() for name, value in found.items()} == {
        name: bytes(value) for name, value in deep_json.members(text).items()
    }


@given(st.lists(documents, max_size=4), st.sampled_from([None, 1]))
def test_elements_are_those_that_a_parser_finds(items: list[Any], indent: int | None) -> None:
    text = json.dumps(items, indent=indent).encode()
    assert [json.loads(bytes(value)) for value in deep_json.elements(text, is_exact=True)] == items
    assert [json.loads(bytes(value)) for value in deep_json.elements(text)] == items
