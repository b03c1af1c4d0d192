"""What Debezium 3.4.3 itself makes of values, as its PostgreSQL connector wrote it with its default settings.

`tests/data/debezium-3.4.json` has it for each value of docs/events.md and for those at the bounds of types:
PostgreSQL's text, value and schema; no schema where Debezium leaves the column out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, NamedTuple


class Case(NamedTuple):
    """One value."""

    type: str
    literal: str
    text: str | None
    oid: int
    typmod: int
    namespace: str
    name: str
    value: Any
    schema: dict[str, Any] | None

    @property
    def key(self) -> tuple[str, str]:
        return self.type, self.literal


CASES: Final = [Case(**case) for case in json.loads((Path(__file__).parents[2] / "data/debezium-3.4.json").read_text())]

DIFFERENT: Final[dict[tuple[str, str], Any]] = {
    # Debezium loses these; the schemas differ with them.
    ("name", "'n'"): "n",
    ("int2vector", "'1 2'"): "1 2",
    ("oidvector", "'1 2'"): "1 2",
    ("bit(3)[]", "'{101}'"): ["BQ=="],
    ("bit[]", "'{1}'"): [True],
    ("numeric(3,-2)", "12300"): "ew==",
    # Arrays of several dimensions have no place in its schemas.
    ("int4[]", "'{{1,NULL},{3,4}}'"): None,
    ("jsonb[]", "ARRAY[ARRAY['1'], ARRAY['2']]::jsonb[]"): None,
}
OTHER_SCHEMA: Final = {
    *(key for key, value in DIFFERENT.items() if key[0] != "name" and value is not None),
    ("serial", "5"),
    ("mood[]", "'{sad,fine}'"),
    ("tsvector[]", "array['a'::tsvector]"),
}
"""Those whose schemas differ: also where Debezium reads a column's default, or does not let elements of arrays be null.
"""
LEFT_OUT: Final[dict[tuple[str, str], Any]] = {
    ("pair[]", "ARRAY[ROW(1, 'x')::pair]"): ["(1,x)"],
    ("cents[]", "'{5}'"): ["5"],
    ("interval[]", "'{1 day}'"): [86_400_000_000],
    ("varbit[]", "'{101}'"): ["BQ=="],
    ("money[]", "'{1.5}'"): ["AJY="],
    ("point[]", "array[point '(1,2)']"): [{"x": 1.0, "y": 2.0, "wkb": "AQEAAAAAAAAAAADwPwAAAAAAAABA", "srid": None}],
    ("name[]", "'{a}'"): ["a"],
    ("xid[]", "'{7}'"): ["7"],
}
"""What Ditto has for arrays that Debezium leaves out; every other such column is PostgreSQL's text."""


def expected(case: Case) -> Any:
    """Ditto's value."""
    if case.schema is None:
        return LEFT_OUT.get(case.key, case.text)
    return DIFFERENT.get(case.key, case.value) if case.key in DIFFERENT else case.value
