"""Compiled tests of rows: what they know of PostgreSQL's texts is what the condition's function says."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from ditto.decoding.choose import IMPL
from ditto.decoding.messages import RuleFailed
from unit.condition_tables import Text, agree, all_texts, condition, texts

pytestmark = pytest.mark.skipif(IMPL != "c", reason="they are the compiled core's")

ORDERS: Final = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


# ------------------------------------------------------------------------------------- what they know


@pytest.mark.parametrize(
    ("text", "column", "value", "is_true"),
    [
        ("data.status == 'a'", "status", "a", True),
        ("data.status != 'a'", "status", None, True),
        ("data.status in ['a', 'b', null]", "status", None, True),
        ("data.status in ['a', 'é']", "status", "é", True),
        ("data.status == null", "status", None, True),
        ("data.status < 'b' && 'a' < data.status", "status", "aé", True),
        ("data.status.startsWith('ab')", "status", "abc", True),
        ("data.status.endsWith('bc')", "status", "abd", False),
        ("data.status.contains('bc')", "status", "abbcd", True),
        ("data.status.contains('')", "status", "", True),
        ("data.status.matches('^[A-Z]+-[A-Z]+')", "status", "BTC-USD", True),
        ("data.status.matches('^(BTC|ETH)-|x$')", "status", "ETH-USD", True),
        ("data.amount > 5 && data.amount <= 7", "amount", "-7", False),
        ("data.id in [1, 2]", "id", "2", True),
        ("data.price > 0", "price", "12.500", True),
        ("0.1 == data.price", "price", "0.10", True),
        ("data.price in [1, 2.5]", "price", "2.50", True),
        ("data.price < -0.5", "price", "-0.51", True),
        ("data.price > 1e20", "price", "100000000000000000000.000000000000000000001", True),
        ("data.ratio > 0.1", "ratio", "0.10000000000000001", False),
        ("data.ratio < 1e10", "ratio", "1e+11", False),
        ("data.is_open", "is_open", "t", True),
        ("!data.is_open || data.is_open == true", "is_open", "f", True),
        ("data.created_at > timestamp('2020-01-01T00:00:00Z')", "created_at", "2020-01-01 00:00:00.000001+00", True),
        ("data.day >= timestamp('2020-01-02T00:00:00Z')", "day", "2020-01-01", False),
        ("data.took < duration('1h')", "took", "00:59:59.9", True),
        ("'a' in data.tags", "tags", '{"b",a}', True),
        ("data.doc.kind == 'a'", "doc", '{"id": [1, {"kind": "b"}], "kind": "a"}', True),
        ("data.doc.a.b in ['x', null]", "doc", '{"a": {"b": null}}', True),
        ("data.doc.n > 5", "doc", '{"n": 5.5}', True),
        ("data.doc.n == 5", "doc", '{"n": "5"}', False),
        ("data.doc.flag", "doc", '{"flag": true}', True),
        ("has(data.doc.a)", "doc", '{"aa": 1, "b": "\\"a"}', False),
        ("data.doc == null", "doc", "null", True),
        ("has(data.status)", "status", None, True),
        ("has(data.status)", "status", UNSET, False),
        ("changed('status')", "status", "a", True),
        ("action in ['INSERT', 'READ']", "status", "a", True),
        ("schema == 'public' || data.status == 'a'", "status", "a", True),
        # not known
        ("data.amount > 5", "amount", None, None),
        ("data.amount > 5", "amount", UNSET, None),
        ("data.amount > 5", "amount", "9223372036854775808", None),
        ("data.price > 5", "price", "NaN", None),
        ("data.doc.a == 1", "doc", '{"\\u0061": 1}', None),
        ("has(data.doc.a)", "doc", '{"\\u0061": 1}', None),
        ("data.plain.a == 1", "plain", '{"a": 1, "\\u0061": 2}', None),
        ("data.doc.a == 'é'", "doc", '{"a": "\\u00e9"}', None),
        ("data.doc.a.b == 1", "doc", '{"a": 1}', None),
        ("data.doc.a == 1", "doc", "[1]", None),
    ],
)
def test_what_is_usual_is_known(text: str, column: str, value: Text, is_true: bool | None) -> None:
    assert agree(text, column, value) == [is_true]


def test_one_side_that_decides_is_enough() -> None:
    known = condition("size(data.tags) > 1 && data.status == 'a'")
    assert known.row_test is not None
    assert known.row_test.judge("INSERT", all_texts({"status": "b", "tags": "{}"}), None) is False
    assert known.row_test.judge("INSERT", all_texts({"status": "a", "tags": "{}"}), None) is None
    known = condition("data.amount > 1 || data.status == 'a'")
    assert known.row_test is not None
    assert known.row_test.judge("INSERT", all_texts({"status": "a", "amount": None}), None) is True
    assert known.row_test.judge("INSERT", all_texts({"status": "b", "amount": None}), None) is None


@pytest.mark.parametrize(
    "text",
    [
        "data.status.matches('^(a|b)+')",
        "data.tags[0] == 'a'",
        "data.price == data.ratio",
        "data.tags == dataOld.tags",
        "data.doc == dataOld.doc",
        "data.took in [null]",
        "7 in data.doc",
        "data.status == 'a' ? true : false",
    ],
)
def test_of_all_else_nothing_is_known(text: str) -> None:
    assert condition(text).row_test is None


def test_old_and_new_rows() -> None:
    new, old = all_texts({"status": "a"}), all_texts({"status": "b"})
    for text, expected in (
        ("data.status == 'a' && dataOld.status == 'b' && row.status == 'a' && changed('status')", (True, False, None)),
        ("row.status == 'b'", (False, True, False)),
        ("changed('status') && action != 'INSERT'", (True, True, False)),
        ("has(dataOld.status)", (True, True, False)),
    ):
        test = condition(text).row_test
        assert test is not None
        found = (test.judge("UPDATE", new, old), test.judge("DELETE", None, old), test.judge("INSERT", new, None))
        assert found == expected, text


# ------------------------------------------------------------------------------------- numbers

DIGITS = st.text(st.sampled_from("000123459"), max_size=25)


@st.composite
def numerics(draw: Any) -> str:
    """As PostgreSQL writes them."""
    whole = draw(DIGITS).lstrip("0") or "0"
    fraction = draw(DIGITS)
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if draw(st.booleans()) and number.strip("0.") else number


def neighbours(number: str) -> list[str]:
    """The same number and some that are near it, in its own words."""
    exact = Decimal(number)
    scale = len(number.partition(".")[2])
    near = [f"{number}{'' if '.' in number else '.'}00"]
    for step in (Decimal(1).scaleb(-scale), Decimal(1).scaleb(-scale - 2)):
        near += [f"{Decimal(f'{exact:f}') + sign * step:f}" for sign in (1, -1)]
    return near


@given(constant=numerics(), other=numerics(), order=ORDERS)
@example(constant="0", other="0.000", order="==")
@example(constant="10", other="9.9", order=">")
@example(constant="9223372036854775808", other="9223372036854775807", order="<=")
def test_numerics(constant: str, other: str, order: str) -> None:
    near = [number for number in neighbours(constant) if number.strip("-0.")]  # PostgreSQL has no -0
    usual = [constant, other, *near]
    constant += "" if "." in constant else ".0"  # without, it is an integer, of 64 bits
    assert None not in agree(f"data.price {order} {constant}", "price", *usual)
    assert None not in agree(f"{constant} {order} data.price", "price", *usual)
    assert agree(f"data.price {order} {constant}", "price", "NaN", "Infinity", "-Infinity", "1e5", "", "-", ".") == (
        [None] * 7
    )


@pytest.mark.parametrize("constant", ["0.00000000000000000001", "1e-30", "123456789012345678901234567890.5", "0x10"])
def test_numerics_with_constants_that_are_long(constant: str) -> None:
    numbers = ["0", "0.00000000000000000001", "0.000000000000000000000000000001", "0.0000000000000000000000000000010"]
    numbers += ["123456789012345678901234567890.5", "123456789012345678901234567890.50001", "16", "16.0", "-16"]
    for order in ("==", "<", ">="):
        assert None not in agree(f"data.price {order} {constant}", "price", *numbers)


@given(
    constant=st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20),
    other=st.integers(-(2**63), 2**63 - 1) | st.integers(-20, 20),
    order=ORDERS,
)
def test_integers(constant: int, other: int, order: str) -> None:
    near = {min(max(constant + step, -(2**63)), 2**63 - 1) for step in (-1, 0, 1)}
    assert None not in agree(f"data.id {order} {constant}", "id", *map(str, (*near, other)))
    agree(f"data.id {order} {constant}", "id", "", "-", "x", None)


def double_text(number: float) -> str:
    """As PostgreSQL writes it."""
    special = {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number)
    return special or ("NaN" if math.isnan(number) else repr(number).removesuffix(".0"))


DOUBLES = st.floats(allow_nan=True) | st.floats(-1000, 1000, width=32) | st.decimals(-99, 99, places=3).map(float)


@given(constant=DOUBLES.filter(math.isfinite), other=DOUBLES, order=ORDERS)
@example(constant=0.0, other=-0.0, order="==")
@example(constant=0.3, other=0.1 + 0.2, order="<")
@example(constant=1e22, other=1e23, order="<")
def test_doubles(constant: float, other: float, order: str) -> None:
    near = (constant, math.nextafter(constant, math.inf), math.nextafter(constant, -math.inf))
    values = [double_text(number) for number in (*near, other)]
    agree(f"data.ratio {order} {constant!r}", "ratio", *values, "1e999", "1_0", "0x1p3", "1.", "--1", None)


@given(digits=st.text(st.sampled_from("0123456789"), min_size=1, max_size=20), scale=st.integers(0, 20))
def test_doubles_are_read_as_python_reads_them(digits: str, scale: int) -> None:
    text = f"{digits[:scale] or '0'}.{digits[scale:] or '0'}"
    assert agree(f"data.ratio == {float(text)!r}", "ratio", text) == [True]


# ------------------------------------------------------------------------------------- times

MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31))  # noqa: DTZ001
ODD_TIMES = ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "2024-02-30", ""]


@given(constant=MOMENTS, other=MOMENTS, nanoseconds=st.sampled_from([0, 0, 1, 999]), order=ORDERS)
def test_timestamps(constant: datetime, other: datetime, nanoseconds: int, order: str) -> None:
    literal = f"timestamp('{constant:%Y-%m-%dT%H:%M:%S}.{constant.microsecond:06d}{nanoseconds:03d}Z')"
    literal = literal.replace(f"{constant:%Y}", f"{constant.year:04d}", 1)
    near = [constant, other]
    near += [constant + timedelta(microseconds=1)] if constant.year < 9999 else []
    near += [constant - timedelta(microseconds=1)] if constant.year > 1 else []
    values = [each.isoformat(" ") for each in near]
    values = [each.rstrip("0") if "." in each else each for each in values]
    assert None not in agree(f"data.created_at {order} {literal}", "created_at", *[f"{each}+00" for each in values])
    assert None not in agree(f"data.created_at {order} {literal}", "created_at", *values)  # without a zone
    assert None not in agree(f"data.day {order} {literal}", "day", *[each[:10] for each in values])
    agree(f"data.created_at {order} {literal}", "created_at", *ODD_TIMES)


@given(seconds=st.integers(-(10**9), 10**9), other=st.integers(-(10**9), 10**9), order=ORDERS)
def test_intervals(seconds: int, other: int, order: str) -> None:
    values = []
    for us in (seconds * 1000, seconds * 1000 + 1, other):
        whole, rest = divmod(abs(us), 1_000_000)
        fraction = f".{rest:06d}".rstrip("0") if rest else ""
        values.append(f"{'-' if us < 0 else ''}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{fraction}")
    text = f"data.took {order} duration('{seconds}ms')"
    assert None not in agree(text, "took", *values)
    agree(text, "took", "1 day 02:00:00", "-1 days +02:30:00", "1 mon", "1 year", "PT1S", "infinity", "", "@ 1 hour")


# ------------------------------------------------------------------------------------- texts

WORDS = st.text(st.sampled_from("aabbéB😀\0 "), max_size=6).filter(lambda text: "\0" not in text)


@given(constant=WORDS, others=st.lists(WORDS, min_size=1, max_size=5), order=ORDERS)
def test_texts(constant: str, others: list[str], order: str) -> None:
    literal = json.dumps(constant, ensure_ascii=False)
    for text in (
        f"data.status {order} {literal}",
        f"data.status.startsWith({literal})",
        f"data.status.endsWith({literal})",
        f"data.status.contains({literal})",
        f"data.status in [{literal}, 'b', 'ab']",
    ):
        assert None not in agree(text, "status", constant, *others)
        agree(text, "status", None, UNSET)


@given(value=WORDS, items=st.lists(st.none() | WORDS, max_size=4))
def test_arrays(value: str, items: list[str | None]) -> None:
    array = "{" + ",".join("NULL" if item is None else json.dumps(item, ensure_ascii=False) for item in items) + "}"
    assert None not in agree(f"{json.dumps(value, ensure_ascii=False)} in data.tags", "tags", array)
    agree(f"{json.dumps(value, ensure_ascii=False)} in data.tags", "tags", "{{a},{b}}", "[5:6]={a,b}", "{a", None)


# ------------------------------------------------------------------------------------- two columns

USUAL: Final[dict[str, list[str]]] = {
    "status": ["", "a", "ab", "é"],
    "amount": ["0", "-1", "10", "9"],
    "id": ["0", "-1", "10", "9223372036854775807"],
    "price": ["0", "0.00", "-1", "10.0", "9.999", "10.000000000000000000001", "9"],
    "ratio": ["0", "-0", "0.1", "1e+20", "-3.5"],
    "is_open": ["t", "f"],
    "created_at": ["2024-01-01 00:00:00+00", "2024-01-01 00:00:00.1+00", "1969-12-31 23:59:59+00"],
    "took": ["00:00:00", "1 day", "24:00:00", "-00:00:01"],
}
UNUSUAL: Final[dict[str, list[Text]]] = {
    "price": ["NaN", "Infinity"],
    "ratio": ["NaN", "-Infinity"],
    "created_at": ["infinity", "0044-03-15 12:00:00+00 BC"],
    "took": ["1 mon", "infinity"],
}
PAIRS: Final = [*((name, name) for name in USUAL), ("amount", "price"), ("price", "amount"), ("amount", "id")]


@given(data=st.data(), pair=st.sampled_from(PAIRS), order=ORDERS)
def test_two_columns(data: st.DataObject, pair: tuple[str, str], order: str) -> None:
    one, other = pair
    is_usual = data.draw(st.booleans())
    new, old = (
        data.draw(st.sampled_from(USUAL[name] if is_usual else [*USUAL[name], None, UNSET, *UNUSUAL.get(name, [])]))
        for name in pair
    )
    if one == "is_open":
        order = "==" if order in {"==", "<", "<="} else "!="
    found = condition(f"data.{one} {order} dataOld.{other}")
    assert found.row_test is not None
    rows: list[dict[str, Any]] = [{one: new}, {other: old}]
    known = found.row_test.judge("UPDATE", *map(all_texts, rows))
    try:
        expected = found.test("UPDATE", *(texts(found, row) for row in rows))
    except RuleFailed:
        assert known is None
    else:
        assert known == expected if is_usual else known in {None, expected}


def test_null_beside_what_is_an_error() -> None:
    assert agree("data.price == row.price", "price", None) == [True]
    assert agree("data.took == row.took", "took", None) == [None]
    found = condition("data.took == dataOld.took")
    assert found.row_test is not None
    assert found.row_test.judge("UPDATE", all_texts({"took": None}), all_texts({"took": "1 mon"})) is None
