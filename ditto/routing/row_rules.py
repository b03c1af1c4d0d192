"""A table's rule for the compiled decoder: the test of its condition, and templates that are filled from the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from ditto.decoding._row_rules import RowRule, Template
from ditto.decoding._row_tests import RowTest
from ditto.routing.templates import Bound

_ALL: Final = b"\1" * 128
"""Characters of a key."""


def row_rule(
    test: RowTest | None,
    columns: Sequence[int],
    *,
    routes: Mapping[str, Bound] | None,
    headers: Mapping[str, Bound],
    key: tuple[int, int] | None,
    indexes: Mapping[str, int],
) -> RowRule | None:
    """The rule; None where it would know nothing.

    `columns` are all that are read; routes and headers are given by action, or no routes where only the function makes
    them; the key is a column and the length that its text may have. `indexes` are the columns that events show as they
    are, by name.
    """
    route = None if routes is None else _template(routes, indexes)
    lines = _template(headers, indexes)
    if route is None or lines is None:
        return None if test is None else RowRule(columns, test, None, None, None)
    made = Template(dict.fromkeys(headers, (b"", b"")), [(*key, _ALL)]) if key is not None else None
    return RowRule(columns, test, route, lines, made)


def _template(bound: Mapping[str, Bound], indexes: Mapping[str, int]) -> Template | None:
    """None where a value is written in another way than PostgreSQL's."""
    slots = next((each.slots for each in bound.values()), ())
    if not all(slot.kept and slot.column in indexes for slot in slots):
        return None
    literals = {action: each.literals for action, each in bound.items()}
    return Template(literals, [(indexes[slot.column], slot.limit, slot.kept) for slot in slots])
