"""Who is signed in: random names of sessions, which browsers keep in a cookie, and whose they are."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from ditto.api.fleet.auth import Identity

LONGEST_S: Final = 12 * 3600.0
"""After that a person signs in again."""
MOST: Final = 1000
"""One more ends the oldest one."""


class Session(Struct, frozen=True):
    """One person in one browser."""

    key: str
    """The value of the cookie."""
    identity: Identity
    ends_at: float
    """In the clock of the sessions."""


class Sessions:
    """In memory: a restart of the node ends them all, as does a token that is taken out of its configuration."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[str, Session] = {}

    def begin(self, identity: Identity) -> Session:
        """A new one."""
        for key in [each.key for each in self._known.values() if each.ends_at <= self._clock()]:
            del self._known[key]
        while len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        session = Session(secrets.token_urlsafe(32), identity, self._clock() + LONGEST_S)
        self._known[session.key] = session
        return session

    def find(self, key: str | None) -> Session | None:
        """The session of this name, unless it has ended."""
        session = self._known.get(key or "")
        return session if session is not None and session.ends_at > self._clock() else None

    def end(self, key: str) -> None:
        """Sign out."""
        self._known.pop(key, None)
