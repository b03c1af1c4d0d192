"""Conditions that are not accepted: what is said, where in the text, and what to write."""

from __future__ import annotations

import pytest
from cel_expr_python import cel
from hypothesis import given
from hypothesis import strategies as st

from ditto.routing.conditions import ConditionError
from ditto.routing.conditions.parser import parse
from ditto.routing.conditions.syntax import Literal
from unit.condition_tables import condition


def refused(text: str, *, identity: str = "f") -> ConditionError:
    with pytest.raises(ConditionError) as error:
        condition(text, identity=identity)
    return error.value


def test_an_error_points_at_its_place() -> None:
    error = refused("action != 'UPDATE'\n  || data.sttus == 'a'")
    assert (error.line, error.column) == (2, 11)
    assert str(error) == (
        "line 2, column 11: the table has no column sttus\n"
        "      || data.sttus == 'a'\n"
        "              ^\n"
        "is status meant?"
    )


@pytest.mark.parametrize(
    ("text", "column", "message", "hint"),
    [
        ("status == 'a'", 1, "there is no name status", "the column is data.status, its old value dataOld.status"),
        ("actoin == 'READ'", 1, "there is no name actoin", "is action meant?"),
        ("paid", 1, "there is no name paid", "a text is written in quotes"),
        ("package == 1", 1, "package is a reserved word of CEL", None),
        ("data == dataOld", 1, "data is the whole row, and a condition reads columns", "write data.COLUMN"),
        ("data[status] == 'a'", 6, "data[…] takes the name of a column in quotes", None),
        ("data.nosuch == 1", 6, "the table has no column nosuch", "its columns are id, status"),
        ("data.status", 6, "the condition is of type string, and not true or false", None),
        ("data.is_open && data.status", 22, "this is of type string, and has to be true or false", "data.x != null"),
        ("data.amount == '1'", 13, "int and string are never equal", "a number without"),
        ("data.ratio == 10", 12, "double and int are never equal", "write 10.0"),
        ("data.is_open == 'true'", 14, "bool and string are never equal", "without quotes"),
        ("1 == null", 3, "int and null are never equal", "only columns can be null"),
        ("data.amount > 1.5", 13, "> does not work with int and double", "double(data.x)"),
        ("data.created_at > '2024-01-01'", 17, "> does not work with timestamp and string", "timestamp('2024"),
        ("data.took > '1h'", 11, "> does not work with duration and string", "duration('1h30m')"),
        ("data.price / 2 > 1", 12, "/ does not work with numeric and numeric", "double(data.x)"),
        ("data.price + data.ratio > 1", 12, "+ does not work with numeric and double", "double(data.x)"),
        ("1 in {1: 1, 'a': 2}", 7, "the keys of a map have one type", None),
        ("1 in {dyn(1): 1, dyn(true): 2}", 7, "the keys of a map have one type", "around each that is dyn"),
        ("data.status.lowerAscii() == 'a'", 13, "there is no function lowerAscii()", "startsWith"),
        ("contains(data.status, 'a')", 1, "contains() is written behind a value", "data.x.contains(…)"),
        ("data.status.string() == 'a'", 13, "string() takes its value in parentheses", "string(data.x)"),
        ("data.status.startWith('a')", 13, "there is no function startWith()", "is startsWith() meant?"),
        ("'a' in data.status", 5, "in takes a list or a map, and not a string", "is contains() meant?"),
        ("data.amount in ['a']", 13, "a int is never in a list(string)", "a number without"),
        ("data.tags.all(t)", 11, "all() takes a name and a condition", "data.tags.all(tag, tag == 'a')"),
        ("data.amount.all(t, true)", 13, "all() goes through a list or a map, and not through a int", None),
        ("data.amount.x == 1", 13, "a int has no fields", None),
        ("has(data.status == 'a')", 1, "has() takes one field", "has(data.document.name)"),
        ("has(data)", 1, "has() takes one field", None),
        ("changed(status)", 1, "changed() takes the name of a column in quotes", "changed('status')"),
        ("changed('stat')", 9, "the table has no column stat", "is status meant?"),
        ("data.is_open ? 1 : 'a'", 6, "both sides of : have one type, and not int and string", None),
        ("action == 'insert'", 8, "action is never 'insert'", "actions are INSERT, UPDATE, DELETE, TRUNCATE, READ"),
        ("action in ['INSERT', 'update']", 8, "action is never 'update'", None),
        ("data.status.matches('(')", 21, "no pattern of RE2: missing ): (", None),
        ("data.status.matches('(?=a)')", 21, "no pattern of RE2: invalid perl operator: (?=", None),
        ("data.status.matches(data.status)", 13, "the pattern of matches() is a text in quotes", None),
        ("data.created_at.getHours('X/Y') > 1", 26, "there is no such time zone", "Europe/Berlin"),
        ("data.created_at > timestamp('2024-13-01T00:00:00Z')", 19, "a date or a time that does not exist", None),
        ("data.id > 1 / 0", 13, "an integer is divided by zero", None),
        ("data.id > 9223372036854775808", 11, "the number does not fit into 64 bits", None),
        ("data.id > 1u", 11, "unsigned numbers are not supported", "without the u"),
        ("{1.5: 2}.size() == 1", 2, "a key of a map is a string, an int or a bool, and not a double", None),
        ("data.amount = 1", 13, "= does not fit here", "equality is written =="),
        ("data.amount <> 1", 14, "> does not fit here", "inequality is written !="),
        ("data.id == 1 and data.amount == 2", 14, "and does not fit here", "and is written &&"),
        ("data.id == 1 & data.amount == 2", 14, "& does not fit here", "and is written &&"),
        ("data.status is null", 13, "is does not fit here", "equal to null: data.x == null"),
        ("not data.is_open", 5, "data does not fit here", "not is written !"),
        ("data.status == 'a", 16, "' does not fit here", "the same quote, on one line"),
        ("data.status == 'a\\q'", 18, "\\q is no escape of CEL", None),
        ("data.`a name` == 'x'", 6, "` does not fit here", "data['its name']"),
        ("data.in == 1", 6, "in is a word of CEL", "as a name it is written ['in']"),
        ("(data.id == 1", 14, "the text ends here, and something is missing", None),
        ("data.Größe == 'x'", 8, "ö does not fit here", "data['its name']"),
        ("", 1, "the condition is empty", "leave the key out"),
        ("  ", 1, "the condition is empty", None),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(text: str, column: int, message: str, hint: str | None) -> None:
    error = refused(text)
    assert message in error.message
    assert error.column == column
    if hint is not None:
        assert error.hint is not None
        assert hint in error.hint


@pytest.mark.parametrize("before", [0, 10, 60, 200])
@pytest.mark.parametrize("after", [0, 10, 60, 200])
def test_of_a_long_line_the_part_around_the_place_is_shown(before: int, after: int) -> None:
    left, right = "data.id == 1 || " * (before // 10), " || data.id == 1" * (after // 10)
    error = refused(f"{left}data.sttus == 'a'{right}")
    assert error.column == len(left) + 6
    shown, caret = error.picture.split("\n")
    assert len(shown) <= 70
    assert shown[caret.index("^") :].startswith("sttus")
    assert shown.startswith(("…", left[:5] or "data."))


@pytest.mark.parametrize("identity", ["d", "i", "n"])
@pytest.mark.parametrize("text", ["changed('status')", "dataOld.status == 'a'", "has(dataOld.status)"])
def test_an_old_value_that_the_server_never_sends_is_refused(text: str, identity: str) -> None:
    error = refused(text, identity=identity)
    assert error.message == "the server does not send the old value of status"
    assert error.hint == 'it is sent with ALTER TABLE "public"."orders" REPLICA IDENTITY FULL'
    assert error.needs_old_rows


def test_without_an_identity_keys_have_no_old_value_either() -> None:
    refused("changed('id')", identity="n")
    for identity in "di":
        condition("changed('id') || dataOld.id == 1", identity=identity)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "true",
        "!(" * 5000 + "true" + ")" * 5000,
        "[" * 200 + "]" * 200 + " == []",
        " ".join(["true ||"] * 5000) + " true",
        " && ".join(["(data.amount > 1 || "] * 60) + "data.amount > 2" + ")" * 60,
    ],
)
def test_a_condition_that_is_too_deep_or_too_long_is_refused(text: str) -> None:
    refused(text)


def test_a_long_list_of_sides_is_no_depth() -> None:
    condition(" || ".join(f"data.amount > {number}" for number in range(90)))


LITERALS = st.text(alphabet="abfnrtvxuU'\"\\?`0123789é😀 \n/", max_size=8)
LIBRARY = cel.NewEnv()


@given(LITERALS, st.sampled_from(["'", '"', "'''", '"""']), st.sampled_from(["", "r", "b", "R", "B", "br"]))
def test_texts_and_bytes_are_read_as_googles_parser_reads_them(content: str, quote: str, prefix: str) -> None:
    text = f"{prefix}{quote}{content}{quote}"
    try:
        node = parse(text)
    except ConditionError:
        return
    if not isinstance(node, Literal):  # two texts and an operator between them
        return
    found = LIBRARY.compile(text).eval().value()
    assert node.value == (bytes(found) if isinstance(found, bytearray) else found)


@given(st.from_regex(r"-?(0x[0-9a-fA-F]{1,17}|[0-9]{0,20}(\.[0-9]{0,5})?([eE][+-]?[0-9]{1,3})?)", fullmatch=True))
def test_numbers_are_read_as_googles_parser_reads_them(text: str) -> None:
    try:
        condition(f"dyn({text}) == 1")
    except ConditionError:
        return
    found = LIBRARY.compile(text).eval().value()
    assert getattr(parse(text), "value", None) == found
