"""The keys of `events.tables` and `events.topics`: names of tables, and globs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final, Generic, TypeVar

from ditto.config import Events

T = TypeVar("T")

_GLOB: Final = re.compile(r"[*?\[]")


class TablePattern:
    """A key of `events.tables` or `events.topics`: `table`, `schema.table`, or a glob of either."""

    def __init__(self, key: str) -> None:
        schema, dot, table = key.rpartition(".")
        self.key = key
        self.schema = schema if dot else None
        self.table = table
        self.is_plain = _GLOB.search(key) is None

    def matches(self, namespace: str, name: str) -> bool:
        """Whether it selects this table. Names are compared as the catalogue has them, case and all."""
        if self.is_plain:
            return self.table == name and self.schema in {None, namespace}
        return fnmatchcase(name, self.table) and (self.schema is None or fnmatchcase(namespace, self.schema))

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The higher, the more specific: plain names before globs, with a schema before without, long before short."""
        return (self.is_plain, self.schema is not None, len(_GLOB.sub("", self.key)))


def plain_tables(config: Events) -> list[tuple[str | None, str]] | None:
    """Schema and name of the tables that `events.tables` names one by one; None where it uses globs or is absent."""
    if config.tables is None:
        return None
    patterns = [TablePattern(key) for key in config.tables]
    if not all(pattern.is_plain for pattern in patterns):
        return None
    return [(pattern.schema, pattern.table) for pattern in patterns]


class Patterns(Generic[T]):
    """Finds the most specific pattern for a table."""

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._entries = sorted(
            ((TablePattern(key), value) for key, value in entries.items()),
            key=lambda entry: entry[0].rank,
            reverse=True,
        )

    def find(self, namespace: str, name: str) -> T | None:
        """The value of the best match, or None."""
        for pattern, value in self._entries:
            if pattern.matches(namespace, name):
                return value
        return None
