"""What the configuration selects, against what the publication sends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ditto.config import ACTIONS, Events
from ditto.errors import TableNotPublished
from ditto.routing.publication_coverage import Coverage
from ditto.source.published_tables import Publication, Table, Tables

A, B, VIEW = ("public", "a"), ("public", "b"), ("public", "v")
ROOT, LEAF, OTHER_LEAF = ("public", "root"), ("public", "leaf"), ("public", "leaf2")


def tables(*plain: Table, roots: tuple[Table, ...] = (), unfit: dict[Table, str] | None = None) -> Tables:
    leaves = [table for table in plain if table[1].startswith("leaf")] if roots else []
    return Tables(
        plain=list(plain), roots=list(roots), ancestors={leaf: list(roots) for leaf in leaves}, unfit=unfit or {}
    )


def publication(*published: Table, actions: tuple[str, ...] = ACTIONS, **options: Any) -> Publication:
    is_via_root = options.pop("is_via_root", False)
    return Publication(
        name="p",
        exists=True,
        is_open=False,
        is_via_root=is_via_root,
        actions=frozenset(actions),
        tables=list(published),
        **options,
    )


def coverage(*names: str, actions: tuple[Any, ...] = ("insert",)) -> Coverage:
    return Coverage(Events(tables={name: list(actions) for name in names}))


def refusal(selection: Coverage, sent: Publication, there: Tables) -> TableNotPublished:
    with pytest.raises(TableNotPublished) as caught:
        selection.check_named(sent, there)
    return caught.value


def test_what_is_published_is_covered() -> None:
    coverage("public.a", "b").check_named(publication(A, B), tables(A, B))


def test_without_a_selection_everything_is_covered() -> None:
    everything = Coverage(Events())
    assert everything.names == []
    everything.check_named(publication(), tables(A))
    assert everything.missing_actions(publication(A)) == []


def test_a_table_that_is_named_and_not_published() -> None:
    error = refusal(coverage("public.a", "public.b"), publication(A), tables(A, B))
    assert "names public.b, and publication p does not have it" in error.message
    assert error.hint is not None
    assert 'ALTER PUBLICATION "p" ADD TABLE "public"."b"' in error.hint


def test_a_table_that_does_not_exist_yet_may_come_later() -> None:
    coverage("public.later").check_named(publication(A), tables(A))


def test_a_name_without_a_schema_needs_one_of_its_tables() -> None:
    elsewhere = ("other", "a")
    coverage("a").check_named(publication(A), tables(A, elsewhere))
    error = refusal(coverage("a"), publication(B), tables(A, elsewhere))
    assert "public.a, other.a" in error.message
    assert "other.a" in refusal(coverage("other.a"), publication(A), tables(A, elsewhere)).message


def test_globs_are_reported_and_do_not_refuse() -> None:
    selection, there = coverage("public.*"), tables(A, B)
    selection.check_named(publication(A), there)
    (shortfall,) = selection.shortfalls(publication(A), there)
    assert shortfall.statements == ['ALTER PUBLICATION "p" ADD TABLE "public"."b";']


def test_a_table_without_actions_is_not_selected() -> None:
    selection = coverage("public.a", actions=())
    assert not selection.selects(A)
    assert selection.names == []
    selection.check_named(publication(), tables(A))


def test_what_postgresql_never_sends() -> None:
    error = refusal(coverage("public.v"), publication(A), tables(A, unfit={VIEW: "a view"}))
    assert "public.v, which is a view" in error.message


def test_a_root_whose_rows_come_under_the_names_of_its_partitions() -> None:
    there = tables(LEAF, roots=(ROOT,))
    (shortfall,) = coverage("public.root").shortfalls(publication(LEAF, members=frozenset({ROOT})), there)
    assert shortfall.statements == ['ALTER PUBLICATION "p" SET (publish_via_partition_root = true);']
    (shortfall,) = coverage("public.root").shortfalls(publication(LEAF), there)
    assert shortfall.statements == [
        'ALTER PUBLICATION "p" ADD TABLE "public"."root";',
        'ALTER PUBLICATION "p" SET (publish_via_partition_root = true);',
    ]


def test_a_root_all_of_whose_partitions_are_selected_too() -> None:
    there, sent = tables(LEAF, OTHER_LEAF, roots=(ROOT,)), publication(LEAF, OTHER_LEAF)
    assert coverage("public.root", "public.leaf", "public.leaf2").shortfalls(sent, there) == []
    assert coverage("public.root", "public.leaf").shortfalls(sent, there) != []


def test_a_partition_whose_rows_come_under_the_name_of_its_root() -> None:
    there, sent = tables(LEAF, roots=(ROOT,)), publication(ROOT, is_via_root=True)
    error = refusal(coverage("public.leaf"), sent, there)
    assert "under the name of the partitioned table public.root" in error.message
    coverage("public.leaf", "public.root").check_named(sent, there)


def test_what_comes_under_another_name_has_to_have_the_same_rules() -> None:
    there, hidden = tables(LEAF, roots=(ROOT,)), {"columns": {"exclude": ["note"]}}
    by_leaf, by_root = publication(LEAF), publication(ROOT, is_via_root=True)

    def ruled(**entries: Any) -> Coverage:
        return Coverage(msgspec.convert({"tables": {**entries, "*": {}}}, Events))

    assert "names the partitioned table public.root" in refusal(ruled(root=hidden), by_leaf, there).message
    assert "names public.leaf, whose" in refusal(ruled(leaf=hidden), by_root, there).message
    for sent in (by_leaf, by_root):
        ruled(root=hidden, leaf={**hidden, "actions": ["insert"]}).check_named(sent, there)
        ruled(root=["insert"]).check_named(sent, there)


def test_postgresql_14_lists_a_partition_beside_its_root() -> None:
    there, sent = tables(LEAF, roots=(ROOT,)), publication(LEAF, ROOT, is_via_root=True)
    assert "under the name of the partitioned table" in refusal(coverage("public.leaf"), sent, there).message


def test_actions_that_are_selected_and_not_published() -> None:
    sent = publication(A, actions=("insert", "update"))
    error = refusal(coverage("public.a", actions=("insert", "delete")), sent, tables(A))
    assert "selects delete of public.a, and publication p does not publish delete" in error.message
    assert error.hint is not None
    assert "SET (publish = 'insert, update, delete')" in error.hint
    coverage("public.*", actions=("delete",)).check_named(sent, tables(A))  # a glob does not refuse
    (shortfall,) = coverage("public.*", actions=("delete",)).missing_actions(sent)
    assert "delete" in shortfall.what
    (shortfall,) = Coverage(Events()).missing_actions(sent)
    assert "delete, truncate" in shortfall.what
