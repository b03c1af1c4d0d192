"""How many differences of a table are listed."""

from __future__ import annotations

import pytest

from ditto.verify.difference import Difference
from ditto.verify.explain import MAX_DIFFERENCES, listed


@pytest.mark.parametrize(
    ("found", "others", "said"),
    [
        (MAX_DIFFERENCES, 0, ""),
        (MAX_DIFFERENCES + 11_000, 0, "11,000 more that do not match than are listed"),
        (MAX_DIFFERENCES + 1, 2, "3 more that do not match than are listed"),
        (0, 7, "7 more that do not match than are listed"),
    ],
)
def test_those_that_are_not_listed_are_counted_first(found: int, others: int, said: str) -> None:
    all_of_them = [Difference("missing", "public.t", f"id={number}") for number in range(found)]
    shown = listed(all_of_them, "public.t", others=others)
    assert [each.kind for each in shown if each.kind != "missing"] == [said] * bool(said)
    assert [each for each in shown if each.kind == "missing"] == all_of_them[:MAX_DIFFERENCES]
    assert not said or shown[0].kind == said
