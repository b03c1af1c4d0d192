"""PostgreSQL's text of arrays and of hstore: https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from ditto.routing.conditions.errors import Failure

_QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
_ELEMENT: Final = {
    delimiter: re.compile(rf'(?:{_QUOTED}|([^{{}}"\\{delimiter}]+))([{delimiter}}}])', re.DOTALL)
    for delimiter in (",", ";")
}
_PAIR: Final = re.compile(rf"{_QUOTED}=>(?:NULL|{_QUOTED})(?:, (?=.)|\Z)", re.DOTALL)
_BOUNDS: Final = re.compile(r"\[-?\d+:-?\d+\]=")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def read_array(text: str, read: Callable[[str], Any], delimiter: str) -> list[Any]:
    """The elements of an array of one dimension, NULL as None; where it begins to count does not matter.

    Raises Failure for more dimensions: their type would depend on the value.
    """
    bounds = _BOUNDS.match(text)
    at = bounds.end() if bounds is not None else 0
    if text.startswith(("{{", "["), at):
        raise Failure("an array has more than one dimension")
    if text[at:] == "{}":
        return []
    items: list[Any] = []
    pattern = _ELEMENT[delimiter]
    end = delimiter if text.startswith("{", at) else "}"
    at += 1
    while end == delimiter:
        match = pattern.match(text, at)
        if match is None:
            break
        quoted, bare, end = match.groups()
        if quoted is not None:
            items.append(read(_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted))
        else:
            items.append(None if bare == "NULL" else read(bare))
        at = match.end()
    if end == delimiter or at != len(text):
        raise Failure("an array does not have PostgreSQL's form")
    return items


def read_hstore(text: str) -> dict[str, str | None]:
    """The pairs."""
    pairs: dict[str, str | None] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        if match is None:
            raise Failure("an hstore does not have its form")
        key, value = (text and _ESCAPED.sub(r"\1", text) for text in match.groups())
        pairs[key] = value
        at = match.end()
    return pairs
