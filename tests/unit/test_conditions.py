"""Conditions of tables: which changes pass, what is null, what was not sent, and what each type reads as."""

from __future__ import annotations

import gc
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from ditto.decoding.messages import Column, Relation, RuleFailed
from ditto.routing.conditions import TypedColumn, actions_without_value, columns_of
from unit.condition_tables import COLUMNS, condition, passes


def failure(text: str, *rows: dict[str, str | None] | None, action: str = "", identity: str = "f") -> str:
    with pytest.raises(RuleFailed) as failed:
        passes(text, *rows, action=action, identity=identity)
    assert failed.value.rule == "the.rule"
    return failed.value.reason


def test_it_reads_only_the_columns_that_it_names() -> None:
    assert condition("action == 'INSERT' || data.status == dataOld.status && data.id > 0").columns == (0, 1)
    assert condition("changed('price') && has(row.amount)").columns == (2, 3)
    assert condition("action != 'READ' && schema == 'public'").columns == ()


def test_the_environment() -> None:
    assert passes("schema == 'public' && table == 'orders' && action == 'UPDATE'", {}, {})
    assert passes("action == 'TRUNCATE'", action="TRUNCATE")
    assert passes("action in ['READ', 'INSERT']", {}, action="READ")
    assert passes("data['a name'] == 'x' && has(data['a name'])", {"a name": "x"})


def test_row_is_the_new_row_and_of_a_delete_the_old_one() -> None:
    assert passes("row.status == 'new'", {"status": "new"}, {"status": "old"})
    assert passes("row.status == 'new'", {"status": "new"}, action="READ")
    assert passes("row.status == 'old'", None, {"status": "old"})
    assert passes("dataOld.status == 'old' && data.status == 'new'", {"status": "new"}, {"status": "old"})


@pytest.mark.parametrize(
    ("text", "rows", "action", "reason"),
    [
        ("data.status == 'a'", (None, {"status": "a"}), "", "data is empty in a DELETE, and status is read of it"),
        ("row.status == 'a'", (), "TRUNCATE", "row is empty in a TRUNCATE, and status is read of it"),
        ("dataOld.status == 'a'", ({"status": "a"},), "", "dataOld is empty in an INSERT, and status is read of it"),
        ("dataOld.status == 'a'", ({"status": "a"},), "READ", "dataOld is empty in a READ, and status is read of it"),
        (
            "data.status == 'a'",
            ({}, {}),
            "",
            "status did not change and is stored out of line (TOAST), so that the server did not send it",
        ),
        ("row.status == 'a'", (None, {"id": "1"}), "", "the server did not send the old value of status"),
        ("data.amount > 1", ({"amount": None},), "", "data.amount is null"),
        ("data.is_open", ({"is_open": None},), "", "data.is_open is null"),
        ("data.doc", ({"doc": "[]"},), "", "list is neither true nor false"),
        ("data.amount / data.id > 0", ({"amount": "1", "id": "0"},), "", "an integer is divided by zero"),
        ("data.doc < 1", ({"doc": '"x"'},), "", "< does not work with string and int"),
        ("data.doc.a == 1", ({"doc": "{}"},), "", "a map has no such key"),
        ("data.tags[3] == 'a'", ({"tags": "{a}"},), "", "a list has no such index"),
    ],
)
def test_what_has_no_value_is_said(
    text: str, rows: tuple[dict[str, str | None] | None, ...], action: str, reason: str
) -> None:
    assert failure(text, *rows, action=action) == reason


def test_a_side_that_decides_outweighs_an_error_of_the_other() -> None:
    null: dict[str, str | None] = {"amount": None, "status": "a"}
    assert passes("data.amount > 1 || data.status == 'a'", null)
    assert passes("data.status == 'a' || data.amount > 1", null)
    assert not passes("data.amount > 1 && data.status == 'b'", null)
    assert failure("data.amount > 1 && data.status == 'a'", null) == "data.amount is null"
    assert failure("data.amount > 1 || data.status == 'b'", null) == "data.amount is null"
    assert passes("data.amount > 1 || data.id > 1 || data.doc.x == 1 || data.status == 'a'", null)


def test_null_is_equal_to_null_alone() -> None:
    row: dict[str, str | None] = {"status": None, "amount": None, "doc": None, "price": None}
    assert passes("data.status == null && data.amount == null && null == data.doc && data.price == null", row)
    assert passes("data.status != 'a' && data.amount != 0 && data.price != 0 && !(data.status in ['a'])", row)
    assert passes("data.status in ['a', null] && data.doc != 'x'", row)
    assert passes("data.status != null && data.amount != null", {"status": "", "amount": "0"})
    assert passes("data.doc == null", {"doc": "null"})


def test_has_asks_whether_a_column_was_sent() -> None:
    assert passes("has(data.status) && !has(data.amount)", {"status": None})
    assert passes("!has(data.status) && has(dataOld.status) && has(row.status)", None, {"status": "a"})
    assert passes("has(data.doc.a) && !has(data.doc.b)", {"doc": '{"a": null}'})


def test_changed_compares_the_texts_of_an_update() -> None:
    assert passes("changed('status')", {"status": "a"}, {"status": "b"})
    assert passes("changed('status')", {"status": "a"}, {"status": None})
    assert not passes("changed('status')", {"status": None}, {"status": None})
    assert passes("changed('price')", {"price": "1.0"}, {"price": "1.00"})
    assert not passes("changed('status')", {}, {"status": "unchanged, out of line"})
    for action in ("INSERT", "READ"):
        assert passes("changed('status')", {"status": "a"}, action=action)
    assert passes("changed('status')", None, {"status": "a"})
    reason = failure("changed('status')", {"status": "a"}, None, action="UPDATE")
    assert reason == "the server did not send the old value of status"


@pytest.mark.parametrize("identity", ["d", "i"])
def test_a_key_is_known_to_be_unchanged_without_the_old_row(identity: str) -> None:
    assert not passes("changed('id')", {"id": "1"}, None, action="UPDATE", identity=identity)
    assert passes("changed('id')", {"id": "1"}, {"id": "2"}, identity=identity)
    assert not passes("has(dataOld.id)", {"id": "1"}, None, action="UPDATE", identity=identity)
    reason = failure("dataOld.id == 1", {"id": "1"}, None, action="UPDATE", identity=identity)
    assert reason == "the server sends the old value of id only where the key changed"


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [
        ("data.amount * 2 == 10", "amount", "5"),
        ("data.id == 9223372036854775807", "id", "9223372036854775807"),
        ("data.ratio == 0.1", "ratio", "0.1"),
        ("data.ratio > 1e300", "ratio", "Infinity"),
        ("data.ratio != data.ratio", "ratio", "NaN"),
        ("data.is_open", "is_open", "t"),
        ("!data.is_open", "is_open", "f"),
        ("data.body == b'\\x00\\xff' && size(data.body) == 2", "body", "\\x00ff"),
        ("data.doc.a[1].b == 2.5 && data.doc.n == 3", "doc", '{"a": [0, {"b": 2.5}], "n": 3}'),
        ("data.doc == 18446744073709551616.0", "doc", "18446744073709551616"),
        ("'b' in data.tags && data.tags[0] == 'a,\"\\\\' && data.tags[2] == null", "tags", '{"a,\\"\\\\",b,NULL}'),
        ("data.tags.exists(t, t.startsWith('x'))", "tags", "[0:1]={a,xyz}"),
        ("data.tags == []", "tags", "{}"),
        ("10 in data.prices && 0.1 in data.prices", "prices", "{0.10,10.000}"),
        ("data.pairs['k'] == 'v\"' && data.pairs.n == null", "pairs", '"k"=>"v\\"", "n"=>NULL'),
        ("data.mood == 'happy'", "mood", "happy"),
        ("data.created_at == timestamp('2024-02-29T10:11:12.5Z')", "created_at", "2024-02-29 10:11:12.5+00"),
        ("data.created_at > timestamp('2024-02-29T10:11:12.499999999Z')", "created_at", "2024-02-29 10:11:12.5+00"),
        ("data.created_at.getHours('Europe/Berlin') == 11", "created_at", "2024-02-29 10:11:12+00"),
        ("data.day == timestamp('2024-02-29T00:00:00Z')", "day", "2024-02-29"),
        ("data.created_at > timestamp('9999-12-31T23:59:59Z')", "created_at", "infinity"),
        ("data.created_at < timestamp('0001-01-01T00:00:00Z')", "created_at", "-infinity"),
        ("data.created_at < timestamp('0001-01-01T00:00:00Z')", "created_at", "0044-03-15 12:00:00+00 BC"),
        ("data.created_at > timestamp('9999-12-31T23:59:59Z')", "created_at", "294276-12-31 23:59:59.999999+00"),
        ("data.took == duration('26h')", "took", "1 day 02:00:00"),
        ("data.took == duration('-21h30m')", "took", "-1 days +02:30:00"),
        ("data.took == duration('-1.5s')", "took", "-00:00:01.5"),
        ("data.took == duration('0s')", "took", "00:00:00"),
        ("data.took == duration('26h0.5s')", "took", "P1DT2H0.5S"),
        ("data.took == duration('-0.5s')", "took", "PT-0.5S"),
        ("data.took > duration('100h')", "took", "infinity"),
    ],
)
def test_postgresql_text_of_a_type_reads_as_its_value(text: str, column: str, value: str) -> None:
    assert passes(text, {column: value})


@pytest.mark.parametrize(
    ("text", "column", "value", "reason"),
    [
        ("data.created_at.getFullYear() > 1", "created_at", "infinity", "is not between the years 1 and 9999"),
        ("data.created_at.getFullYear() > 1", "created_at", "0044-03-15 12:00:00+00 BC", "the years 1 and 9999"),
        ("data.created_at + duration('1s') > timestamp(0)", "created_at", "infinity", "the years 1 and 9999"),
        ("data.took > duration('1s')", "took", "1 mon", "months or years, which have no fixed length"),
        ("data.took > duration('1s')", "took", "P1Y", "months or years, which have no fixed length"),
        ("data.took + data.took > duration('1s')", "took", "infinity", "longer than 292 years"),
        ("data.id + 1 > 0", "id", "9223372036854775807", "does not fit into 64 bits"),
        ("int(data.price) > 0", "price", "NaN", "a numeric does not fit into 64 bits"),
        ("int(data.price) > 0", "price", "1e30", "does not fit into 64 bits"),
        ("data.tags == []", "tags", "{{a},{b}}", "more than one dimension"),
    ],
)
def test_what_cel_cannot_hold_is_an_error_and_never_wrong(text: str, column: str, value: str, reason: str) -> None:
    assert reason in failure(text, {column: value})


NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20)


@given(NUMBERS, NUMBERS, st.integers(-(2**63) + 1, 2**63 - 1))
def test_a_numeric_is_exact(one: Decimal, other: Decimal, number: int) -> None:
    row: dict[str, str | None] = {"price": f"{one:f}", "id": str(number)}
    exact, written = Fraction(one), f"{other:f}"
    for sign, expected in (
        ("<", exact < Fraction(other)),
        (">=", exact >= Fraction(other)),
        ("==", exact == Fraction(other)),
        ("!=", exact != Fraction(other)),
    ):
        assert passes(f"data.price {sign} {written}", row) == expected
    assert passes("data.price < data.id", row) == (exact < number)
    assert passes("data.price == data.id", row) == (exact == number)
    assert passes(f"data.price in [1, {written}]", row) == (exact in {1, Fraction(other)})
    assert passes(f"data.price + {written} - data.price == {written}", row)
    assert passes(f"data.price * 2 == {2 * one:f}", row)


def test_a_decimal_beside_a_numeric_is_the_number_that_is_written() -> None:
    assert passes(
        "data.price == 0.1 && 0.1 == data.price && data.price in [0.1] && data.price < 0.2", {"price": "0.10"}
    )
    assert passes("data.price > 12345678901234567890.12", {"price": "12345678901234567890.121"})
    assert passes("double(data.price) == 0.1 && string(data.price) == '0.10'", {"price": "0.10"})
    assert passes("data.price > data.ratio", {"price": "0.1", "ratio": "0.09999999999999999"})


def test_nan_of_a_numeric_is_like_that_of_a_double() -> None:
    assert passes("data.price != data.price && !(data.price > 1) && !(data.price <= 1)", {"price": "NaN"})
    assert passes("data.price > 1", {"price": "Infinity"})


def test_columns_of_a_relation_have_the_names_of_their_types() -> None:
    relation = Relation(
        oid=1,
        namespace="public",
        name="orders",
        replica_identity="d",
        columns=(
            Column("id", 20, -1, True),
            Column("tags", 1009, -1, False),
            Column("mood", 99999, -1, False, "public", "mood"),
            Column("cents", 99998, -1, False, "", "int4"),
        ),
    )
    assert columns_of(relation) == (
        TypedColumn("id", "int8", True),
        TypedColumn("tags", "text[]", False),
        TypedColumn("mood", "public.mood", False),
        TypedColumn("cents", "int4", False),
    )


def test_errors_that_are_absorbed_leave_no_garbage() -> None:
    found = condition("data.amount > 1 || data.id == 1 || data.price > 1")
    gc.collect()
    gc.disable()
    try:
        for _ in range(100):
            assert found.test("INSERT", ["1", None, None], None)
        assert gc.collect() < 10
    finally:
        gc.enable()


def test_no_value_of_the_row_is_in_a_reason() -> None:
    row: dict[str, str | None] = {"status": "s3cret", "doc": '{"s3cret": "s3cret"}', "tags": "{s3cret}", "amount": "1"}
    for text in (
        "data.doc < 1",
        "int(data.status) > 1",
        "timestamp(data.status) > timestamp(0)",
        "duration(data.status) > duration('1s')",
        "bool(data.status)",
        "data.doc.x == 1",
        "data.doc.s3cret > 1",
        "data.tags[5] == 'a'",
    ):
        assert "s3cret" not in failure(text, row)


def test_a_condition_costs_no_start_of_ditto() -> None:
    code = "import sys, ditto.routing.planner, ditto.config, ditto.service.run; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"lark", "re2", "ditto.routing.conditions"} & set(found)
    code = "import sys; from ditto.routing.conditions import compile_condition; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "lark" in found
    assert "re2" not in found


def test_unset_is_no_text() -> None:
    found = condition("data.status == 'a'")
    with pytest.raises(RuleFailed):
        found.test("UPDATE", [UNSET], None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.status == 'paid'", ["DELETE", "TRUNCATE"]),
        ("row.status == 'paid'", ["TRUNCATE"]),
        ("action == 'DELETE' || data.status == 'paid'", ["TRUNCATE"]),
        ("!(action in ['INSERT', 'UPDATE']) || data.amount > 1", []),
        ("action in ['INSERT', 'TRUNCATE'] && data.amount > 1", ["TRUNCATE"]),
        ("has(data.doc) && data.doc.x == 1", []),
        ("has(data.doc.x)", ["DELETE", "TRUNCATE"]),
        ("data.is_open", ["DELETE", "TRUNCATE"]),
        ("!data.is_open && dataOld.amount > 1", ["TRUNCATE"]),
        ("changed('status') ? data.amount > 1 : true", ["DELETE", "TRUNCATE"]),
        ("'x' in data.tags && dataOld.is_open", ["TRUNCATE"]),
        ("data.tags.exists(each, each == 'x')", []),
        ("data.status.matches('a') || table == 'orders'", []),
    ],
)
def test_actions_for_which_it_never_has_a_value(text: str, expected: list[str]) -> None:
    assert actions_without_value(text, COLUMNS, identity="f") == expected
    for action in expected:
        for value in (None, "1", "t"):
            row = {column.name: value for column in COLUMNS}
            assert failure(text, None, row if action == "DELETE" else None, action=action)
