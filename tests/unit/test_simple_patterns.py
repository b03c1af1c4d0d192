"""Patterns that Python's `re` finds: as RE2 does, and no others."""

from __future__ import annotations

import time

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ditto.routing.conditions.patterns import compile_pattern
from ditto.routing.conditions.row_tests import text_matches
from ditto.routing.conditions.simple_patterns import compile_simple, simple_pattern, simple_patterns

SETS = ["a", "b", "B", "-", " ", "1", ".", r"\.", r"\d", r"\w", r"\s", r"\$", "[a-c]", "[^a-c]", r"[\d_-]", "[^ -]", r"[^\s]", "[A-Zb]"]  # fmt: skip  # noqa: E501
REPEATED = ["", "", "", "*", "+", "?", "{2}", "{1,}", "{0,2}", "{0}", "{12}", "{1000}", "{,2}", "*?", "{2}{3}"]
ODD = ["^", "$", "|", "(a)", "(?i)", r"\b", r"\D", "[[:alpha:]]", "é", "[é]", r"\x41", "[", "(?:a|b)", r"\pL", r"\v"]
SEQUENCES = st.lists(st.tuples(st.sampled_from(SETS), st.sampled_from(REPEATED)).map("".join), max_size=5)
PATTERNS = st.tuples(st.sampled_from(["", "^"]), SEQUENCES.map("".join), st.sampled_from(["", "$", r"\$"])).map("".join)
WITH_ODD = st.lists(st.sampled_from([*SETS, *ODD, "+", "$"]), max_size=5).map("".join)
TEXTS = st.text(st.sampled_from("aabcABZ119 -_.$\n\r\v\0\x7fé😀\u0130\u2028"), max_size=12)


@given(pattern=PATTERNS | WITH_ODD, texts=st.lists(TEXTS, min_size=1, max_size=8))
@example(pattern="^.{2}$", texts=["é", "éa", "aé", "😀😀"])
@example(pattern="^a{2}ab", texts=["aaab", "aab"])
@example(pattern="[^a]{2}", texts=["é", "aéé"])
def test_a_simple_pattern_is_found_where_re2_finds_it(pattern: str, texts: list[str]) -> None:
    try:
        found_by_re2 = compile_pattern(pattern)
    except ValueError:
        assume(False)
    find = compile_simple(pattern)
    assume(find is not None)
    assert find is not None
    simple = simple_pattern(pattern)
    assert simple is not None
    test = text_matches("data", 0, simple)
    for text in texts:
        assert (find(text) is not None) == found_by_re2(text), (pattern, text)
        assert test.judge("INSERT", [text], None) == found_by_re2(text), (pattern, text)


GROUPED = st.recursive(
    st.lists(st.sampled_from([*SETS, *ODD, "^", "$", "", "[|)]", r"\\|", r"\\(", "b+", "a{2}"]), max_size=3).map(
        "".join
    ),
    lambda inner: st.tuples(
        st.sampled_from(["", "a", "^"]), inner, inner, st.sampled_from(["", "b", "$", "+", "?"])
    ).map(lambda parts: f"{parts[0]}({parts[1]}|{parts[2]}){parts[3]}"),
    max_leaves=5,
)


@given(pattern=GROUPED, texts=st.lists(TEXTS, min_size=1, max_size=8))
@example(pattern="^(a|b)c|d$", texts=["acd", "bc", "xd", "dx", "cbc"])
@example(pattern="^a|b", texts=["xa", "xb"])
@example(pattern="(|a)b", texts=["b", "c"])
@example(pattern="[|]|x", texts=["|", "a", "x"])
def test_alternatives_are_found_where_re2_finds_them(pattern: str, texts: list[str]) -> None:
    try:
        found_by_re2 = compile_pattern(pattern)
    except ValueError:
        assume(False)
    tests = [text_matches("data", 0, simple) for simple in simple_patterns(pattern)]
    assume(tests)
    for text in texts:
        found = any(test.judge("INSERT", [text], None) for test in tests)
        assert found == found_by_re2(text), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("^(paid|shipped|done)$", 3),
        ("a|b|", 3),
        ("^(?:EU|US)-(?:\\d{4}|x)", 4),
        ("^((a|b)|c)d", 3),
        ("plain", 1),
        ("(?P<name>a)", 0),
        ("(?i)a", 0),
        ("(a|b)+", 0),
        ("^(a|b){2}", 0),
        ("^(a|[a-z]+z)", 0),
        ("|".join("abcdefghijklmnop"), 16),
        ("|".join("abcdefghijklmnopq"), 0),
        ("(a|b)(c|d)(e|f)(g|h)(i|j)", 0),
        ("(" * 500 + "a" + ")" * 500, 0),
        ("[[:alpha:]|x]", 0),
    ],
)
def test_alternatives(pattern: str, count: int) -> None:
    compile_pattern(pattern)
    assert len(simple_patterns(pattern)) == count


@pytest.mark.parametrize(
    "pattern",
    [
        "^[A-Z]+-[A-Z]+",
        "^[a-c]*$",
        "^\\d{4}-\\d{2}$",
        "ORD-\\d+",
        "plain",
        "^[^@]+@[^@]+$",
        "\\.csv$",
        "^a?b",
        "[a-z-]x",
    ],
)
def test_usual_patterns_are_simple(pattern: str) -> None:
    assert compile_simple(pattern) is not None


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]+z",  # a text may be read in several ways
        "^.*x",
        "^[a-z]*\\d?[a-c]",
        "[a-z]+-",  # each place is a beginning
        "a*$",
        "a{65}",
        "a|b",
        "(ab)+",
        "(?i)a",
        "é",
        "a{1000}",
        "a{,2}",
        "a+?",
        "\\bword",
        "\\D",
        "^a$b",
        "a\\$$$",
    ],
)
def test_all_others_are_left_to_re2(pattern: str) -> None:
    assert compile_simple(pattern) is None


@pytest.mark.parametrize("pattern", ["^[a-z]+\\d*[A-Z]?_$", "^[^@]+@[^@]+$", "[ab]{32}$", "^[a-z]*[0-9]*[A-Z]*-*$"])
def test_a_simple_pattern_takes_linear_time(pattern: str) -> None:
    find = compile_simple(pattern)
    assert find is not None

    def took(size: int) -> float:
        text = "a" * size + "!"
        seconds = []
        for _ in range(3):
            started = time.thread_time()
            assert find(text) is None
            seconds.append(time.thread_time() - started)
        return min(seconds)

    small = max(took(20_000), 1e-5)
    assert took(200_000) < 40 * small  # quadratic: 100 times
