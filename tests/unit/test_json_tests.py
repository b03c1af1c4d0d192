"""Compiled tests of JSON: what they know of a document is what the condition's function says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from ditto.decoding.choose import IMPL
from unit.condition_tables import COLUMNS, INDEX, agree

pytestmark = pytest.mark.skipif(IMPL != "c", reason="they are the compiled core's")

ORDERS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
KEYS = st.sampled_from(["a", "b", "é", "aa", 'a"', "a\\", "k\n"])
NUMBERS = st.integers(-5, 5) | st.sampled_from(
    [2**53 + 1, 10**17, 10**18, 2**63 - 1, 2**63, 10**40, 1.5, 5.0, -0.0, 1e300]
)
LEAVES = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "x", "é", '"', "\\", "a]}", "null", "5"])


@st.composite
def documents(draw: Any, depth: int = 3) -> str:
    """The JSON of a value, in which names may come twice, be escaped, and have space around them."""
    kind = draw(st.integers(0, 5)) if depth else 0
    space = draw(st.sampled_from(["", "", " ", "\n\t"]))
    if kind < 2:
        return f"{space}{json.dumps(draw(LEAVES), ensure_ascii=draw(st.booleans()))}{space}"
    if kind == 2:
        return f"[{','.join(draw(st.lists(documents(depth - 1), max_size=3)))}]{space}"
    pairs = draw(st.lists(st.tuples(KEYS, documents(depth - 1)), max_size=4))
    is_escaped = draw(st.booleans())
    fields = [f"{space}{json.dumps(key, ensure_ascii=is_escaped)}{space}:{value}" for key, value in pairs]
    return f"{{{','.join(fields)}{space}}}"


CONSTANTS = st.sampled_from(
    ["'a'", "'x'", "'é'", "''", "null", "true", "false", "5", "-3", "5.0", "1.5", "100000000000000000"]
)
PATHS = st.sampled_from(["", ".a", ".b", "['é']", ".a.b", ".a.a.a", "['a\\\"']"])


@given(documents=st.lists(documents(), min_size=1, max_size=4), path=PATHS, constant=CONSTANTS, order=ORDERS)
@example(documents=['{"a": 1, "a": "a"}'], path=".a", constant="'a'", order="==")
@example(documents=['{"a\\\\": 1, "a": "a"}', '{"b": "\\\\\\"", "a": "a"}'], path=".a", constant="'a'", order="==")
def test_json(documents: list[str], path: str, constant: str, order: str) -> None:
    checks = [f"data.doc{path} == {constant}", f"data.doc{path} != {constant}", f"data.doc{path}"]
    checks += [f"data.doc{path} in [{constant}, 'a', null]"]
    if constant[-1].isdigit():
        checks.append(f"data.doc{path} {order} {constant}")
    if path.startswith("."):
        checks.append(f"has(data.doc{path})")
    for text in checks:
        for column in ("doc", "plain"):
            of_type = [document for document in documents if column == "plain" or is_usual(document)]
            agree_json(text, column, of_type)


def is_usual(document: str) -> bool:
    """Whether no name comes twice in an object: a jsonb has none."""
    found = True

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found and len({name for name, _ in pairs}) == len(pairs)

    json.loads(document, object_pairs_hook=look)
    return found


def agree_json(text: str, column: str, documents: list[str]) -> None:
    agree(text.replace("data.doc", f"data.{column}"), column, *documents, None, UNSET)


@pytest.mark.parametrize("count", [200, 300, 3000])
def test_documents_that_are_nested_deeply(count: int) -> None:
    for column in ("doc", "plain"):
        known = agree(
            f"data.{column}.a == 'a'",
            column,
            f'{{"a": "a", "b": {"[" * count}{"]" * count}}}',
            f'{{"a": "a", "b": [{"[]," * count}"{"[" * count}"]}}',
            f'{{"b": {"{}" if count < 1000 else "[" * count + "]" * count}, "a": "a"}}',
        )
        assert known[0] is (True if count == 200 else None)
        assert known[1] is True


def test_the_columns_of_these_tests() -> None:
    assert {COLUMNS[INDEX[name]].type_name for name in ("doc", "plain")} == {"json", "jsonb"}
