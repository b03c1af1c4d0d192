"""Which tables a request for a snapshot names, against what is published and selected. Pure."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from ditto.config import Events
from ditto.errors import ConfigError, SourceError, TableNotPublished
from ditto.hints import identifier
from ditto.routing.patterns import Patterns, TablePattern
from ditto.source.published_tables import Publication, Table, Tables

_WITH_ROWS: Final = frozenset({"insert", "update"})


class Selection:
    """The tables that can be read: published, and selected by `events.tables` with insert or update."""

    def __init__(self, events: Events, publication: Publication, tables: Tables) -> None:
        self._selected: Patterns[Sequence[str]] | None = (
            None if events.selection is None else Patterns(events.selection)
        )
        self._outbox = None if events.outbox is None else events.outbox.name
        self._publication = publication
        self._tables = tables
        published = publication.tables
        if publication.is_via_root:  # PostgreSQL 14 lists a partition beside its root where the publication has both
            published = [each for each in published if not self._roots(each)]
        self.tables = [each for each in published if self._is_selected(each)]

    def names(self, given: Sequence[str]) -> list[str]:
        """The names as the request carries them: those of the partitions for a partitioned table that is read by them.

        Raises ConfigError and TableNotPublished for a name that no table has which can be read.
        """
        found: list[str] = []
        for key in given:
            pattern = TablePattern(key)
            if any(pattern.matches(*table) for table in self.tables):
                found.append(key)
                continue
            leaves = [
                leaf for root in self._matching(pattern, self._tables.roots) for leaf in self._tables.leaves(root)
            ]
            if readable := [".".join(map(glob.escape, leaf)) for leaf in leaves if leaf in self.tables]:
                found += readable
                continue
            raise self._error(pattern)
        return list(dict.fromkeys(found))

    def read_by(self, names: Sequence[str]) -> list[Table]:
        """The tables that a request with these names reads; without any all."""
        patterns = [TablePattern(name) for name in names]
        return [each for each in self.tables if not names or any(pattern.matches(*each) for pattern in patterns)]

    def _is_selected(self, table: Table) -> bool:
        return (
            self._selected is None
            or table == self._outbox
            or not _WITH_ROWS.isdisjoint(self._selected.find(*table) or ())
        )

    def _roots(self, table: Table) -> list[Table]:
        """The partitioned tables under whose names the rows of a partition come."""
        if not self._publication.is_via_root:
            return []
        return [root for root in self._tables.ancestors.get(table, ()) if root in self._publication.tables]

    @staticmethod
    def _matching(pattern: TablePattern, tables: Sequence[Table]) -> list[Table]:
        return [table for table in tables if pattern.matches(*table)]

    def _error(self, pattern: TablePattern) -> ConfigError | SourceError:
        key = pattern.key
        if unfit := self._matching(pattern, list(self._tables.unfit)):
            name = ".".join(unfit[0])
            return ConfigError(
                f"{name} is {self._tables.unfit[unfit[0]]}: PostgreSQL sends no changes of it, "
                "and Ditto reads what it follows",
                hint="name an ordinary table; an unlogged one can be made ordinary: ALTER TABLE … SET LOGGED",
            )
        there = self._matching(pattern, self._tables.all)
        if not there:
            return self._unknown(pattern)
        table, name = there[0], ".".join(there[0])
        if roots := self._roots(table):
            root = ".".join(roots[0])
            return ConfigError(f"the rows of {name} come under the name of {root}", hint=f"give --table {root}")
        if table in self._publication.tables:
            return ConfigError(
                f"events.tables does not select insert or update of {name}: no event could carry its rows",
                hint="add it to events.tables, and ditto reload" + self._could_be_read(),
            )
        if table in self._tables.roots and any(leaf in self._publication.tables for leaf in self._tables.leaves(table)):
            return ConfigError(
                f"the rows of {name} come under the names of its partitions, and events.tables selects none of them",
                hint="add the partitions to events.tables, and ditto reload" + self._could_be_read(),
            )
        publication = self._publication.name
        return TableNotPublished(
            f"{key if pattern.is_plain else name} is not in publication {publication}",
            hint=f"ALTER PUBLICATION {identifier(publication)} ADD TABLE {identifier(*table)}; a Ditto that runs takes "
            "it from there" + self._could_be_read(),
        )

    def _unknown(self, pattern: TablePattern) -> ConfigError:
        key = pattern.key
        if not pattern.is_plain:
            return ConfigError(f"no table matches {key}", hint="quote a glob, so that the shell leaves it alone")
        known = self._tables.all
        names = [".".join(table) if pattern.schema is not None else table[1] for table in known]
        near = get_close_matches(key, names, n=1) or get_close_matches(pattern.table, [name for _, name in known], n=1)
        return ConfigError(
            f"there is no table {key}" + (f": did you mean {near[0]}?" if near else ""),
            hint=None if near else "a name without a schema stands for that table in every schema",
        )

    def _could_be_read(self) -> str:
        """The end of a hint."""
        return "" if self.tables else "; no table can be read at the moment"
