"""A value has one form, whether it comes from an event or as PostgreSQL's text."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Types
from ditto.verify.canonical_values import Column, Value

EQUAL: list[tuple[str, str, str]] = [
    ("bool", "true", "t"),
    ("int8", "9007199254740993", "9007199254740993"),
    ("int8", '"9007199254740993"', "9007199254740993"),
    ("numeric", '"10.50"', "10.50"),
    ("numeric", "10.50", "10.50"),
    ("text", r'"a\tb\u00e9"', "a\tbé"),
    ("timestamp", '"2026-01-02T03:04:05.1"', "2026-01-02 03:04:05.1"),
    ("timestamp", '"2026-01-02T03:04:05Z"', "2026-01-02 03:04:05"),
    ("timestamp", '"0044-03-15 00:00:00 BC"', "0044-03-15 00:00:00 BC"),
    ("timestamptz", '"2026-01-02T03:04:05Z"', "2026-01-02 03:04:05+00"),
    ("timestamptz", '"infinity"', "infinity"),
    ("interval", '"P1Y2M-3DT4H5M6.789S"', "1 year 2 mons -3 days +04:05:06.789"),
    ("interval", '"P-1Y-2M3DT-4H-5M-6S"', "-1 years -2 mons +3 days -04:05:06"),
    ("interval", '"PT-0.5S"', "-00:00:00.5"),
    ("interval", '"PT0S"', "00:00:00"),
    ("interval", '"1 day 02:00:00"', "1 day 02:00:00"),
    ("interval", '"-infinity"', "-infinity"),
    ("bytea", '"3q2+7w=="', r"\xdeadbeef"),
    ("bytea", r'"\\xdeadbeef"', r"\xdeadbeef"),
    ("json", '{"b": 1,  "a": 1.10}', '{"b": 1,  "a": 1.10}'),
    ("json", '{"a":  1}', '{"a":\r\n1}'),
    ("text[]", r'["x",null,"q\"uote","","NULL","a b","\\"]', r'{x,NULL,"q\"uote","","NULL","a b","\\"}'),
    ("text[]", "[]", "{}"),
    ("text[]", '[["a"],[null]]', "{{a},{NULL}}"),
    ("text[]", '"[0:1]={a,b}"', "[0:1]={a,b}"),
    ("bool[]", "[true,false,null]", "{t,f,NULL}"),
    ("timestamptz[]", '["2026-01-02T03:04:05Z"]', '{"2026-01-02 03:04:05+00"}'),
    ("bytea[]", '["AP8=",null]', r'{"\\x00ff",NULL}'),
    ("jsonb[]", '[{"a": 1},[2, 3],null]', r'{"{\"a\": 1}","[2, 3]",NULL}'),
    ("box[]", '["(1,1),(0,0)","(2,2),(1,1)"]', "{(1,1),(0,0);(2,2),(1,1)}"),
    ("public.hstore", r'{"a":"1","b\"":null}', r'"a"=>"1", "b\""=>NULL'),
    ("public.hstore", "{}", ""),
    ("public.hstore[]", '[{"x":"y"},null]', r'{"\"x\"=>\"y\"",NULL}'),
]

DIFFERENT: list[tuple[str, str, str]] = [
    ("bool", "false", "t"),
    ("numeric", '"10.5"', "10.50"),
    ("text", '"true"', "t"),
    ("text", '"NULL"', "null"),
    ("timestamp", '"2026-01-02T03:04:05.1"', "2026-01-02 03:04:05.10"),
    ("interval", '"P1D"', "24:00:00"),
    ("interval", '"P1M"', "1 day"),
    ("text[]", '["NULL"]', "{NULL}"),
    ("text[]", '["a","b"]', '{"a,b"}'),
    ("text[]", '[["a"],["b"]]', "{a,b}"),
    ("text[]", '["a","b"]', "[0:1]={a,b}"),
    ("public.hstore", '{"a":null}', '"a"=>"NULL"'),
    ("json", '{"a":1}', '{"a": 1}'),
]


def column(name: str) -> Column:
    element, schema = name.removesuffix("[]"), "pg_catalog"
    if "." in element:
        schema, _, element = element.partition(".")
    delimiter = ";" if element == "box" else ","
    return Column(name="c", schema=schema, type=element, is_array=name.endswith("[]"), delimiter=delimiter)


def of_event(name: str, value: str) -> Value:
    return column(name).event_reader(Types())(msgspec.Raw(value.encode()), False)


@pytest.mark.parametrize(("name", "value", "text"), EQUAL)
def test_the_same_value(name: str, value: str, text: str) -> None:
    assert of_event(name, value) == column(name).text_reader(text)


@pytest.mark.parametrize(("name", "value", "text"), DIFFERENT)
def test_another_value(name: str, value: str, text: str) -> None:
    assert of_event(name, value) != column(name).text_reader(text)


def literal(items: list[str | None]) -> str:
    """As array_out writes it, with quotes around everything."""
    quoted = (
        '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' if item is not None else "NULL" for item in items
    )
    return "{" + ",".join(quoted) + "}"


@given(st.lists(st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_array_of_text(items: list[str | None]) -> None:
    assert of_event("text[]", msgspec.json.encode(items).decode()) == column("text[]").text_reader(literal(items))


@given(st.text())
def test_what_is_no_array_literal_stays_text(text: str) -> None:
    value = column("text[]").text_reader(text)
    assert value == text or isinstance(value, tuple)
