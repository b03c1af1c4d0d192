"""The slot: whether it exists, which session reads it, and how much WAL it retains."""

from __future__ import annotations

from typing import Final

from ditto.check.finding import Finding, bad, ok
from ditto.check.postgres import Server
from ditto.config import Config
from ditto.errors import DittoError, SlotInvalidated
from ditto.hints import literal
from ditto.source.slot import Slot, check_slot
from ditto.units import size

_MB: Final = 1 << 20
_MUCH: Final = 10 << 30
"""Bytes of retained WAL that are too many where there is no limit."""


def check_the_slot(config: Config, server: Server, database: str, slot: Slot | None) -> list[Finding]:
    """Whether the slot exists, is usable and active, and how much WAL it retains."""
    name = config.postgres.slot
    why = "it is PostgreSQL's memory of what the stream still lacks"
    if slot is None:
        if config.postgres.create:
            return [ok("slot.exists", f"slot {name} will be created by ditto run", why)]
        statement = f"SELECT pg_catalog.pg_create_logical_replication_slot({literal(name)}, 'pgoutput');"
        what = f"slot {name} does not exist, and postgres.create is false"
        return [bad("error", "slot.exists", what, why, psql=statement)]
    if slot.is_being_created:
        what = (
            f"slot {name} is being created by PID {slot.active_pid}: PostgreSQL waits for the transactions that were "
            "open when it began (slot.oldest_transaction)"
        )
        return [bad("warning", "slot.usable", what, "until then nothing is stored; a Ditto that starts now waits too")]
    try:
        check_slot(slot, database)
    except DittoError as error:
        is_lost = isinstance(error, SlotInvalidated)
        drop = f"SELECT pg_catalog.pg_drop_replication_slot({literal(name)});"
        usable = bad("error", "slot.usable", error.message, error.hint or why, psql=drop if is_lost else None)
    else:
        usable = ok("slot.usable", f"slot {name} (pgoutput, WAL status {slot.wal_status or 'unknown'})", why)
    return [usable, _activity(slot), _retention(server, slot)]


def _activity(slot: Slot) -> Finding:
    why = "while nobody reads the slot, the server keeps all WAL since"
    if slot.active_pid is not None:
        return ok("slot.active", f"slot {slot.name} is read by PID {slot.active_pid}", why)
    return ok("slot.active", f"nobody reads slot {slot.name}; it is {size(slot.lag_bytes or 0)} behind", why)


def _retention(server: Server, slot: Slot) -> Finding:
    check = "slot.retained_wal"
    what = f"slot {slot.name} retains {size(slot.retained_bytes)} of WAL"
    why = "retained WAL fills the server's disk; and beyond max_slot_wal_keep_size the slot is lost"
    limit = server.number("max_slot_wal_keep_size") * _MB
    wanted_mb = max(2 * limit, 2 * slot.retained_bytes) // _MB + 1
    statement = f"ALTER SYSTEM SET max_slot_wal_keep_size = '{wanted_mb}MB';\nSELECT pg_catalog.pg_reload_conf();"
    if slot.wal_status == "lost":
        return ok(check, f"slot {slot.name} is lost, and retains nothing", why)
    if slot.wal_status == "unreserved":
        return bad(
            "error", check, f"{what}: more than its limit, it is lost at the next checkpoint", why, psql=statement
        )
    if slot.safe_bytes is not None:
        what += f"; {size(max(0, slot.safe_bytes))} more until it is lost"
        if slot.safe_bytes < limit / 2:
            return bad("warning", check, what, why, psql=statement)
    elif slot.retained_bytes > _MUCH:
        if slot.active_pid is None:
            return bad("warning", check, what, f"{why}; nobody reads it: start Ditto, or drop the slot")
        why += "; it is read, and retains less as its reader catches up and as long transactions end"
        return bad("warning", check, what, why)
    return ok(check, what, why)
