"""The replication slot: find it, judge it, create it."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from ditto.errors import ServerNotReady, SlotInvalidated, SlotMissing, SlotUnusable
from ditto.lsn import parse_lsn
from ditto.source.control import WAL_LSN, Control, open_control

log = structlog.get_logger()

_STATISTICS_DELAY_S: Final = 1.0
_WAIT_REPORT_S: Final = 10.0


class Slot(msgspec.Struct, frozen=True):
    """A row of pg_replication_slots."""

    name: str
    plugin: str
    database: str
    active_pid: int | None
    confirmed_lsn: int
    wal_status: str
    is_two_phase: bool
    is_logical: bool
    is_copy: bool
    """A standby's, kept in step with the primary's: it cannot be read before the standby is promoted."""
    is_failover: bool
    """Standbys may keep a copy of it."""
    is_used: bool
    """Transactions have been read from it: by whomever, since its creation or the server's last crash."""
    retained_bytes: int | None
    """How much WAL PostgreSQL keeps for it."""
    wal_left_bytes: int | None
    """How much more may be written before it is invalidated; None without a limit."""


async def find_slot(control: Control, name: str) -> Slot | None:
    """The slot as it stands, or None."""
    # As JSON, since the columns differ between the majors.
    rows = await control.fetch(
        "SELECT to_jsonb(s) || jsonb_build_object("  # noqa: S608  a constant
        "'total_txns', t.total_txns, 'is_standby', pg_is_in_recovery(), "
        f"'retained_bytes', pg_wal_lsn_diff({WAL_LSN}, restart_lsn)::bigint) AS slot "
        "FROM pg_catalog.pg_replication_slots AS s "
        "LEFT JOIN pg_catalog.pg_stat_replication_slots AS t USING (slot_name) WHERE slot_name = %s",
        [name],
        doing=f"look up slot {name}",
    )
    if not rows:
        return None
    row = rows[0]["slot"]
    confirmed = row.get("confirmed_flush_lsn")
    return Slot(
        name=name,
        plugin=row.get("plugin") or "",
        database=row.get("database") or "",
        active_pid=row.get("active_pid"),
        confirmed_lsn=parse_lsn(confirmed) if confirmed else 0,
        wal_status=row.get("wal_status") or "",
        is_two_phase=bool(row.get("two_phase")),
        is_logical=row.get("slot_type") == "logical",
        is_copy=bool(row.get("synced")) and row["is_standby"],
        is_failover=bool(row.get("failover")),
        is_used=bool(row.get("total_txns")),
        retained_bytes=row["retained_bytes"],
        wal_left_bytes=row.get("safe_wal_size"),
    )


async def existing_slot(control: Control, name: str) -> Slot:
    """The slot, of which it is known that it was there. Raises SlotMissing."""
    slot = await find_slot(control, name)
    if slot is None:
        raise SlotMissing(
            f"slot {name} was dropped",
            hint="by whom? Its changes are gone with it: reload "
            "consumers from the tables, and start once with nats.on_gap: continue",
            slot=name,
        )
    return slot


async def settled_slot(control: Control, slot: Slot) -> Slot:
    """The slot with `is_used` for certain: before 15, statistics are up to half a second late."""
    if slot.is_used or not control.has_late_statistics:
        return slot
    await asyncio.sleep(_STATISTICS_DELAY_S)
    return await existing_slot(control, slot.name)


def check_slot(slot: Slot, database: str) -> None:
    """Raise SlotUnusable, SlotInvalidated or ServerNotReady when Ditto cannot read from it."""
    remake = "drop it (ditto slot drop), or set postgres.slot to another name; it was not made for Ditto"
    if not slot.is_logical:
        raise SlotUnusable(f"slot {slot.name} is a physical slot", hint=remake, slot=slot.name)
    if slot.plugin != "pgoutput":
        raise SlotUnusable(f"slot {slot.name} uses the plugin {slot.plugin}, not pgoutput", hint=remake, slot=slot.name)
    if slot.database != database:
        raise SlotUnusable(
            f"slot {slot.name} belongs to database {slot.database}, and postgres.dsn connects to {database}",
            hint="correct postgres.dsn, or set postgres.slot to another name",
            slot=slot.name,
        )
    if slot.is_two_phase:
        raise SlotUnusable(
            f"slot {slot.name} was created with two_phase: it sends prepared transactions before they are committed",
            hint=remake,
            slot=slot.name,
        )
    if slot.is_copy:
        raise ServerNotReady(
            f"this server is a standby, and its slot {slot.name} a copy of the primary's",
            hint="it is read as soon as the standby is promoted; to find the primary among several servers, give all "
            "hosts in postgres.dsn, with target_session_attrs=read-write",
            slot=slot.name,
        )
    if slot.wal_status == "lost":
        raise SlotInvalidated(
            f"PostgreSQL has invalidated slot {slot.name}: WAL that it needed was removed",
            hint="the changes since then are gone from it: drop the slot (ditto slot drop), reload consumers from the "
            "tables, and start once with nats.on_gap: continue",
            slot=slot.name,
        )


async def ensure_slot(control: Control, dsn: str, name: str, *, may_create: bool, is_failover: bool) -> Slot:
    """Find the slot, or create it; waits as long as PostgreSQL does for the transactions that are running."""
    slot = await find_slot(control, name)
    if slot is not None:
        return slot
    if not may_create:
        raise SlotMissing(
            f"slot {name} does not exist",
            hint="set postgres.create: true, or create it: "
            f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')",
            slot=name,
        )
    creation = asyncio.ensure_future(
        control.fetch(
            "SELECT pg_catalog.pg_create_logical_replication_slot(%s, 'pgoutput'"
            f"{', failover => true' if is_failover else ''})",
            [name],
            doing=f"create slot {name}",
            timeout_s=None,  # it waits for transactions of others, and says below for which
        )
    )
    try:
        while not (await asyncio.wait([creation], timeout=_WAIT_REPORT_S))[0]:
            await _report_wait(dsn, name)
    finally:
        creation.cancel()
        await asyncio.gather(creation, return_exceptions=True)
    creation.result()
    slot = await find_slot(control, name)
    if slot is None:
        raise SlotMissing(f"slot {name} was dropped right after it was created", hint="by whom?", slot=name)
    log.info("slot.created", slot=name)
    return slot


async def _report_wait(dsn: str, name: str) -> None:
    async with open_control(dsn) as control:
        rows = await control.fetch(
            "SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::int AS age_s FROM pg_stat_activity "
            "WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 3",
            doing="look up running transactions",
        )
    log.warning(
        "slot.waiting_for_transactions",
        slot=name,
        pids=[row["pid"] for row in rows],
        oldest_age_s=rows[0]["age_s"] if rows else None,
        reason="a slot can only be created when the transactions that were running have ended",
    )
