"""What a check has found."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from msgspec import Struct

from ditto.errors import DittoError

Level = Literal["ok", "warning", "error"]
Place = Literal["psql", "shell", "configuration", "nats-server"]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. Holds names and figures, never row values and never credentials."""

    check: str
    """What was looked at, `area.what`: the same on every run."""
    level: Level
    what: str
    """What is so."""
    why: str
    """Why it matters."""
    mend: str | None = None
    """What to enter, exactly as it stands; None where nothing is to be done, or nobody can know what."""
    mend_in: Place | None = None
    """Where to enter it: statements for psql, commands for a shell, keys for the configuration file: Ditto's,
    or nats-server's."""


def ok(check: str, what: str, why: str) -> Finding:
    """It is as it should be."""
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
    """It is not, and this mends it: at most one of `psql`, `command`, `configuration` and `nats_server`."""
    mends: list[tuple[Place, str | None]] = [
        ("psql", psql),
        ("shell", command),
        ("configuration", configuration),
        ("nats-server", nats_server),
    ]
    place, mend = next(((place, mend) for place, mend in mends if mend), (None, None))
    return Finding(check=check, level=level, what=what, why=why, mend=mend, mend_in=place)


def failed(check: str, error: DittoError) -> Finding:
    """`ditto run` would fail with this error."""
    return bad("error", check, error.message, error.hint or "ditto run stops with this error")


def unseen(check: str, error: DittoError) -> Finding:
    """It could not be looked at."""
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
