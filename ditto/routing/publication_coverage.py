"""What the configuration selects, against what the publication sends. Pure.

A partition's rows come under its own name, or under that of a partitioned table above it, as the publication says;
`events.tables` has to select the name under which they come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ditto.config import ACTIONS, Events
from ditto.config.events import TableRules
from ditto.errors import TableNotPublished
from ditto.hints import identifier
from ditto.routing.outbox_coverage import check_outbox_published
from ditto.routing.patterns import Patterns, TablePattern
from ditto.source.published_tables import Publication, Table, Tables

_SHOWN: Final = 10
_RELOAD: Final = "then start again, and reload the consumers of what changed there meanwhile"


class Shortfall(Struct, frozen=True, kw_only=True):
    """Something that the configuration selects, and that does not come."""

    what: str
    """Completes "events.tables …"."""
    advice: str
    """What fixes it, in words, for an error's hint."""
    statements: list[str]
    """The statements for psql that fix it; none where it is the configuration that has to change."""


class Coverage:
    """The selection of `events.tables`, and the outbox."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._patterns = {
            TablePattern(key, may_be_regex=True): list(actions) for key, actions in (events.selection or {}).items()
        }
        self._rules: Patterns[TableRules] = Patterns(events.rules)
        # Without a list of actions an entry selects those that there are.
        self._listing = {key for key, rules in events.rules.items() if rules.actions is not None}

    @property
    def names(self) -> list[str]:
        """The names of the tables that it names one by one."""
        outbox = [] if self._events.outbox is None else [self._events.outbox.name[1]]
        return [pattern.table for pattern, actions in self._patterns.items() if pattern.is_plain and actions] + outbox

    def check_named(self, publication: Publication, tables: Tables) -> None:
        """Raise TableNotPublished where something does not come that is selected by a table's own name.

        A name without a schema stands for that table in any schema: one of them is enough. What does not exist yet may
        come later.
        """
        check_outbox_published(self._events, publication, tables)
        wanted: list[Table] = []
        for pattern, actions in self._patterns.items():
            if not pattern.is_plain or not actions:
                continue
            found = [table for table in [*tables.all, *tables.unfit] if pattern.matches(*table)]
            short = [table for table in found if self._shortfalls([table], publication, tables)]
            if len(short) == len(found) or pattern.schema is not None:
                wanted += short
        found_short = self._shortfalls(wanted, publication, tables) + self._missing_actions(
            publication, only_plain=True
        )
        if found_short:
            raise TableNotPublished(
                "; ".join(f"events.tables {each.what}" for each in found_short),
                hint="; ".join(dict.fromkeys(each.advice for each in found_short)),
            )

    def shortfalls(self, publication: Publication, tables: Tables) -> list[Shortfall]:
        """Of all tables that are selected, by name or by a glob."""
        return self._shortfalls([table for table in tables.all if self.selects(table)], publication, tables)

    def missing_actions(self, publication: Publication) -> list[Shortfall]:
        """Actions that are selected, and never sent."""
        if not self._patterns:
            missing = [action for action in ACTIONS if action not in publication.actions]
            return [_actions("is not set, so that every action is wanted", missing, publication)] if missing else []
        return self._missing_actions(publication, only_plain=False)

    def selects(self, table: Table) -> bool:
        """Whether any of its actions becomes an event."""
        return any(actions and pattern.matches(*table) for pattern, actions in self._patterns.items())

    def _stands_for(self, other: Table, table: Table) -> bool:
        """Whether what comes under the other name is selected, too, and nothing less is hidden of it."""
        return self.selects(other) and self._shape(other) == self._shape(table)

    def _shape(self, table: Table) -> TableRules:
        """All that its entry says beside the actions."""
        return replace(self._rules.find(*table) or TableRules(), actions=None)

    def _shortfalls(self, wanted: Iterable[Table], publication: Publication, tables: Tables) -> list[Shortfall]:
        unfit, absent, below, above = [], [], [], dict[Table, list[Table]]()
        published = set(publication.tables)
        for table in wanted:
            shown_as = [root for root in tables.ancestors.get(table, ()) if root in published]
            # PostgreSQL 14 lists a partition beside its root where the publication has both.
            if table in published and not (shown_as and publication.is_via_root):
                continue
            if table in tables.unfit:
                unfit.append(table)
            elif shown_as:
                if not any(self._stands_for(root, table) for root in shown_as):
                    above.setdefault(shown_as[0], []).append(table)
            elif table not in tables.roots:
                absent.append(table)
            elif not self._has_all_leaves(table, published, tables):
                below.append(table)
        found = []
        if absent:
            found.append(
                Shortfall(
                    what=f"names {_listed(absent)}, and publication {publication.name} does not have "
                    f"{'it' if len(absent) == 1 else 'them'}",
                    advice=f"{_add(publication, absent)}; {_RELOAD}; or take what is not wanted out of events.tables",
                    statements=[f"{_add(publication, absent)};"],
                )
            )
        if below:
            found.append(_via_root(below, publication))
        for root, leaves in above.items():
            found.append(
                Shortfall(
                    what=f"names {_listed(leaves)}, whose changes publication {publication.name} sends under the name "
                    f"of the partitioned table {'.'.join(root)}",
                    advice=f"name {'.'.join(root)} in events.tables, with the same rules; {_RELOAD}; or have it send "
                    f"the names of the partitions: ALTER PUBLICATION {identifier(publication.name)} "
                    "SET (publish_via_partition_root = false)",
                    statements=[],
                )
            )
        found += [
            Shortfall(
                what=f"names {'.'.join(table)}, which is {tables.unfit[table]}: PostgreSQL sends no changes of it",
                advice="take it out of events.tables; an unlogged table can be made an ordinary one: ALTER TABLE … "
                "SET LOGGED",
                statements=[],
            )
            for table in unfit
        ]
        return found

    def _has_all_leaves(self, root: Table, published: set[Table], tables: Tables) -> bool:
        """Whether all rows come under the names of partitions that are selected, too, by the same rules."""
        leaves = tables.leaves(root)
        if not leaves:  # those that are still to be made would not be selected by a plain name
            return not any(pattern.is_plain and pattern.matches(*root) for pattern in self._patterns)
        return all(leaf in published and self._stands_for(leaf, root) for leaf in leaves)

    def _missing_actions(self, publication: Publication, *, only_plain: bool) -> list[Shortfall]:
        by_actions: dict[tuple[str, ...], list[str]] = {}
        for pattern, actions in self._patterns.items():
            missing = tuple(action for action in ACTIONS if action in actions and action not in publication.actions)
            if missing and pattern.key in self._listing and (pattern.is_plain or not only_plain):
                by_actions.setdefault(missing, []).append(pattern.key)
        return [
            _actions(f"selects {', '.join(missing)} of {_some(keys)}", list(missing), publication)
            for missing, keys in by_actions.items()
        ]


def _via_root(roots: list[Table], publication: Publication) -> Shortfall:
    statements = []
    if missing := [table for table in roots if table not in publication.members]:
        statements.append(_add(publication, missing))
    if not publication.is_via_root:
        statements.append(f"ALTER PUBLICATION {identifier(publication.name)} SET (publish_via_partition_root = true)")
    return Shortfall(
        what=f"names the partitioned {'tables' if len(roots) > 1 else 'table'} {_listed(roots)}, and publication "
        f"{publication.name} does not send changes under {'these names' if len(roots) > 1 else 'this name'}",
        advice=f"{'; '.join(statements)}; {_RELOAD}. Or name all partitions in events.tables, with its rules",
        statements=[f"{statement};" for statement in statements],
    )


def _actions(what: str, missing: list[str], publication: Publication) -> Shortfall:
    wanted = ", ".join(action for action in ACTIONS if action in publication.actions or action in missing)
    statement = f"ALTER PUBLICATION {identifier(publication.name)} SET (publish = '{wanted}')"
    return Shortfall(
        what=f"{what}, and publication {publication.name} does not publish {', '.join(missing)}",
        advice=f"{statement}; {_RELOAD}; or take these actions out of events.tables",
        statements=[f"{statement};"],
    )


def _add(publication: Publication, tables: list[Table]) -> str:
    listed = ", ".join(identifier(*table) for table in tables)
    return f"ALTER PUBLICATION {identifier(publication.name)} ADD TABLE {listed}"


def _listed(tables: list[Table]) -> str:
    return _some([".".join(table) for table in tables])


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
