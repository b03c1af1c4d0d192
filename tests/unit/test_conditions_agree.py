"""Conditions against Google's own runtime of CEL: whatever Ditto accepts has the same result there, errors included."""
# ruff: noqa: E501 -- the table of shapes reads best with one type a line

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from cel_expr_python import cel
from hypothesis import assume, event, given, reject
from hypothesis import strategies as st
from msgspec import UNSET

from ditto.decoding.messages import RuleFailed
from ditto.routing.conditions import ConditionError, TypedColumn, compile_condition
from ditto.routing.conditions.values import text_of_double

COLUMNS: Final = {
    "i": "int8",
    "j": "int4",
    "f": "float8",
    "s": "text",
    "u": "uuid",
    "b": "bool",
    "x": "bytea",
    "t": "timestamptz",
    "d": "interval",
    "doc": "jsonb",
    "tags": "text[]",
    "nums": "int4[]",
    "pairs": "public.hstore",
}
TYPED: Final = tuple(TypedColumn(name, type_name) for name, type_name in COLUMNS.items())
LIBRARY_TYPES: Final = {
    "i": "google.protobuf.Int64Value",
    "j": "google.protobuf.Int64Value",
    "f": "google.protobuf.DoubleValue",
    "s": "google.protobuf.StringValue",
    "u": "google.protobuf.StringValue",
    "b": "google.protobuf.BoolValue",
    "x": "google.protobuf.BytesValue",
    "t": "google.protobuf.Timestamp",
    "d": "google.protobuf.Duration",
}
ERROR: Final = "error"

WORDS: Final = st.sampled_from(["", "a", "b", "ab", "abc", "é", "😀", "1", "-5", "true", "1.5", "1h", "\n", "it's"])
INTEGERS: Final = st.sampled_from([0, 1, 2, 3, -1, -5, 7, 100, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)])
DOUBLES: Final = st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.5, 0.1, 1e300, float("inf"), float("nan"), 3.0, 2.0**53])
INSTANTS: Final = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda moment: moment.replace(tzinfo=UTC))  # noqa: DTZ001
SPANS: Final = st.timedeltas(timedelta(days=-40_000), timedelta(days=40_000))
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.just(2**53 + 1) | st.just(1.5) | st.just(2.0) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "k"]), inner, max_size=3),
    max_leaves=6,
)
VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "i": INTEGERS,
    "j": st.integers(-5, 5),
    "f": DOUBLES,
    "s": WORDS,
    "u": st.sampled_from(["0b1e0b1e-0000-4000-8000-000000000001", "0b1e0b1e-0000-4000-8000-000000000002"]),
    "b": st.booleans(),
    "x": st.sampled_from([b"", b"a", b"\xff", "é".encode()]),
    "t": INSTANTS,
    "d": SPANS,
    "doc": JSON,
    "tags": st.lists(st.none() | WORDS, max_size=3),
    "nums": st.lists(st.none() | st.integers(-3, 3), max_size=3),
    "pairs": st.dictionaries(st.sampled_from(["a", "b", "k"]), st.none() | WORDS, max_size=3),
}


def element(value: str | int | None) -> str:
    """In an array or an hstore."""
    if not isinstance(value, str):
        return "NULL" if value is None else str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def postgres_text(name: str, value: Any) -> str | None:
    """What PostgreSQL would send."""
    if value is None:
        return None
    match COLUMNS[name]:
        case "bool":
            return "t" if value else "f"
        case "float8":
            return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), str(value))
        case "bytea":
            return f"\\x{value.hex()}"
        case "timestamptz":
            moment: str = value.replace(tzinfo=None).isoformat(" ")
            return (moment.rstrip("0") if "." in moment else moment) + "+00"
        case "interval":
            seconds = abs(value) // timedelta(seconds=1)
            rest = abs(value).microseconds
            sign = "-" if value < timedelta(0) else ""
            fraction = f".{rest:06d}".rstrip("0") if rest else ""
            return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"
        case "jsonb":
            return json.dumps(value, ensure_ascii=False)
        case "text[]" | "int4[]":
            return "{" + ",".join(map(element, value)) + "}"
        case "public.hstore":
            return ", ".join(f"{element(key)}=>{element(item)}" for key, item in value.items())
        case _:
            return str(value)


Draw = Callable[[st.SearchStrategy[Any]], Any]
Variables = tuple[tuple[str, str], ...]
"""Of the macros around: name and type."""


@st.composite
def conditions(draw: Draw) -> str:
    """The text of a condition; about half of them are well typed."""
    return expression(draw, "bool", 3, ())


def expression(draw: Draw, type_name: str, depth: int, variables: Variables) -> str:
    """The text of an expression that is mostly of this type."""
    fitting = [name for name, of in variables if of in {type_name, "dyn"}]
    chance = draw(CHANCES)
    if depth == 0 or chance == 0:
        return str(draw(LEAF_CHOICES[type_name])) if not fitting or chance % 2 else fitting[-1]
    if chance == 1 and depth < 3:
        return expression(draw, draw(TYPE_CHOICES), depth - 1, variables)
    if chance < 4 and type_name in MACROS:
        return loop(draw, draw(MACROS[type_name]), depth, variables)
    template, *names = draw(SHAPE_CHOICES[type_name])
    return str(template.format(*[expression(draw, name, depth - 1, variables) for name in names]))


def loop(draw: Draw, macro: str, depth: int, variables: Variables) -> str:
    items, of = draw(RANGES)
    name = f"v{len(variables)}"
    body = expression(draw, "int" if macro == "map" else "bool", depth - 1, (*variables, (name, of)))
    return f"{items}.{macro}({name}, {body})"


CHANCES: Final = st.integers(0, 15)
MACROS: Final = {"bool": st.sampled_from(["all", "exists", "exists_one"]), "list": st.sampled_from(["map", "filter"])}
RANGES: Final = st.sampled_from(
    [
        ("data.nums", "int"),
        ("data.tags", "string"),
        ("data.doc", "dyn"),
        ("data.pairs", "string"),
        ("[1, 0, 2]", "int"),
        ("['a', 'b']", "string"),
        ("[data.i, data.j]", "int"),
        ("[]", "dyn"),
        ("[1, 'a', null]", "dyn"),
    ]
)
LEAVES: Final = {
    "bool": ["true", "false", "data.b", "dataOld.b", "data.doc", "data.doc.a", "changed('s')", "has(data.s)", "null"],
    "int": ["0", "1", "-1", "2", "9223372036854775807", "-9223372036854775808", "data.i", "data.j", "dataOld.i", "data.doc", "data.doc.a", "0x1F"],
    "double": ["0.0", "1.5", "-2.5", "1e300", "data.f", "data.doc", "data.doc.k"],
    "string": ["''", "'a'", "'b'", "'é'", "r'\\d'", "data.s", "data.u", "dataOld.s", "action", "schema", "table", "data.doc", "data.doc.a", "'\\n'"],
    "bytes": ["b''", "b'a'", "b'\\xff'", "data.x"],
    "timestamp": ["timestamp('2024-02-29T12:34:56.789Z')", "timestamp('1969-12-31T23:59:59+01:00')", "data.t", "dataOld.t", "timestamp(0)"],
    "duration": ["duration('1h30m')", "duration('-1.5s')", "data.d", "duration('0')"],
    "list": ["[]", "[1, 2]", "['a', 'b']", "[1, 'a', null]", "data.tags", "data.nums", "data.doc", "[data.i, data.j]", "[[1], []]"],
    "map": ["{}", "{'a': 1}", "{1: 'a', 2: 'b'}", "{true: 1}", "data.pairs", "data.doc", "{'a': data.i, 'b': 'x'}"],
}  # fmt: skip
ORDERED: Final = ("bool", "int", "double", "string", "bytes", "timestamp", "duration")
SHAPES: Final[dict[str, list[tuple[str, ...]]]] = {
    "bool": [
        *[(f"({{}} {sign} {{}})", name, name) for name in ORDERED for sign in ("<", ">=", "==", "!=")],
        *[("({} == {})", name, name) for name in ("list", "map")],
        ("({} && {})", "bool", "bool"), ("({} && {})", "bool", "bool"), ("({} || {})", "bool", "bool"), ("({} || {})", "bool", "bool"),
        ("({} && {} && {} || {})", "bool", "bool", "bool", "bool"),
        ("!{}", "bool"), ("!!{}", "bool"), ("({} ? {} : {})", "bool", "bool", "bool"),
        ("({} in {})", "int", "list"), ("({} in {})", "string", "list"), ("({} in {})", "string", "map"), ("({} in {})", "double", "list"),
        ("({} in ['a', 'b', 'é'])", "string"), ("({} in [1, 2, -5])", "int"), ("({} == null)", "string"), ("(null != {})", "int"), ("({} == null)", "map"),
        ("{}.contains({})", "string", "string"), ("{}.startsWith({})", "string", "string"), ("{}.endsWith({})", "string", "string"),
        ("{}.matches('^[a-c]+$')", "string"), ("{}.matches('(?i)A|\\\\s|é')", "string"),
        ("has(data.doc.a)",), ("has({}.a)", "map"), ("bool({})", "string"), ("(dyn({}) == {})", "int", "double"), ("(dyn({}) < {})", "double", "int"),
        ("(action == 'UPDATE' || {})", "bool"),
        # Without parentheses, whatever binds closer.
        ("{} && {} || {} && {}", "bool", "bool", "bool", "bool"), ("!{} == {}", "bool", "bool"), ("{} ? {} : {} ? {} : {}", *["bool"] * 5),
        ("{} < {} == {}", "int", "int", "bool"), ("{} in {} == {}", "int", "list", "bool"), ("-{} < {} + {} * {}", *["int"] * 4),
        ("{} - {} - {} == {}", *["int"] * 4), ("{} / {} * {} % {} == {}", *["int"] * 5), ("{} // c\n && {}", "bool", "bool"),
        ("{} in {{{}: 1}}", "string", "string"), ("{}[{}] == {}", "map", "int", "string"), ("has({}.b)", "map"), ("dyn({}) == dyn({})", "string", "bytes"),
    ],
    "int": [
        *[(f"({{}} {sign} {{}})", "int", "int") for sign in ("+", "-", "*", "/", "%")], ("-{}", "int"), ("--{}", "int"), ("-(-{})", "int"),
        ("size({})", "string"), ("{}.size()", "list"), ("size({})", "map"), ("size({})", "bytes"),
        ("int({})", "double"), ("int({})", "string"), ("int({})", "timestamp"), ("({} ? {} : {})", "bool", "int", "int"),
        *[(f"{{}}.get{name}()", "timestamp") for name in ("FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "DayOfYear")],
        *[(f"{{}}.get{name}()", kind) for name in ("Hours", "Minutes", "Seconds", "Milliseconds") for kind in ("timestamp", "duration")],
        ("{}.getHours('-03:30')", "timestamp"), ("{}.getHours('Asia/Tokyo')", "timestamp"), ("{}[{}]", "list", "int"), ("{{1: 2, 3: 4}}[{}]", "int"),
    ],
    "double": [
        *[(f"({{}} {sign} {{}})", "double", "double") for sign in ("+", "-", "*", "/")], ("-{}", "double"), ("--{}", "double"),
        ("double({})", "int"), ("double({})", "string"), ("({} ? {} : {})", "bool", "double", "double"),
    ],
    "string": [
        ("({} + {})", "string", "string"), ("--{}", "string"), ("string({})", "int"), ("string({})", "bool"), ("string({})", "bytes"), ("string({})", "timestamp"),
        ("string({})", "duration"), ("string(data.f)",), ("string(data.doc.k)",), ("({} ? {} : {})", "bool", "string", "string"), ("{}[{}]", "map", "string"), ("{}[{}]", "list", "int"), ("{}.a", "map"),
    ],
    "bytes": [("({} + {})", "bytes", "bytes"), ("bytes({})", "string")],
    "timestamp": [("({} + {})", "timestamp", "duration"), ("({} - {})", "timestamp", "duration"), ("({} + {})", "duration", "timestamp"), ("timestamp({})", "string")],
    "duration": [("({} - {})", "timestamp", "timestamp"), ("({} + {})", "duration", "duration"), ("({} - {})", "duration", "duration"), ("duration({})", "string")],
    "list": [("({} + {})", "list", "list"), ("[{}, {}]", "int", "int"), ("[{}, {}]", "string", "double"), ("({} ? {} : {})", "bool", "list", "list")],
    "map": [("{{'a': {}, 'b': {}}}", "int", "string"), ("{{'a': {}}}", "map"), ("({} ? {} : {})", "bool", "map", "map")],
}  # fmt: skip
LEAF_CHOICES: Final = {name: st.sampled_from(leaves) for name, leaves in LEAVES.items()}
SHAPE_CHOICES: Final = {name: st.sampled_from(shapes) for name, shapes in SHAPES.items()}
TYPE_CHOICES: Final = st.sampled_from(sorted(SHAPES))
MAYBE: Final = st.fixed_dictionaries(
    {name: st.one_of(st.sampled_from([UNSET, None]), *[values] * 9) for name, values in VALUES.items()}
)

ENVIRONMENT: Final = {
    **{f"{row}.{name}": cel.Type.DYN for row in ("data", "dataOld") for name in COLUMNS},
    **dict.fromkeys(("action", "schema", "table"), cel.Type.STRING),
    **dict.fromkeys(("changed_s", "has_s"), cel.Type.BOOL),
}


@functools.cache
def library(instants: frozenset[str]) -> cel.Env:
    """The library takes timestamps and durations only where they are said to be that: never null, never absent."""
    types = {name: cel.Type.TIMESTAMP if name.endswith(".t") else cel.Type.DURATION for name in instants}
    return cel.NewEnv(variables=ENVIRONMENT | types)


CHECKING_LIBRARY: Final = cel.NewEnv(
    variables=ENVIRONMENT
    | {f"{row}.{name}": cel.Type(of) for row in ("data", "dataOld") for name, of in LIBRARY_TYPES.items()}
    | {f"{row}.tags": cel.Type.List(cel.Type("google.protobuf.StringValue")) for row in ("data", "dataOld")}
    | {f"{row}.nums": cel.Type.List(cel.Type("google.protobuf.Int64Value")) for row in ("data", "dataOld")}
    | {
        f"{row}.pairs": cel.Type.Map(cel.Type.STRING, cel.Type("google.protobuf.StringValue"))
        for row in ("data", "dataOld")
    }
)


def library_text(text: str) -> str:
    """The same for the library, which knows no function of Ditto's and sees columns as names with a dot."""
    return re.sub(r"changed\('(\w+)'\)", r"changed_\1", re.sub(r"has\(data\.(s)\)", r"has_\1", text))


def library_result(text: str, action: str, new: dict[str, Any], old: dict[str, Any]) -> bool | str:
    given_values: dict[str, Any] = {"action": action, "schema": "public", "table": "orders"}
    for row, values in (("data", new), ("dataOld", old)):
        given_values |= {f"{row}.{name}": value for name, value in values.items() if value is not UNSET}
    given_values["has_s"] = new["s"] is not UNSET
    given_values["changed_s"] = action != "UPDATE" or (new["s"] is not UNSET and new["s"] != old["s"])
    if action == "UPDATE" and new["s"] is not UNSET and old["s"] is UNSET:
        del given_values["changed_s"]
    instants = frozenset(
        name for name in ("data.t", "data.d", "dataOld.t", "dataOld.d") if given_values.get(name) is not None
    )
    try:
        compiled = library(instants).compile(library_text(text))
    except RuntimeError:  # as columns are dyn here, it takes other types for maps of constants and columns
        reject()
    try:
        value = compiled.eval(data=given_values).value()
    except RuntimeError:
        return ERROR
    return value if isinstance(value, bool) else ERROR


def ditto_result(text: str, action: str, new: dict[str, Any], old: dict[str, Any]) -> bool | str:
    condition = compile_condition(text, TYPED, schema="public", table="orders", identity="f")
    rows = [
        [UNSET if values[name] is UNSET else postgres_text(name, values[name]) for name in COLUMNS]
        for values in (new, old)
    ]
    # What the compiled test of rows knows is what the function says.
    known = None if condition.row_test is None else condition.row_test.judge(action, *rows)
    try:
        value = condition.test(action, *([row[index] for index in condition.columns] for row in rows))
    except RuleFailed:
        assert known is None
        return ERROR
    assert isinstance(value, bool)
    assert known in {None, value}
    return value


@pytest.mark.parametrize(
    "text",
    [
        *("--data.i == data.i", "---data.i == 1", "-(-data.i) == data.i", "--data.s == 'x'", "-(--data.i) == 1"),
        *("!!data.b", "!!!data.b", "!(!data.b)", "!!data.s == 'x'", "!!!(data.i == 1)", "--5 == 5", "---5 == -5"),
        *("- -1.5 == 1.5", "-(5) == -5", "-(-5) == 5", "- 9223372036854775808 < 0", "1 - -1 == 2", "1 - --1 == 0"),
    ],
)
def test_two_signs_are_none(text: str) -> None:
    new = dict.fromkeys(COLUMNS) | {"i": -(2**63), "b": True, "s": "x"}
    old = dict.fromkeys(COLUMNS)
    assert ditto_result(text, "INSERT", new, old) == library_result(text, "INSERT", new, old)


@given(st.floats(allow_nan=False) | st.sampled_from([float("nan"), 1e5, 1e6, 999_999.5, 1e-4, 1e-5, 1e16, 5e-324, 2.0]))
def test_the_text_of_a_double(value: float) -> None:
    compiled = library(frozenset()).compile("string(data.f)")
    assert text_of_double(value) == compiled.eval(data={"data.f": value}).value()


@pytest.mark.parametrize(
    "text", ["!-data.doc == 1", "-!data.doc == 1", "-(9223372036854775808) < 0", "---9223372036854775808 < 0"]
)
def test_signs_that_the_library_does_not_take(text: str) -> None:
    with pytest.raises(ConditionError):
        ditto_result(text, "INSERT", {}, {})
    with pytest.raises(RuntimeError):
        library(frozenset()).compile(text)


@pytest.mark.parametrize("key", ["data.doc.a", "data.doc.b", "data.doc.c", "data.doc.d", "data.doc.e", "data.doc.f"])
@pytest.mark.parametrize("text", ["1 in {{{}: 1}}", "{} in {{1: 1}}", "{{1: 1}}[{}] == 1", "[7, 8][{}] == 8"])
def test_a_key_that_comes_from_json(text: str, key: str) -> None:
    """It may be anything, a list and a map too."""
    row = dict.fromkeys(COLUMNS) | {"doc": {"a": 1, "b": True, "c": [], "d": {}, "e": None, "f": 1.5}}
    text = text.format(key)
    assert ditto_result(text, "INSERT", row, row) == library_result(text, "INSERT", row, row)


@given(text=conditions(), action=st.sampled_from(["INSERT", "UPDATE"]), new=MAYBE, old=MAYBE)
def test_a_condition_has_the_result_that_googles_runtime_gives(
    text: str, action: str, new: dict[str, Any], old: dict[str, Any]
) -> None:
    try:
        found = ditto_result(text, action, new, old)
    except ConditionError:
        event("refused")
        return
    event(f"result {found}")
    assert found == library_result(text, action, new, old)


@given(text=conditions())
def test_googles_checker_accepts_what_ditto_accepts(text: str) -> None:
    try:
        compile_condition(text, TYPED, schema="public", table="orders", identity="f")
    except ConditionError:
        assume(False)
    # Of `c ? data.doc.a : true` it takes the type of the side that has one; Ditto waits for the value.
    assume("?" not in text or ("data.doc" not in text and "dyn(" not in text))
    # Its lists and maps are never null; columns of such types may be.
    assume("null" not in text or not re.search("tags|nums|pairs", text))
    # It takes an element of JSON for an int where it is calculated with; for Ditto it is what it is.
    assume(not re.search(r"doc(\.\w+)*\[", text) or not re.search(r"[-+*/%]", text))
    CHECKING_LIBRARY.compile(library_text(text))


COLUMN_OF: Final = {
    "bool": ["data.b"],
    "int": ["data.i", "data.j", "data.nums[0]"],
    "double": ["data.f"],
    "string": ["data.s", "data.tags[0]"],
    "bytes": ["data.x"],
    "timestamp": ["data.t"],
    "duration": ["data.d"],
    "list": ["data.tags", "data.nums"],
    "map": ["data.pairs"],
}


@given(data=st.data(), row=MAYBE)
def test_an_integer_or_a_text_is_the_one_that_googles_runtime_works_out(
    data: st.DataObject, row: dict[str, Any]
) -> None:
    template, *names = data.draw(st.sampled_from(SHAPES["int"] + SHAPES["string"]))
    text = template.format(*[data.draw(st.sampled_from(COLUMN_OF[name])) for name in names])
    instants = frozenset(name for name in ("data.t", "data.d") if row[name[5:]] not in {UNSET, None})
    values = {f"data.{name}": value for name, value in row.items() if value is not UNSET}
    result = library(instants).compile(text).eval(data=values)
    value = result.value()
    if result.type() != cel.Type.ERROR:
        literal = str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)
        assert ditto_result(f"{text} == {literal}", "INSERT", row, row) is True
    else:
        assert ditto_result(f"dyn({text}) == 1", "INSERT", row, row) == ERROR
