"""Columns that were renamed: rules have their new names, and relations of before the renaming their former ones.

PostgreSQL sends each change with the names that its columns had then, and the catalogue has those of now: rules have to
fit both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec.structs import replace

from ditto.decoding.messages import Relation

Former = Mapping[str, Sequence[str]]
"""By column, the names that it had before."""


def with_new_names(relation: Relation, former: Former) -> Relation:
    """The relation as rules see it: a column has the new name where that alone is missing.

    Where several former names are there, nothing tells which of them is the column's: the new name stays missing.
    """
    names = {column.name for column in relation.columns}
    new = {
        found[0]: name
        for name, before in former.items()
        if name not in names and len(found := [each for each in before if each in names]) == 1
    }
    if not new:
        return relation
    columns = tuple(replace(column, name=new.get(column.name, column.name)) for column in relation.columns)
    return replace(relation, columns=columns)


def all_names(wanted: Collection[str], former: Former, relation: Relation) -> dict[str, str]:
    """The relation's columns that have these names or a former one of them, with the name in `wanted`.

    Both may be there: in relations of before the renaming another column may have had the new name.
    """
    names = {column.name for column in relation.columns}
    return {each: name for name in wanted for each in (name, *former.get(name, ())) if each in names}
