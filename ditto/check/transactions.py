"""The oldest transaction that is open: the WAL since it began is kept, however quickly the slot is read."""

from __future__ import annotations

from typing import Final

from ditto.check.finding import Finding, bad, ok
from ditto.hints import literal
from ditto.source.sql import Control
from ditto.source.transactions import OpenTransaction, open_transactions
from ditto.units import size, span

_OLD_S: Final = 300.0
_MUCH: Final = 1 << 30
"""Bytes of retained WAL: the only sign that a transaction is old where this role may not see its age."""

CHECK: Final = "slot.oldest_transaction"


async def check_transactions(control: Control, retained_bytes: int) -> Finding:
    """Whether the oldest transaction that has written, or is prepared, is old."""
    oldest = await open_transactions(control, limit=1)
    return transaction_finding(oldest[0] if oldest else None, retained_bytes)


def transaction_finding(oldest: OpenTransaction | None, retained_bytes: int) -> Finding:
    """The finding for the oldest transaction. Pure."""
    why = (
        "PostgreSQL keeps the WAL, and dead rows of the catalogue, since the oldest transaction that has written "
        "began, whatever Ditto has confirmed; a slot that is being created waits for it, too"
    )
    if oldest is None:
        return ok(CHECK, "no open transaction has written anything", why)
    what = f"the oldest open transaction that has written is {_described(oldest)}"
    is_old = retained_bytes > _MUCH if oldest.age_s is None else oldest.age_s >= _OLD_S
    if not is_old:
        return ok(CHECK, what, why)
    what += f"; the slot retains {size(retained_bytes)} of WAL"
    if oldest.gid is None:
        statement = f"SELECT pg_catalog.pg_terminate_backend({oldest.pid}); -- rolls back its writes: ask first"
    else:
        what += "; it can be ended in its own database only, and committed instead (COMMIT PREPARED)"
        statement = f"ROLLBACK PREPARED {literal(oldest.gid)};"
    return bad("warning", CHECK, what, why, psql=statement)


def _described(oldest: OpenTransaction) -> str:
    """Its session, database, state and age, for people."""
    details = [f"database {oldest.database}"] if oldest.database else []
    if oldest.application:
        details.append(f"application {oldest.application}")
    if oldest.state and oldest.pid is not None:
        details.append(oldest.state)
    where = f" ({', '.join(details)})" if details else ""
    age = "for how long this role may not see" if oldest.age_s is None else f"open for {span(oldest.age_s)}"
    return f"{oldest.name}{where}, {age}"
