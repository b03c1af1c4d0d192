"""Findings: the result of each check."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from msgspec import Struct

from ditto.errors import DittoError, RuleUnfit, SinkDenied

Level = Literal["ok", "warning", "error"]
Place = Literal["psql", "shell", "configuration", "nats-server"]


class Finding(Struct, frozen=True, kw_only=True):
    """The result of one check. Holds names and figures, never row values and never credentials."""

    check: str
    """The name of the check, `area.subject`: the same on every run."""
    level: Level
    what: str
    """The state that was found."""
    why: str
    """Why that matters."""
    fix: str | None = None
    """Text to enter exactly as it is; None where nothing has to be done, or Ditto cannot know what."""
    fix_in: Place | None = None
    """Where to enter it: statements for psql, commands for a shell, keys for the configuration file: Ditto's,
    or nats-server's."""


def ok(check: str, what: str, why: str) -> Finding:
    """A finding without a fault."""
    return Finding(check=check, level="ok", what=what, why=why)


def bad(
    level: Literal["warning", "error"],
    check: str,
    what: str,
    why: str,
    *,
    psql: str | None = None,
    command: str | None = None,
    configuration: str | None = None,
    nats_server: str | None = None,
) -> Finding:
    """A fault, and the text that fixes it: at most one of `psql`, `command`, `configuration` and `nats_server`."""
    fixes: list[tuple[Place, str | None]] = [
        ("psql", psql),
        ("shell", command),
        ("configuration", configuration),
        ("nats-server", nats_server),
    ]
    place, fix = next(((place, fix) for place, fix in fixes if fix), (None, None))
    return Finding(check=check, level=level, what=what, why=why, fix=fix, fix_in=place)


def failed(check: str, error: DittoError) -> Finding:
    """The finding for an error with which `ditto run` would stop, or wait."""
    effect = "ditto run waits, and tries again" if error.is_retryable else "ditto run stops with this error"
    if isinstance(error, SinkDenied) and error.command:
        return bad("error", check, error.message, error.advice or effect, command=error.command)
    statement = error.statement if isinstance(error, RuleUnfit) else None
    return bad("error", check, error.message, error.hint or effect, psql=statement)


def unseen(check: str, error: DittoError) -> Finding:
    """The finding for a check that could not be made."""
    return bad("warning", check, f"cannot be seen: {error.message}", error.hint or "what cannot be seen may be wrong")


def named(items: list[str], *, limit: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


async def each(check: str, looking: Awaitable[Finding]) -> list[Finding]:
    """One finding, or that it could not be looked at."""
    try:
        return [await looking]
    except DittoError as error:
        return [unseen(check, error)]
