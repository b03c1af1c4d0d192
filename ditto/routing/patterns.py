"""The keys of `events.tables` and `events.topics`: names of tables, globs and regular expressions."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Final, Generic, TypeVar

from ditto.config import Events
from ditto.config.table_rules import REGEX

T = TypeVar("T")

_GLOB: Final = re.compile(r"[*?\[]")


class TablePattern:
    """A name of tables: `table`, `schema.table`, or a glob of either.

    Of the configuration, which is trusted, it may also be `re:` and a regular expression: those of a request for a
    snapshot could take for ever.
    """

    def __init__(self, key: str, *, may_be_regex: bool = False) -> None:
        self.key = key
        is_regex = may_be_regex and key.startswith(REGEX)
        self._regex = re.compile(key.removeprefix(REGEX)) if is_regex else None
        schema, dot, table = ("", "", "") if self._regex else key.rpartition(".")
        self.schema = schema if dot else None
        self.table = table
        self.is_plain = self._regex is None and _GLOB.search(key) is None

    def matches(self, namespace: str, name: str) -> bool:
        """Whether it selects this table. Names are compared as the catalogue has them, case and all."""
        if self._regex is not None:
            return self._regex.fullmatch(f"{namespace}.{name}") is not None
        if self.is_plain:
            return self.table == name and self.schema in {None, namespace}
        return fnmatchcase(name, self.table) and (self.schema is None or fnmatchcase(namespace, self.schema))

    def groups(self, namespace: str, name: str) -> dict[str, str]:
        """What the named groups of the expression match in a table that it selects; empty where one takes no part."""
        found = None if self._regex is None else self._regex.fullmatch(f"{namespace}.{name}")
        return {} if found is None else {group: text or "" for group, text in found.groupdict().items()}

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """The higher, the more specific: plain names first, then expressions, then globs; of them those with a schema
        first, and the longer ones.
        """
        return (
            self.is_plain,
            self._regex is not None,
            self.schema is not None,
            len(_GLOB.sub("", self.key)),
        )


def is_plain(key: str) -> bool:
    """Whether a key of `events.tables` is the name of a table."""
    return TablePattern(key, may_be_regex=True).is_plain


def plain_tables(config: Events) -> list[tuple[str | None, str]] | None:
    """Schema and name of the tables that `events.tables` names one by one; None where it uses globs or is absent."""
    if config.tables is None:
        return None
    patterns = [TablePattern(key, may_be_regex=True) for key in config.tables]
    if not all(pattern.is_plain for pattern in patterns):
        return None
    outbox = [] if config.outbox is None else [config.outbox.name]
    return [(pattern.schema, pattern.table) for pattern in patterns] + outbox


def first_pattern(config: Events) -> str | None:
    """A key of `events.tables` that may select tables which come later; None where it has none."""
    return next((key for key in config.tables or () if not TablePattern(key, may_be_regex=True).is_plain), None)


def unmatched_keys(config: Events, tables: Collection[tuple[str, str]]) -> list[str]:
    """The keys of `events.tables` and `events.topics`, with their section, that none of these tables matches."""
    keys = [("tables", key) for key in config.tables or ()] + [("topics", key) for key in config.topics]
    patterns = [(f"events.{section}.{key}", TablePattern(key, may_be_regex=True)) for section, key in keys]
    return [place for place, pattern in patterns if not any(pattern.matches(*table) for table in tables)]


def nearest_table(place: str, tables: Collection[tuple[str, str]]) -> str | None:
    """The table that a key was probably meant for; `place` is the key with its section."""
    key = place.removeprefix("events.tables.").removeprefix("events.topics.")
    pattern = TablePattern(key, may_be_regex=True)
    if not pattern.is_plain:
        return None
    names = [f"{schema}.{name}" if pattern.schema is not None else name for schema, name in tables]
    return next(iter(get_close_matches(key, names, n=1)), None)


class Patterns(Generic[T]):
    """Finds the most specific pattern for a table."""

    def __init__(self, entries: Mapping[str, T]) -> None:
        self._entries = sorted(
            ((TablePattern(key, may_be_regex=True), value) for key, value in entries.items()),
            key=lambda entry: entry[0].rank,
            reverse=True,
        )

    def find(self, namespace: str, name: str) -> T | None:
        """The value of the best match, or None."""
        found = self.match(namespace, name)
        return None if found is None else found[1]

    def match(self, namespace: str, name: str) -> tuple[TablePattern, T] | None:
        """The best match and its value, or None."""
        for pattern, value in self._entries:
            if pattern.matches(namespace, name):
                return pattern, value
        return None
