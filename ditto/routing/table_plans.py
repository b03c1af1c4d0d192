"""The plan of a table: all that is worked out once for a relation, before its first change is decoded."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from ditto.decoding.messages import Relation
from ditto.routing.table_descriptions import Description


class Routes(NamedTuple):
    """For each action the route of its changes, or None where they are filtered."""

    insert: bytes | None
    update: bytes | None
    delete: bytes | None
    truncate: bytes | None
    read: bytes | None = None
    """Of the rows of snapshots; there where inserts or updates have one."""

    @property
    def names(self) -> set[str]:
        """Those of changes that there are, as text: the sink has to take them. Only a snapshot needs `read`."""
        return {route.decode() for route in self[:4] if route is not None}


class TablePlan(Struct, frozen=True, kw_only=True):
    """What the decoder does with the changes of one relation."""

    relation: Relation
    routes: Routes
    kinds: bytes
    """One kind a column (`decoding.column_kinds`)."""
    primary_key: tuple[str, ...] | None = None
    """For the events' `meta`; None where nothing asks for it."""
    schema_version: str | None = None
    """For the events' `meta`; None where nothing asks for it."""
    description: Description | None = None
    """Published before the relation's first change, unless its route has this version already."""
