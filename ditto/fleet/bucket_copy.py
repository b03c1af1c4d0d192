"""A bucket of the control plane in memory: kept up to date by its watcher, and by what this node writes itself."""

from __future__ import annotations

from typing import Generic, TypeVar

import structlog
from msgspec import Struct

from ditto.errors import ControlPlaneUnsuitable
from ditto.fleet.buckets import Entry
from ditto.fleet.records import NodeEntry, decode

log = structlog.get_logger()

T = TypeVar("T", bound=Struct)


class Copy(Generic[T]):
    """One bucket: values and revisions by key."""

    def __init__(self, bucket: str, kind: type[T]) -> None:
        self.bucket = bucket
        self._kind = kind
        self.values: dict[str, T] = {}
        self.revisions: dict[str, int] = {}
        self.written_at: dict[str, float] = {}
        """By the server's clock, as the watcher has said."""
        self.newest = 0
        """The highest revision of any key that was heard of."""
        self._fresh: dict[str, T] | None = {}
        """What has been listed, until all is."""
        self._listed: set[str] = set()
        """All keys of which the list has something, also that they were deleted, or what cannot be read."""

    def begin(self) -> None:
        """The bucket is about to be listed: what is known stays until that is done."""
        self._fresh, self._listed, self.newest = {}, set(), 0

    @property
    def is_complete(self) -> bool:
        """Whether it has been listed."""
        return self._fresh is None

    @property
    def oldest(self) -> int:
        """The lowest revision of all values, 0 without any; of those listed so far, until all are: what was known
        before may have been written again since.
        """
        known = self.values if self._fresh is None else self._fresh
        return min((self.revisions[key] for key in known if key in self.revisions), default=0)

    def lost(self) -> dict[str, int]:
        """Keys that were there before, with their revisions, of which the list has nothing, not even that they were
        deleted.
        """
        gone = set() if self._fresh is None else self.values.keys() - self._listed
        return {key: self.revisions[key] for key in gone}

    def complete(self) -> None:
        """The list is complete."""
        if self._fresh is not None:
            self.values = self._fresh
            self.revisions = {key: self.revisions[key] for key in self.values}
            self.written_at = {key: self.written_at.get(key, 0.0) for key in self.values}
            self._fresh = None

    def written(self, key: str, value: T | None, revision: int) -> None:
        """This node has written it: known before the watcher says so."""
        into = self.values if self._fresh is None else self._fresh
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value
        self.revisions[key] = revision

    def take(self, entry: Entry) -> T | None:
        """One entry of the watcher; the value, None where it is gone or cannot be read."""
        into = self.values if self._fresh is None else self._fresh
        self.newest = max(self.newest, entry.revision)
        if self._fresh is None and entry.revision < self.revisions.get(entry.key, 0):
            return into.get(entry.key)  # this node has written it since
        self.revisions[entry.key] = entry.revision
        self.written_at[entry.key] = entry.written_at
        self._listed.add(entry.key)
        if entry.value is None:
            into.pop(entry.key, None)
            return None
        try:
            value = decode(entry.value, self._kind, f"{self.bucket}/{entry.key}")
            if isinstance(value, NodeEntry) and value.name != entry.key:
                raise ControlPlaneUnsuitable(f"the entry {self.bucket}/{entry.key} is that of another node")
        except ControlPlaneUnsuitable as error:
            log.warning("fleet.entry_unreadable", reason=error.message, hint=error.hint)
            if self._fresh is not None and entry.key in self.values:
                self._fresh[entry.key] = self.values[entry.key]  # as without the list: what was there before holds
            return None
        into[entry.key] = value
        return value
