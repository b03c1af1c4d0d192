"""An event's value back as PostgreSQL's text, rule by rule; e2e/values/test_round_trip.py lets PostgreSQL judge."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Types
from ditto.verify.inverse import Form, form, input_text, members

RULES: list[tuple[Form, str, str | None]] = [
    (Form.PLAIN, "null", None),
    (Form.PLAIN, "true", "true"),
    (Form.PLAIN, "false", "false"),
    (Form.PLAIN, "1.10e+300", "1.10e+300"),
    (Form.PLAIN, "-0", "-0"),
    (Form.PLAIN, '""', ""),
    (Form.PLAIN, r'"a\n\"\u00e9"', 'a\n"é'),
    (Form.PLAIN, '"[0:1]={1,2}"', "[0:1]={1,2}"),
    (Form.PLAIN, "[]", "{}"),
    (Form.PLAIN, r'[[1,null],["a,\"b\"","\\"]]', r'{{"1",NULL},{"a,\"b\"","\\"}}'),
    (Form.PLAIN, '[{"a":"1","b":null},null]', r'{"\"a\"=>\"1\", \"b\"=>NULL",NULL}'),
    (Form.PLAIN, "{}", ""),
    (Form.PLAIN, r'{"q\"":"=>, ","n":null}', r'"q\""=>"=>, ", "n"=>NULL'),
    (Form.JSON, '{"b": 1,  "a": 1.10, "b": 2}', '{"b": 1,  "a": 1.10, "b": 2}'),
    (Form.JSON, ' "x"\n', ' "x"\n'),
    (Form.JSON, "null", None),
    (Form.JSON_ARRAY, '[{"a": 1}, [2,3] ,null,"s"]', r'{"{\"a\": 1}"," [2,3] ",NULL,"\"s\""}'),
    (Form.JSON_ARRAY, r'"{\"null\",1}"', '{"null",1}'),
    (Form.BYTEA, '""', "\\x"),
    (Form.BYTEA, '"3q2+7w=="', r"\xdeadbeef"),
    (Form.BYTEA, r'"\\xdeadbeef"', r"\xdeadbeef"),
    (Form.BYTEA, r'"\\x"', r"\x"),
    (Form.BYTEA, '["AP8=",null,"\\\\x00"]', r'{"\\x00ff",NULL,"\\x00"}'),
    (Form.BYTEA, r'"[0:0]={\"\\\\x00\"}"', r'[0:0]={"\\x00"}'),
    (Form.BOX_ARRAY, '[["(1,1),(0,0)"],[null]]', '{{"(1,1),(0,0)"};{NULL}}'),
]


@pytest.mark.parametrize(("column", "value", "text"), RULES)
def test_each_rule(column: Form, value: str, text: str | None) -> None:
    assert input_text(value.encode(), column) == text


def test_jsons_null_where_the_event_says_so() -> None:
    assert input_text(b"null", Form.JSON, is_json_null=True) == "null"
    assert input_text(b" null\t", Form.JSON, is_json_null=True) == " null\t"


@pytest.mark.parametrize(
    ("options", "forms"),
    [
        ({}, [Form.JSON, Form.JSON, Form.JSON_ARRAY]),
        ({"json": "string"}, [Form.PLAIN, Form.PLAIN, Form.PLAIN]),
        ({"profile": "wal-listener"}, [Form.PLAIN, Form.JSON, Form.JSON_ARRAY]),
        ({"profile": "wal-listener", "json": "embed"}, [Form.JSON, Form.JSON, Form.JSON_ARRAY]),
    ],
)
def test_what_has_to_be_known_of_a_column(options: dict[str, str], forms: list[Form]) -> None:
    types = msgspec.convert(options, Types)
    assert [form(name, types) for name in ("json", "jsonb", "jsonb[]")] == forms
    assert [form(name, types) for name in ("bytea", "bytea[]", "box[]", "box", "numeric[]", "public.jsonb")] == [
        Form.BYTEA, Form.BYTEA, Form.BOX_ARRAY, Form.PLAIN, Form.PLAIN, Form.PLAIN
    ]  # fmt: skip


spaces = st.text(st.sampled_from(" \t\r\n"), max_size=3)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
documents = st.recursive(
    st.none() | st.integers() | names, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=5
)


@given(st.dictionaries(names, st.tuples(spaces, documents, spaces)))
def test_members_keep_the_white_space_of_json(columns: dict[str, tuple[str, Any, str]]) -> None:
    written = {
        name: (before + json.dumps(value, ensure_ascii=False) + after).encode()
        for name, (before, value, after) in columns.items()
    }
    row = msgspec.json.encode({name: msgspec.Raw(value) for name, value in written.items()})
    assert {name: bytes(value) for name, value in members(row).items()} == written


def test_a_row_that_something_else_wrote_has_no_white_space_of_its_own() -> None:
    assert {name: bytes(value) for name, value in members(b'{ "a" : 1 , "b" :\n[2] }').items()} == {
        "a": b"1",
        "b": b"[2]",
    }
