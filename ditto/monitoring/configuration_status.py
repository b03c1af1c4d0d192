"""The configuration that a running pipeline has: since when, and what became of the last attempt to change it."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from typing import Literal, Protocol

from msgspec import Struct, field

from ditto.monitoring.timestamps import rfc3339


class ConfigurationStatus(Struct, kw_only=True):
    """Times are RFC 3339 in UTC."""

    revision: int = 1
    """1 is that of the start; each one that is taken counts."""
    loaded_at: str = field(default_factory=lambda: rfc3339(time.time()))
    """When this one was taken."""
    is_pending: bool = False
    """Another one has been checked, and is taken at the end of the transaction that is being stored."""
    refused_at: str | None = None
    """When the last attempt to change it was refused; null where none was since this one was taken."""
    refusal: str | None = None
    """Why."""

    def take(self) -> None:
        """The next one is used from now on."""
        self.revision, self.is_pending = self.revision + 1, False
        self.loaded_at, self.refused_at, self.refusal = rfc3339(time.time()), None, None

    def refuse(self, reason: str) -> None:
        """The attempt has failed: the configuration stays."""
        self.refused_at, self.refusal = rfc3339(time.time()), reason


class Reloaded(Struct, frozen=True, kw_only=True):
    """What became of an attempt that was not refused."""

    state: Literal["applied", "pending", "checking", "unchanged"]
    """`pending`: at the end of the transaction that is being stored; `checking`: ask for the status later."""
    revision: int
    changed: list[str]
    """The keys that have another value."""


class Reload(Protocol):
    """Reads the configuration again and takes it. Raises DittoError where it is refused."""

    def __call__(self, *, timeout_s: float) -> Awaitable[Reloaded]:
        """What has become of it within that time; it goes on after that."""
