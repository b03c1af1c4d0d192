"""Compiled arithmetic of rows: what it knows is what the condition's function says, and the usual is known."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from ditto.decoding.choose import IMPL
from unit.condition_tables import Row, agree, all_texts, condition, result

pytestmark = pytest.mark.skipif(IMPL != "c", reason="they are the compiled core's")

ORDERS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


def known(text: str, row: Row) -> bool | None:
    """Of an INSERT; the function says the same, or the test does not know."""
    found = condition(text)
    assert found.row_test is not None, text
    judged = found.row_test.judge("INSERT", all_texts(row), None)
    assert judged in {None, result(found, row)}, (text, row)
    return judged


@pytest.mark.parametrize(
    ("text", "row", "is_true"),
    [
        ("data.price * data.amount > 100", {"price": "12.50", "amount": "9"}, True),
        ("data.price * data.price == 0.01", {"price": "-0.100"}, True),
        ("data.price - data.amount < 0", {"price": "8.999999999999999999", "amount": "9"}, True),
        ("data.price + 1 == 1.00000000000000001", {"price": "0.00000000000000001"}, True),
        ("data.price * data.amount > 0.0", {"price": "12345678901234567890.123456789012345678", "amount": "2"}, True),
        ("-data.price >= 0.5", {"price": "-0.5"}, True),
        ("1 - data.amount in [2, 0]", {"amount": "1"}, True),
        ("data.amount / 2 == -3 && data.amount % 4 == -3", {"amount": "-7"}, True),
        ("data.amount + data.id == 9223372036854775807", {"amount": "7", "id": "9223372036854775800"}, True),
        ("data.ratio * 2.0 + 0.1 > 0.3", {"ratio": "0.1"}, True),
        ("data.ratio / 0.0 > 1.0", {"ratio": "1"}, True),
        ("-data.ratio == 0.0", {"ratio": "0"}, True),
        ("double(data.price) * data.ratio < 0.0", {"price": "-12345678901234567890.5", "ratio": "0.5"}, True),
        ("double(data.id) / 2.0 == 4611686018427387904.0", {"id": "9223372036854775807"}, True),
        (
            "data.created_at - data.day > duration('48h')",
            {"created_at": "2024-03-01 00:00:01+00", "day": "2024-02-28"},
            True,
        ),
        (
            "data.created_at - data.day == data.took",
            {"created_at": "2024-03-01 01:00:00+00", "day": "2024-03-01", "took": "01:00:00"},
            True,
        ),
        (
            "data.created_at + duration('1ns') > timestamp('2024-01-01T00:00:00Z')",
            {"created_at": "2024-01-01 00:00:00+00"},
            True,
        ),
        (
            "data.created_at + data.took < timestamp('9999-12-31T23:59:59.999999Z')",
            {"created_at": "1969-12-31 23:59:59.5+00", "took": "-00:00:00.5"},
            True,
        ),
        ("size(data.status) > 2", {"status": "aé😀"}, True),
        ("data.status.size() % 2 == 0", {"status": ""}, True),
        ("data.created_at.getHours() in [22, 23]", {"created_at": "1969-12-31 23:59:59.999999+00"}, True),
        (
            "data.day.getFullYear() == 2024 && data.day.getMonth() == 1 && data.day.getDate() == 29",
            {"day": "2024-02-29"},
            True,
        ),
        ("data.day.getDayOfWeek() == 0", {"day": "2026-11-29"}, True),
        # not known
        ("data.amount + 1 > 2", {"amount": None}, None),
        ("data.amount + 1 > 2", {"amount": UNSET}, None),
        ("data.id + 1 > 2", {"id": "9223372036854775807"}, None),
        ("-data.id > 0", {"id": "-9223372036854775808"}, None),
        ("data.id / -1 > 0", {"id": "-9223372036854775808"}, None),
        ("data.id % -1 == 0", {"id": "-9223372036854775808"}, None),
        ("7 / data.amount > 0", {"amount": "0"}, None),
        ("7 % data.amount > 0", {"amount": "0"}, None),
        ("data.price + 1 > 2", {"price": "NaN"}, None),
        ("data.price + 1 > 2", {"price": "1" * 39}, None),
        ("data.price * data.price * data.price > 2", {"price": "123456789.123456789"}, None),
        ("data.ratio - data.ratio == 0.0", {"ratio": "Infinity"}, None),
        ("data.ratio / 0.0 == 0.0", {"ratio": "0"}, None),
        (
            "data.created_at - data.day > duration('0s')",
            {"created_at": "9999-01-01 00:00:00+00", "day": "0001-01-01"},
            None,
        ),
        (
            "data.created_at + duration('1h') > timestamp('9999-12-31T23:00:00Z')",
            {"created_at": "9999-12-31 23:30:00+00"},
            None,
        ),
        ("data.created_at - data.day > duration('0s')", {"created_at": "infinity", "day": "2024-01-01"}, None),
        ("data.took + data.took > duration('0s')", {"took": "1 mon"}, None),
    ],
)
def test_what_is_usual_is_known(text: str, row: dict[str, Any], is_true: bool | None) -> None:
    assert known(text, row) is is_true


@pytest.mark.parametrize(
    "text",
    [
        "size(data.tags) > 1",
        "data.created_at.getHours('Europe/Berlin') > 1",
        "data.took.getHours() > 1",
        "data.created_at.getDayOfYear() > 1",
        "int(data.price) > 1",
        "double(data.status) > 1.0",
        "data.doc.a + 1 > 2",
        "data.price + 1 > data.ratio",
        "(data.is_open ? data.amount : 1) + 1 > 2",
        "data.price + 0.1 > 1e-40",
        "data.created_at + duration('9000h') > timestamp('9999-12-31T23:59:59.999999999Z')",
    ],
)
def test_of_all_else_nothing_is_known(text: str) -> None:
    assert condition(text).row_test is None


def test_old_rows() -> None:
    found = condition("data.price - dataOld.price > 1.5 || row.amount * 2 == 4")
    assert found.row_test is not None
    new, old = all_texts({"price": "3.6", "amount": "1"}), all_texts({"price": "2", "amount": "2"})
    assert found.row_test.judge("UPDATE", new, old) is True
    assert found.row_test.judge("UPDATE", old, new) is True
    assert found.row_test.judge("UPDATE", old, old) is True
    assert found.row_test.judge("UPDATE", new, new) is False
    assert found.row_test.judge("DELETE", None, old) is True
    assert found.row_test.judge("DELETE", None, new) is None


INTEGERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20) | st.sampled_from([-(2**63), 2**63 - 1, 2**62])
NUMERICS = st.decimals(-(10**6), 10**6, places=4).map(lambda number: f"{number:f}") | st.sampled_from(
    ["0", "0.000", "-1.50", "999999999999999999", "1e0", "0." + "0" * 19 + "1", "NaN", "-Infinity", "9" * 40]
)
DOUBLES = st.floats(-1e300, 1e300).map(repr) | st.sampled_from(["0", "-0", "NaN", "Infinity", "5e-324"])
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001


@given(one=INTEGERS, other=INTEGERS, sign=st.sampled_from("+-*/%"), order=ORDERS, constant=INTEGERS)
@example(one=-(2**63), other=-1, sign="/", order=">", constant=0)
def test_integers(one: int, other: int, sign: str, order: str, constant: int) -> None:
    row: Row = {"id": str(one), "amount": str(other)}
    known(f"data.id {sign} data.amount {order} {constant}", row)
    known(f"{constant} {order} data.id {sign} (data.amount {sign} data.id)", row)


@given(one=NUMERICS, other=NUMERICS, sign=st.sampled_from("+-*"), order=ORDERS, amount=st.integers(-99, 99))
def test_numerics(one: str, other: str, sign: str, order: str, amount: int) -> None:
    found = condition(f"data.price {sign} dataOld.price {order} row.amount * data.price")
    assert found.row_test is not None
    new, old = all_texts({"price": one, "amount": str(amount)}), all_texts({"price": other})
    judged = found.row_test.judge("UPDATE", new, old)
    wanted = [[row[index] for index in found.columns] if row else None for row in (new, old)]
    assert judged in {None, found.test("UPDATE", *wanted)}
    short = all(len(text) < 18 and text[-1].isdigit() and "e" not in text for text in (one, other))
    assert judged is not None or not short


@given(one=DOUBLES, other=DOUBLES, sign=st.sampled_from("+-*/"), order=ORDERS)
def test_doubles(one: str, other: str, sign: str, order: str) -> None:
    constant = other if "." in other else "0.5"
    known(f"data.ratio {sign} {constant} {order} -data.ratio", {"ratio": one})
    known(f"double(data.price) {sign} data.ratio {order} 0.5", {"ratio": one, "price": other})


@given(moment=MOMENTS, other=MOMENTS, seconds=st.integers(-(10**9), 10**9), order=ORDERS)
def test_times(moment: datetime, other: datetime, seconds: int, order: str) -> None:
    row: Row = {"created_at": moment.isoformat(" ") + "+00", "day": other.isoformat()[:10], "took": f"{seconds} days"}
    known(f"data.created_at - data.day {order} duration('{seconds}s')", row)
    known(f"data.created_at + duration('{seconds}ms') {order} data.day", row)
    known(f"data.day - data.took {order} data.created_at", row)
    known(f"data.took + duration('{seconds}ns') {order} data.took - duration('1h')", row)


PARTS = ["FullYear", "Month", "Date", "DayOfMonth", "DayOfWeek", "Hours", "Minutes", "Seconds", "Milliseconds"]


@pytest.mark.parametrize("part", PARTS)
@given(moment=MOMENTS)
@example(moment=datetime(1, 1, 1))  # noqa: DTZ001
@example(moment=datetime(2000, 2, 29, 23, 59, 59, 999999))  # noqa: DTZ001
@example(moment=datetime(1900, 3, 1))  # noqa: DTZ001
@example(moment=datetime(9999, 12, 31))  # noqa: DTZ001
def test_parts_of_timestamps(part: str, moment: datetime) -> None:
    text = moment.isoformat(" ")
    wanted = {
        "FullYear": moment.year,
        "Month": moment.month - 1,
        "Date": moment.day,
        "DayOfMonth": moment.day - 1,
        "DayOfWeek": moment.isoweekday() % 7,
        "Hours": moment.hour,
        "Minutes": moment.minute,
        "Seconds": moment.second,
        "Milliseconds": moment.microsecond // 1000,
    }[part]
    assert agree(f"data.created_at.get{part}() == {wanted}", "created_at", f"{text}+00") == [True]


@given(text=st.text(st.sampled_from("ab\x7fé😀\u2028"), max_size=9))
def test_sizes(text: str) -> None:
    assert agree(f"size(data.status) == {len(text)}", "status", text) == [True]
