"""The conditions of docs/guides/conditions.md: each is accepted, and the error is shown as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ditto.routing.conditions import ConditionError, TypedColumn, compile_condition

PAGE = (Path(__file__).parents[2] / "docs" / "guides" / "conditions.md").read_text()
CONDITIONS, ERROR = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TYPES = {"bigint": "int8", "int": "int4", "mood": "public.mood"}


def columns() -> list[TypedColumn]:
    """Of the page's table."""
    match = re.search(r"CREATE TABLE orders \((.*?)\n\);", PAGE, re.DOTALL)
    assert match is not None
    found = re.findall(r'(\w+|"[^"]+") ([\w\[\]]+)(?: PRIMARY KEY)?(?:,|$)', match[1].strip().replace("\n", " "))
    return [TypedColumn(name.strip('"'), TYPES.get(type_name, type_name), name == "id") for name, type_name in found]


@pytest.mark.parametrize("text", CONDITIONS.splitlines())
def test_a_condition_of_the_guide_is_accepted(text: str) -> None:
    condition = compile_condition(text, columns(), schema="public", table="orders", identity="f")
    assert condition.columns


def test_the_error_of_the_guide_is_the_one_that_is_given() -> None:
    with pytest.raises(ConditionError) as error:
        compile_condition(ERROR.splitlines()[1].strip(), columns(), schema="public", table="orders", identity="d")
    assert f"{error.value}\n" == ERROR


@pytest.mark.parametrize("text", ["all", "exists", "exists_one", "filter", "map", "getDayOfYear", "matches", "dyn"])
def test_the_guide_names_the_functions(text: str) -> None:
    assert f"`{text}`" in PAGE
