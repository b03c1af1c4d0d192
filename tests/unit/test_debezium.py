"""Debezium's values: those that Debezium itself makes of the same texts."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from e2e.formats.debezium_cases import CASES, OTHER_SCHEMA, Case, expected

from ditto.decoding.choose import convert
from ditto.decoding.column_kinds import CALL, KINDS
from ditto.decoding.messages import Column
from ditto.formats.debezium import numbers, times
from ditto.formats.debezium.columns import ColumnForm, column_form

MODIFIERS = {"dnum": (10 << 16 | 2) + 4, "dnum2": (10 << 16 | 2) + 4, "ib": 1}
"""Those of domains, as the catalogue knows them."""


def form(case: Case) -> ColumnForm:
    typmod = MODIFIERS.get(case.type, case.typmod)
    column = Column("v", case.oid, typmod, False, case.namespace, case.name)
    labels = {case.oid: ("sad", "fine")} if case.type.startswith("mood") else {}
    usual = KINDS.find(case.oid, case.namespace, case.name)
    return column_form(column, usual, is_masked=False, labels=labels)


def value(made: ColumnForm, text: str | None) -> Any:
    if made.kind == CALL:
        assert made.function is not None
        found = made.function(text)
    else:
        found = None if text is None else convert(text.encode(), made.kind)
    return json.loads(msgspec.json.encode(found))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.type} {case.literal[:30]}")
def test_each_value_is_debeziums(case: Case) -> None:
    text = "public.mood" if case.type == "regtype" else case.text  # as the walsender writes it
    wanted = text if case.type == "regtype" else expected(case)
    made = form(case)
    assert value(made, text) == wanted
    if case.schema is not None and case.key not in OTHER_SCHEMA:
        assert {"type": made.schema["type"], "optional": True, **made.schema} == {**case.schema, "optional": True}


def test_decimals_of_more_digits_than_python_reads() -> None:
    text = "-" + "9" * 131_072 + "." + "1" * 16_383
    found = numbers.variable_decimal(text)
    assert found is not None
    assert found["scale"] == 16_383
    assert numbers.decimal_of(0)("9" * 5000) is not None


def test_what_is_no_value_of_the_type_is_null() -> None:
    assert times.timestamp_us("tomorrow") is None
    assert times.interval_us("") is None
    assert times.interval_us("infinity") == 2**63 - 1
    assert times.interval_us("P1Y2M-3DT4H5M6.789S") == 36_572_706_789_000
    assert times.zoned_time("03:04:05.120-02:30:15") == "05:34:20.12Z"
