"""What a logical message carries: its body, and what an envelope says of it."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.formats.message_content import (
    BYTES,
    JSON,
    MAX_HEADERS,
    TEXT,
    Content,
    Unsendable,
    encode_id,
    encode_key,
    encode_value,
    header_lines,
    read_content,
    read_headers,
    type_of,
)
from ditto.formats.own_headers import pairs


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"a":1}', JSON),
        (b" \n[1]", JSON),
        (b'{"a":1', TEXT),
        (b'{"a":1}x', TEXT),
        (b"[" * 200_000 + b"]" * 200_000, TEXT),  # how deep msgspec follows depends on the version of Python
        (b"7", TEXT),
        (b'"a"', TEXT),
        (b"", TEXT),
        ("é".encode(), TEXT),
        (b"\xff", BYTES),
        (b'{"a":"\xff"}', BYTES),
    ],
)
def test_the_type_of_a_body(body: bytes, found: str) -> None:
    assert type_of(body) == found
    assert read_content(body) == Content(body, found)


def test_an_envelope() -> None:
    about = {"headers": {"a": "x", "n": 1.50, "b": True, "c": None}, "key": 7, "id": "i"}
    content = json.dumps({"ditto": about, "payload": {"x": [1, 2]}}).replace("1.5", "1.50").encode()
    found = read_content(content)
    assert found == Content(b'{"x": [1, 2]}', JSON, {"a": "x", "n": "1.50", "b": "true"}, "7", "i")


@pytest.mark.parametrize(
    ("content", "body", "content_type"),
    [
        (b'{"ditto":{},"payload":7}', b"7", JSON),
        (b'{"payload":null,"ditto":{}}', b"null", JSON),
        (b'{"ditto":{},"payloadBase64":"AP8="}', b"\0\xff", BYTES),
        (b'{"ditto":{"key":null},"payload":""}', b'""', JSON),
    ],
)
def test_bodies_of_envelopes(content: bytes, body: bytes, content_type: str) -> None:
    assert read_content(content) == Content(body, content_type)


@pytest.mark.parametrize(
    "content",
    [
        b'{"ditto":{},"payload":7,"more":1}',
        b'{"ditto":{}}',
        b'{"ditto":[],"payload":7}',
        b'{"ditto":"x","payload":7}',
        b'[{"ditto":{},"payload":7}]',
        b'{"payload":{"ditto":{},"payload":7}}',
    ],
)
def test_what_is_no_envelope_is_the_body(content: bytes) -> None:
    assert read_content(content) == Content(content, JSON)


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ('{"header":{}}', "unknown members"),
        ('{"headers":[]}', "not a JSON object"),
        ('{"headers":{"a":{}}}', "not a text, a number or a boolean"),
        ('{"key":[]}', "the value of key"),
    ],
)
def test_an_envelope_that_is_wrong(about: str, reason: str) -> None:
    with pytest.raises(Unsendable, match=reason):
        read_content(f'{{"ditto":{about},"payload":1}}'.encode())


@pytest.mark.parametrize("text", ["x", "A===", "ä"])
def test_base64_that_is_none(text: str) -> None:
    with pytest.raises(Unsendable, match="Base64"):
        read_content(json.dumps({"ditto": {}, "payloadBase64": text}).encode())


def test_headers() -> None:
    assert read_headers(b"null") == {}
    assert header_lines(Content(b"", JSON, {"a": "b"})) == b"Content-Type: application/json\r\na: b\r\n"
    assert header_lines(Content(b"", JSON, {"content-type": "x/y"})) == b"Content-Type: x/y\r\n"
    assert header_lines(Content(b"", "", {"TraceParent": "x"})) == b"traceparent: x\r\n", (
        "as Ditto's own, whose place it takes"
    )
    assert header_lines(Content(b"", "")) == b""


@pytest.mark.parametrize(
    "name", ["", "a b", "a:b", "a\r\nb", "é", "Nats-Rollup", "nats-x", "DITTO-ID", "Status", "description"]
)
def test_names_that_no_header_may_have(name: str) -> None:
    with pytest.raises(Unsendable):
        header_lines(Content(b"", JSON, {name: "x"}))


def test_limits() -> None:
    with pytest.raises(Unsendable, match="bytes"):
        header_lines(Content(b"", JSON, {"a": "x" * MAX_HEADERS}))
    with pytest.raises(Unsendable, match="there twice"):
        header_lines(Content(b"", JSON, {"a": "x", "A": "y"}))
    for text in ("", "é" * 200):
        with pytest.raises(Unsendable, match="the id"):
            encode_id(text)
    with pytest.raises(Unsendable, match="the key"):
        encode_key("x" * 5000)


@given(st.text())
def test_a_value_is_one_line_and_comes_back(text: str) -> None:
    encoded = encode_value(text)
    assert re.fullmatch(r"[ -~]*", encoded)
    assert encoded == encoded.strip()
    assert unquote(encoded) == text


NAMES = st.text(alphabet="abcXYZ09-_.!", min_size=1).filter(
    lambda name: not name.lower().startswith(("nats-", "ditto-")) and name.lower() not in {"status", "description"}
)


@given(st.dictionaries(NAMES, st.text(), max_size=4))
def test_headers_can_inject_nothing(headers: dict[str, str]) -> None:
    try:
        lines = header_lines(Content(b"", "", headers))
    except Unsendable:
        return
    assert {name.lower(): unquote(value) for name, value in pairs(lines).items()} == {
        name.lower(): value for name, value in headers.items()
    }


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_is_no_envelope_stays_as_it_is(content: bytes) -> None:
    assert read_content(content).body == content
