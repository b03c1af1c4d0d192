"""The plan of a table: all that is worked out once for a relation, before its first change is decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from msgspec import Struct, UnsetType

from ditto.decoding.messages import Relation
from ditto.routing.table_descriptions import Description

if TYPE_CHECKING:
    from ditto.decoding._row_rules import RowRule

Texts: TypeAlias = list[str | UnsetType | None]
"""PostgreSQL's text of some columns of a row: None for NULL, UNSET where the value was not sent."""


class Routed(NamedTuple):
    """Where one change goes, where that depends on its row."""

    route: bytes
    headers: bytes = b""
    """Whole header lines, each ended by CR LF; nothing in them may end a line."""
    key: bytes | None = None
    """Of the message, for sinks that have such a thing."""


MessageRule: TypeAlias = Callable[[str, bytes, bool], Routed | None]
"""Prefix and content of a logical message, and whether it is part of a transaction, in; None out where it is no event.
Raises RuleFailed. Ditto's own messages do not come here."""


class Routes(NamedTuple):
    """For each action the route of its changes, or None where they are filtered.

    A table's rule may give each change a route of its own; what covers all of these is here, or nothing (empty).
    """

    insert: bytes | None
    update: bytes | None
    delete: bytes | None
    truncate: bytes | None
    read: bytes | None = None
    """Of the rows of snapshots; there where inserts or updates have one."""

    @property
    def names(self) -> set[str]:
        """Those of changes that there are, as text: the sink has to take them. Only a snapshot needs `read`."""
        return {route.decode() for route in self[:4] if route}


class Rule(Struct, frozen=True, kw_only=True):
    """What decides about a change before any of its values is converted."""

    columns: tuple[int, ...]
    """Indexes of the columns whose text `apply` gets."""
    apply: Callable[[str, Texts | None, Texts | None], Routed | None]
    """Action, new and old row (None where there is none; of an old key the other columns are UNSET) in; None out where
    the change is dropped. Raises ChangeRefused.
    A plain tuple of the three things is as good as a Routed, and made in a tenth of the time."""
    skips_unchanged: bool = False
    """An UPDATE with the whole old row is dropped where no column of the event has another text."""
    row_rule: RowRule | None = None
    """Says what `apply` says, without texts, of rows that are as usual; for the compiled decoder."""


class TablePlan(Struct, frozen=True, kw_only=True):
    """What the decoder does with the changes of one relation."""

    relation: Relation
    routes: Routes
    kinds: bytes
    """One kind a column (`decoding.column_kinds`); columns of kind SKIP are no part of events."""
    primary_key: tuple[str, ...] | None = None
    """For the events' `meta`; None where nothing asks for it."""
    schema_version: str | None = None
    """For the events' `meta`; None where nothing asks for it."""
    description: Description | None = None
    """Published before the relation's first change, unless its route has this version already."""
    functions: tuple[Callable[[str | None], Any] | None, ...] = ()
    """One a column: what makes the value of a column of kind CALL; empty where there is no such column."""
    rule: Rule | None = None
    """None: nothing but the action decides."""
    layout: Any = None
    """What the format of the table's events has worked out for the relation (`formats.base.Layout`); the decoder hands
    it on with each change. None for Ditto's own format."""
