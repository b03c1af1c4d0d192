"""What steers a terminal, or forges a line, is made visible."""

from __future__ import annotations

import json

import pytest

from ditto.printable_text import indented, printable, printable_json, printable_lines

HOSTILE = "a\x1b[2J\u009b\u202e\r\nb\x00\U000e0001"


def test_one_line_without_what_steers_a_terminal() -> None:
    assert printable(HOSTILE) == r"a\x1b[2J\x9b\u202e\x0d\x0ab\x00\U000e0001"
    assert printable("Zürich 東京 é") == "Zürich 東京 é"


def test_line_ends_stay_where_they_are_meant() -> None:
    assert printable_lines("a\n\x1bb") == "a\n\\x1bb"
    assert indented(" a\nditto: error: b\n") == "a\n    ditto: error: b"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_stays_the_same_json(indent: int | None) -> None:
    document = json.dumps({"name": HOSTILE}, ensure_ascii=False, indent=indent)
    shown = printable_json(document)
    assert json.loads(shown) == {"name": HOSTILE}
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
