"""Which events of the stream to show, and where to begin."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from ditto.config import EVENT_ACTIONS
from ditto.config.conversion import read_seconds
from ditto.config.impossible import Impossible
from ditto.errors import ConfigError
from ditto.formats.stored_events import READ
from ditto.routing.patterns import TablePattern
from ditto.tail.messages import MESSAGE

_ACTIONS: Final = (*EVENT_ACTIONS, MESSAGE.lower())


class Choice(Struct, frozen=True, kw_only=True):
    """Tables and actions; nothing given means all."""

    tables: Sequence[TablePattern] = ()
    actions: frozenset[str] = frozenset()
    """Upper case, as in the event."""

    def takes(self, schema: str, table: str, action: str) -> bool:
        """Whether an event is to be shown."""
        if self.actions and action not in self.actions:
            return False
        return not self.tables or any(pattern.matches(schema, table) for pattern in self.tables)

    def takes_message(self, table: tuple[str, str] | None) -> bool:
        """Whether a message is to be shown whose body is the application's, of this outbox."""
        if self.actions and MESSAGE not in self.actions:
            return False
        return not self.tables or (table is not None and any(pattern.matches(*table) for pattern in self.tables))

    def takes_control(self, schema: str | None, table: str | None) -> bool:
        """Whether a control event of a snapshot is to be shown, of this table, or of all of a run's."""
        if self.actions and READ not in self.actions:
            return False
        return self.takes(schema, table, READ) if schema is not None and table is not None else not self.tables


def choose(tables: Sequence[str], actions: Sequence[str]) -> Choice:
    """From the command line. Raises ConfigError for an action that there is not."""
    for action in actions:
        if action.lower() not in _ACTIONS:
            raise ConfigError(f"there is no action {action}", hint=f"the actions are {', '.join(_ACTIONS)}")
    return Choice(tables=[TablePattern(key) for key in tables], actions=frozenset(action.upper() for action in actions))


def read_since(text: str) -> datetime:
    """A duration before now (5m), or a time in the notation of RFC 3339; one without an offset is UTC."""
    try:
        return datetime.fromtimestamp(time.time() - read_seconds(text), UTC)
    except (Impossible, OverflowError, ValueError):
        pass
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"--since {text!r} is neither a duration nor a time",
            hint="for example 90s, 5m, 2h or 2026-01-02T15:04:05Z",
        ) from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)
