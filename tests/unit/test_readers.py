"""Whether an array has an element, from its text: as a list of its elements has it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ditto.routing.conditions.errors import Failure
from ditto.routing.conditions.readers import membership, pure_membership, read_array
from unit.condition_tables import passes

WORDS = st.sampled_from(["", "a", "ab", "NULL", "null", "é", "😀", 'a"b', "a\\", "a,b", "{a}", "a;b", " ", "7", "-"])
NUMBERS = st.sampled_from([0, 1, 7, 77, -7, -1, 2**31, 2**63 - 1, -(2**63), 10**17])
JUNK = st.text(st.sampled_from('{}"\\,;aNULL 70-[]:=é'), max_size=12)


def element(value: str | int | None, *, is_bare: bool) -> str:
    """One as PostgreSQL writes it, or in quotation marks that it does without."""
    if value is None:
        return "NULL"
    text = str(value)
    if isinstance(value, int) or (is_bare and text.isalnum() and text.upper() != "NULL"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def array_of(items: st.SearchStrategy[str] | st.SearchStrategy[int], delimiter: str) -> st.SearchStrategy[str]:
    elements = st.builds(element, st.none() | items, is_bare=st.booleans()).map(str)
    return st.lists(elements, max_size=4).map(lambda texts: "{" + delimiter.join(texts) + "}")


def outcome(has: Callable[[str], bool], text: str) -> bool | type[Exception]:
    try:
        return has(text)
    except Failure as error:
        return type(error)


@given(value=WORDS, text=array_of(WORDS, ",") | JUNK | JUNK.map("{{{}}}".format), delimiter=st.sampled_from(",;"))
@example(value="NULL", text="{NULL}", delimiter=",")
@example(value="a", text="{a,{b}}", delimiter=",")
@example(value="a", text='{a,"b}', delimiter=",")
def test_a_text_is_in_an_array_where_it_is_in_the_list_of_its_elements(value: str, text: str, delimiter: str) -> None:
    assert outcome(membership(value, delimiter), text) == outcome(pure_membership(value, delimiter), text)


@given(value=NUMBERS, text=array_of(NUMBERS, ","))
@example(value=7, text="[0:1]={7,8}")
@example(value=7, text="{{7}}")
def test_an_integer_is_in_an_array_where_it_is_in_the_list_of_its_elements(value: int, text: str) -> None:
    def is_in_list(text: str) -> bool:
        return value in read_array(text, int, ",")

    assert outcome(membership(str(value), ","), text) == outcome(is_in_list, text)


@pytest.mark.parametrize(
    ("tags", "is_in"),
    [
        ("{a,b}", True),
        ('{"a"}', True),
        ("{ab,NULL}", False),
        ("{}", False),
        ('{"b","\\"a"}', False),
        ("[5:6]={b,a}", True),
    ],
)
def test_a_condition_asks_for_an_element(tags: str, *, is_in: bool) -> None:
    assert passes("'a' in data.tags", {"tags": tags}) is is_in
    assert passes("!('a' in data.tags) || size(data.tags) > 0", {"tags": tags})
