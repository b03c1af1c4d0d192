"""synchronous_standby_names: what it says, and what ditto check makes of it."""

from __future__ import annotations

import pytest

from ditto.check.synchronous_commit import synchronous_finding
from ditto.source.synchronous_commit import parse_names


@pytest.mark.parametrize(
    ("setting", "method", "count", "names"),
    [
        ("", "", 1, []),
        ("*", "", 1, ["*"]),
        ("a, b", "", 1, ["a", "b"]),
        ('"a,b" , "c""d"', "", 1, ["a,b", 'c"d']),
        ("2 (a,b)", "", 2, ["a", "b"]),
        ("FIRST 2 (a, *)", "FIRST", 2, ["a", "*"]),
        ("any 1 (*)", "ANY", 1, ["*"]),
        ("ANY 3(a,b , c)", "ANY", 3, ["a", "b", "c"]),
    ],
)
def test_what_it_says(setting: str, method: str, count: int, names: list[str]) -> None:
    parsed = parse_names(setting)
    assert (parsed.method, parsed.count, parsed.names) == (method, count, names)


@pytest.mark.parametrize("setting", ["", "a, b", "ditto", "ANY 1 (a, Ditto)", "ANY 2 (ditto, *)"])
def test_what_is_well(setting: str) -> None:
    assert synchronous_finding(setting, "ditto", ["a"]).level == "ok"


@pytest.mark.parametrize(
    ("setting", "others", "wanted"),
    [
        ("*", ["a"], 'FIRST 1 ("a")'),
        ("ANY 2 (*)", ["a", "b's", "a"], 'ANY 2 ("a", "b\'\'s")'),
        ("FIRST 2 (c, *)", ["a", "C"], 'FIRST 2 ("c", "a")'),
        ("ANY 5 (*)", ["a"], 'ANY 1 ("a")'),
        ("*", [], ""),
    ],
)
def test_the_others_are_named_in_its_place(setting: str, others: list[str | None], wanted: str) -> None:
    finding = synchronous_finding(setting, "ditto", others)
    assert finding.level == "warning"
    assert finding.fix == (
        f"ALTER SYSTEM SET synchronous_standby_names = '{wanted}';\nSELECT pg_catalog.pg_reload_conf();"
    )


def test_who_they_are_is_hidden() -> None:
    finding = synchronous_finding("*", "ditto", [None])
    assert (finding.level, finding.fix) == ("warning", None)
