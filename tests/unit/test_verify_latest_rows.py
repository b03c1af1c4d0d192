"""Copies of tables with a condition: the last event of a key says what the row is."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ditto.config import TableRules
from ditto.decoding.messages import Column, Relation
from ditto.formats.stored_events import StoredEvent
from ditto.routing.conditions import columns_of, compile_condition
from ditto.verify.latest_rows import LatestRows
from ditto.verify.ruled_tables import _row_condition

RELATION = Relation(1, "public", "t", "f", (Column("id", 23, -1, True), Column("state", 25, -1, True)))


def event(action: str, data: Any = None, old: Any = None, *, unchanged: tuple[str, ...] = ()) -> StoredEvent:
    new_row, old_row = (msgspec.Raw(json.dumps(each or {}).encode()) for each in (data, old))
    return StoredEvent("public", "t", action, new_row, old_row, "2026-11-25T12:00:00Z", unchanged=unchanged)


def rows(*events: StoredEvent) -> list[Any]:
    copy = LatestRows(["id"])
    for lsn, each in enumerate(events, 1):
        copy.apply(each, lsn, "")
    assert copy.faults == []
    return sorted((json.loads(each.row) for each in copy.rows()), key=lambda row: int(row["id"]))


def test_no_event_contradicts_an_earlier_one() -> None:
    one, other = {"id": 1, "v": "a"}, {"id": 1, "v": "b"}
    assert rows(event("INSERT", one), event("INSERT", other)) == [other]
    assert rows(event("UPDATE", one)) == [one]
    assert rows(event("DELETE", None, one)) == []
    assert rows(event("INSERT", one), event("DELETE", None, {"id": 1})) == []
    assert rows(event("INSERT", one), event("READ", other)) == [other]
    assert rows(event("INSERT", one), event("TRUNCATE"), event("INSERT", {"id": 2})) == [{"id": 2}]


def test_a_key_that_changes_takes_the_row_along() -> None:
    moved = event("UPDATE", {"id": 2, "v": "a"}, {"id": 1, "v": "a"})
    assert rows(event("INSERT", {"id": 1, "v": "a"}), event("INSERT", {"id": 2}), moved) == [{"id": 2, "v": "a"}]


def test_of_a_column_that_was_not_sent_nothing_is_known() -> None:
    updated = event("UPDATE", {"id": 1, "v": "b"}, unchanged=("big",))
    assert rows(event("INSERT", {"id": 1, "v": "a", "big": "x"}), updated) == [{"id": 1, "v": "b"}]


@pytest.mark.parametrize(
    ("text", "is_of_rows"),
    [
        ("row.state == 'paid'", True),
        ("data.state == 'paid' && data.id > 3", True),
        ("action == 'DELETE' || row.state == 'paid'", True),
        ("schema == 'public'", True),
        ("dataOld.state == 'paid'", False),
        ("action != 'UPDATE' || changed('state')", False),
        ("has(data.state) && data.state == 'paid'", False),
        ("data.state == 'paid' && (data.id > 3 || dataOld.id == 1)", False),
    ],
)
def test_which_conditions_rows_alone_fulfil(text: str, *, is_of_rows: bool) -> None:
    compiled = compile_condition(text, columns_of(RELATION), schema="public", table="t", identity="f")
    assert compiled.is_of_rows == is_of_rows
    assert (_row_condition(TableRules(when=text), RELATION) is not None) == is_of_rows


def test_rows_that_fulfil_it_whatever_the_change() -> None:
    condition = _row_condition(TableRules(when="action == 'INSERT' || row.state == 'paid'"), RELATION)
    assert condition is not None
    assert condition.columns == ("state",)
    assert condition.is_fulfilled(["paid"])
    assert not condition.is_fulfilled(["draft"]), "an UPDATE may have made it so"
    failing = _row_condition(TableRules(when="row.state.size() > 1"), RELATION)
    assert failing is not None
    assert not failing.is_fulfilled([None])


def test_what_else_may_drop_a_change_makes_it_unjudged() -> None:
    for rules in (TableRules(when="row.id > 1", on_error="drop"), TableRules(when="row.id > 1", skip_unchanged=True)):
        assert _row_condition(rules, RELATION) is None
