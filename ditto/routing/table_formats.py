"""Which format the events of a table have, and what that format makes of its relation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec

from ditto.config import Events, Types
from ditto.config.events import TableRules
from ditto.decoding.messages import Column, Relation
from ditto.formats.base import Layout
from ditto.formats.choose import TableFormats, types_of
from ditto.routing.table_columns import TableColumns
from ditto.source.type_facts import FIRST_OWN_OID, TypeFacts

FindTypes = Callable[[Collection[int]], Awaitable[Mapping[int, TypeFacts]]]
"""Looks up types by OID."""

Functions = tuple[Callable[[str | None], Any] | None, ...]


class TablesFormats:
    """The formats of one session's tables. `find_types` is asked where a format has to know more of a column's type."""

    def __init__(self, events: Events, formats: TableFormats, *, find_types: FindTypes) -> None:
        self._events = events
        self._formats = formats
        self._find_types = find_types

    def types(self, rules: TableRules | None) -> Types:
        """How values become JSON, in a table with these rules."""
        return types_of(self._name(rules), self._events.types)

    def _name(self, rules: TableRules | None) -> str:
        return self._events.format if rules is None or rules.format is None else rules.format

    async def layout(
        self, relation: Relation, usual: bytes, columns: TableColumns, rules: TableRules | None
    ) -> Layout | None:
        """What the table's format makes of the relation; None for Ditto's own.

        `usual` are the kinds of its columns by `types`.
        """
        table_format = self._formats.find(self._name(rules))
        if table_format is None:
            return None
        labels: dict[int, tuple[str, ...]] = {}
        if table_format.needs_types:
            relation, labels = await self._with_types(relation)
        return table_format.layout(
            relation,
            usual,
            skipped=_indexes(relation, columns.excluded),
            masked=_indexes(relation, columns.masks),
            labels=labels,
        )

    async def _with_types(self, relation: Relation) -> tuple[Relation, dict[int, tuple[str, ...]]]:
        """The relation with the modifiers that its columns have by their domains, and the labels of its enums."""
        oids = {column.type_oid for column in relation.columns if column.type_oid >= FIRST_OWN_OID}
        if not oids:
            return relation, {}
        facts = await self._find_types(oids)
        labels = {oid: each.labels for oid, each in facts.items() if each.labels is not None}
        columns = tuple(_with_modifier(column, facts.get(column.type_oid)) for column in relation.columns)
        return msgspec.structs.replace(relation, columns=columns), labels


def merged(masks: Functions, own: Functions) -> Functions:
    """The functions of a plan: a mask comes before what the format would make of the value."""
    if not masks or not any(own):
        return masks or (own if any(own) else ())
    return tuple(mask or function for mask, function in zip(masks, own, strict=True))


def _with_modifier(column: Column, facts: TypeFacts | None) -> Column:
    if facts is None or facts.typmod == -1 or column.typmod != -1:
        return column
    return msgspec.structs.replace(column, typmod=facts.typmod)


def _indexes(relation: Relation, names: Collection[str]) -> frozenset[int]:
    return frozenset(index for index, column in enumerate(relation.columns) if column.name in names)
