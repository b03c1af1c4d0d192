"""The names of a request for a snapshot, against what is published and selected."""

from __future__ import annotations

from typing import Any

import pytest

from ditto.config import Events
from ditto.errors import ConfigError, SourceError
from ditto.routing.snapshot_selection import Selection
from ditto.source.published_tables import Publication, Table, Tables

A, B, OTHER = ("public", "trades"), ("public", "accounts"), ("audit", "trades")
ROOT, LEAF, SECOND = ("public", "events"), ("public", "events_1"), ("public", "events_2")
TABLES = Tables(
    plain=[A, B, OTHER, LEAF, SECOND, ("public", "left_out"), ("public", "odd*name")],
    roots=[ROOT],
    ancestors={LEAF: [ROOT], SECOND: [ROOT]},
    unfit={("public", "a_view"): "a view"},
)


def selection(*published: Table, is_via_root: bool = False, events: dict[str, Any] | None = None) -> Selection:
    publication = Publication(
        name="shop",
        exists=True,
        is_open=False,
        is_via_root=is_via_root,
        actions=frozenset({"insert", "update", "delete", "truncate"}),
        tables=list(published),
    )
    tables: dict[str, Any] | None = (
        None if events is None else {name: list(actions) for name, actions in events.items()}
    )
    return Selection(Events(tables=tables), publication, TABLES)


def test_names_stay_as_they_are_given() -> None:
    found = selection(A, B, OTHER)
    assert found.names(["trades", "public.a*", "trades"]) == ["trades", "public.a*"]
    assert found.read_by(["trades"]) == [A, OTHER]
    assert found.read_by(["public.trades"]) == [A]
    assert found.read_by([]) == [A, B, OTHER]


def test_a_partitioned_table_is_read_by_the_names_under_which_its_rows_come() -> None:
    assert selection(ROOT, is_via_root=True).names(["events"]) == ["events"]
    by_leaf = selection(LEAF, SECOND)
    assert by_leaf.names(["events"]) == ["public.events_1", "public.events_2"]
    assert by_leaf.read_by(by_leaf.names(["events"])) == [LEAF, SECOND]
    # PostgreSQL 14 lists both.
    both = selection(ROOT, LEAF, is_via_root=True)
    assert both.read_by([]) == [ROOT]
    with pytest.raises(ConfigError, match=r"under the name of public\.events$"):
        both.names(["events_1"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("trade", r"there is no table trade: did you mean trades\?"),
        ("public.acounts", r"did you mean public\.accounts\?"),
        ("zzz", "there is no table zzz$"),
        ("zz*", r"no table matches zz\*"),
        ("a_view", r"public\.a_view is a view"),
        ("left_out", "left_out is not in publication shop"),
        ("events", r"^events is not in publication shop"),
    ],
)
def test_a_name_that_cannot_be_read(name: str, says: str) -> None:
    with pytest.raises((ConfigError, SourceError), match=says) as raised:
        selection(A, B).names([name])
    assert raised.value.hint or "did you mean" in raised.value.message


def test_what_events_tables_does_not_select() -> None:
    found = selection(A, B, LEAF, events={"public.trades": ["update"], "accounts": ["delete", "truncate"]})
    assert found.tables == [A]
    with pytest.raises(ConfigError, match=r"events\.tables does not select insert or update of public\.accounts"):
        found.names(["accounts"])
    with pytest.raises(ConfigError, match="under the names of its partitions"):
        found.names(["events"])


def test_names_with_glob_characters_stay_names() -> None:
    tables = Tables(
        plain=[("public", "p*1"), ("public", "px1")], roots=[ROOT], ancestors={("public", "p*1"): [ROOT]}, unfit={}
    )
    publication = Publication(
        name="p", exists=True, is_open=False, is_via_root=False, actions=frozenset(), tables=list(tables.plain)
    )
    found = Selection(Events(), publication, tables)
    assert found.read_by(found.names(["events"])) == [("public", "p*1")]
