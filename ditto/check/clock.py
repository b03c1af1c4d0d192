"""How far the clocks of this machine, of PostgreSQL and of NATS are apart."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Final

from ditto.check.finding import Finding, bad, ok
from ditto.source.sql import Control

_APART_S: Final = 1.0
_WHY: Final = "commitTime is PostgreSQL's clock, the stream's times are NATS's: latencies and --since compare them"


async def postgres_clock(control: Control) -> Finding:
    """PostgreSQL's clock against this machine's."""
    asked_at = time.time()
    (row,) = await control.fetch(
        "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::float8 AS now", doing="read the clock"
    )
    return _judge("clock.postgres", "PostgreSQL", row["now"], asked_at, time.time())


def nats_clock(told: datetime | None, asked_at: float, answered_at: float) -> Finding:
    """NATS's clock, from the time in an answer, against this machine's."""
    if told is None:
        return ok("clock.nats", "NATS's clock cannot be seen: there is no stream yet", _WHY)
    return _judge("clock.nats", "NATS", told.timestamp(), asked_at, answered_at)


def _judge(check: str, whose: str, told: float, asked_at: float, answered_at: float) -> Finding:
    # The answer was made at some moment between the request and its arrival: no difference can be told within that.
    apart_s = min(told - asked_at, 0.0) if told < asked_at else max(told - answered_at, 0.0)
    what = f"{whose}'s clock and this machine's are {abs(apart_s):.3f} s apart"
    if abs(apart_s) < _APART_S:
        return ok(check, what, _WHY)
    return bad("warning", check, what, _WHY, command="timedatectl set-ntp true   # on the machine whose clock is wrong")
