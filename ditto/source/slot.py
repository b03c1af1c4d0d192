"""The replication slot: find it, check it, create it, drop it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from ditto.errors import ServerNotReady, SlotInvalidated, SlotMissing, SlotUnusable, SourceError
from ditto.hints import RELOAD, literal
from ditto.lsn import parse_lsn
from ditto.source.sql import QUERY_TIMEOUT_S, WAL_LSN, Control, open_control
from ditto.source.transactions import open_transactions

log = structlog.get_logger()

_STATISTICS_DELAY_S: Final = 1.0
_WAIT_REPORT_S: Final = 5.0
_POLL_S: Final = 0.5
_CAUSES: Final = {
    "wal_removed": "WAL that it needed was removed",
    "rows_removed": "rows of the catalogue that it needed were removed; hot_standby_feedback = on avoids that",
    "wal_level_insufficient": "wal_level was not logical any more",
    "idle_timeout": "nobody has read it for idle_replication_slot_timeout, which is too short; 0 switches that off",
}


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A row of pg_replication_slots, beside the server's WAL position at that moment.

    Log, checks, command line, status and metrics all show a slot from here.
    """

    name: str
    plugin: str
    database: str
    active_pid: int | None
    """The session that holds the slot: the walsender of its reader, or the session that creates it."""
    confirmed_lsn: int
    """0 while the slot is being created."""
    restart_lsn: int | None
    """The oldest WAL that decoding may still need; None where the slot needs none."""
    wal_lsn: int
    """The server's WAL position (`WAL_LSN`)."""
    is_standby: bool
    """Whether the server is in recovery."""
    wal_status: str | None
    """reserved, extended, unreserved or lost; None where PostgreSQL does not say."""
    invalidation: str
    """Why it is lost, from PostgreSQL 17 on; empty for one that is not."""
    is_two_phase: bool
    is_logical: bool
    is_copy: bool
    """A standby's, kept in step with the primary's: it cannot be read before the standby is promoted."""
    is_failover: bool
    """Standbys may keep a copy of it."""
    is_used: bool
    """Transactions have been read from it, by any reader, since its creation or the server's last crash."""
    safe_bytes: int | None
    """How much more WAL may be written before the slot can be lost; None without max_slot_wal_keep_size."""

    @property
    def is_being_created(self) -> bool:
        """By another session, which waits for transactions: the slot's other fields are not final."""
        return self.is_logical and not self.confirmed_lsn

    @property
    def lag_bytes(self) -> int | None:
        """WAL after the confirmed LSN; None while the slot is being created."""
        return max(0, self.wal_lsn - self.confirmed_lsn) if self.confirmed_lsn else None

    @property
    def retained_bytes(self) -> int:
        """WAL that PostgreSQL keeps for the slot; 0 for a slot that is lost."""
        if self.restart_lsn is None or self.wal_status == "lost":
            return 0
        return max(0, self.wal_lsn - self.restart_lsn)


async def find_slot(control: Control, name: str, *, timeout_s: float = QUERY_TIMEOUT_S) -> Slot | None:
    """The slot at this moment, or None."""
    # As JSON, since the columns differ between the majors.
    rows = await control.fetch(
        "SELECT pg_catalog.to_jsonb(s) || pg_catalog.jsonb_build_object("  # noqa: S608  a constant
        "'total_txns', t.total_txns, 'is_standby', pg_catalog.pg_is_in_recovery(), "
        f"'wal_lsn', {WAL_LSN}) AS slot "
        "FROM pg_catalog.pg_replication_slots AS s "
        "LEFT JOIN pg_catalog.pg_stat_replication_slots AS t USING (slot_name) WHERE slot_name = %s",
        [name],
        doing=f"look up slot {name}",
        timeout_s=timeout_s,
    )
    if not rows:
        return None
    row = rows[0]["slot"]
    confirmed, restart = row.get("confirmed_flush_lsn"), row.get("restart_lsn")
    return Slot(
        name=name,
        plugin=row.get("plugin") or "",
        database=row.get("database") or "",
        active_pid=row.get("active_pid"),
        confirmed_lsn=parse_lsn(confirmed) if confirmed else 0,
        restart_lsn=parse_lsn(restart) if restart else None,
        wal_lsn=parse_lsn(row["wal_lsn"]),
        is_standby=row["is_standby"],
        wal_status=row.get("wal_status"),
        invalidation=row.get("invalidation_reason") or "",
        is_two_phase=bool(row.get("two_phase")),
        is_logical=row.get("slot_type") == "logical",
        is_copy=bool(row.get("synced")) and row["is_standby"],
        is_failover=bool(row.get("failover")),
        # A slot that is the copy of a former primary's has statistics of its own.
        is_used=bool(row.get("total_txns")) or bool(row.get("synced")),
        safe_bytes=row.get("safe_wal_size"),
    )


async def existing_slot(control: Control, name: str) -> Slot:
    """The slot, which existed before. Raises SlotMissing."""
    slot = await find_slot(control, name)
    if slot is None:
        raise SlotMissing(
            f"slot {name} was dropped",
            hint=f"the changes that it held are gone with it: {RELOAD}",
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
    if slot.is_being_created:
        raise ServerNotReady(
            f"slot {slot.name} is still being created (by PID {slot.active_pid}): PostgreSQL waits until the "
            "transactions that were open when it began have ended",
            hint="wait, or end the oldest transaction: ditto check names it",
            slot=slot.name,
        )
    remake = (
        "it was not made for Ditto: where nobody else needs it, drop it (ditto slot drop), then start again; or set "
        "postgres.slot to another name"
    )
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
            f"PostgreSQL has invalidated slot {slot.name}: {_CAUSES.get(slot.invalidation, _CAUSES['wal_removed'])}",
            hint=f"the changes since then are gone from it: drop the slot (ditto slot drop), {RELOAD}",
            slot=slot.name,
        )


async def ensure_slot(
    control: Control, dsn: str, name: str, *, may_create: bool, is_failover: bool, on_created: Callable[[], None]
) -> Slot:
    """Find the slot, or create it; waits as long as PostgreSQL does for the transactions that are open.

    Another session may create it at the same time: then this waits until the slot is there or gone.
    """
    waited_s = 0.0
    while True:
        slot = await find_slot(control, name)
        if slot is None:
            if not may_create:
                raise SlotMissing(
                    f"slot {name} does not exist",
                    hint="set postgres.create: true, or create it: "
                    f"SELECT pg_catalog.pg_create_logical_replication_slot({literal(name)}, 'pgoutput')",
                    slot=name,
                )
            if await _create(control, dsn, name, is_failover=is_failover):
                on_created()
        elif not slot.is_being_created:
            return slot
        else:
            await asyncio.sleep(_POLL_S)
            waited_s += _POLL_S
            if waited_s >= _WAIT_REPORT_S:
                waited_s = 0.0
                await _report_wait(control, name)


async def _create(control: Control, dsn: str, name: str, *, is_failover: bool) -> bool:
    """Create the slot; returns whether this call did, and not another session."""
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
            async with open_control(dsn) as other:
                await _report_wait(other, name)
    finally:
        creation.cancel()
        await asyncio.gather(creation, return_exceptions=True)
    try:
        creation.result()
    except SourceError:
        if await find_slot(control, name) is None:
            raise
        return False  # another session was first
    log.info("slot.created", slot=name)
    return True


async def drop_slot(control: Control, name: str) -> None:
    """Remove the slot. Raises SlotInUse, SlotMissing and AccessDenied."""
    doing = f"drop the slot {name}"
    await control.fetch("SELECT pg_catalog.pg_drop_replication_slot(%s)", [name], doing=doing, context={"slot": name})


async def _report_wait(control: Control, name: str) -> None:
    oldest = await open_transactions(control, limit=3)
    log.warning(
        "slot.waiting_for_transactions",
        slot=name,
        transactions=[each.name for each in oldest],
        oldest_age_s=round(oldest[0].age_s) if oldest and oldest[0].age_s is not None else None,
        reason="a slot can only be created when the transactions that were open have ended",
        hint="end the oldest one, if nobody needs it: SELECT pg_catalog.pg_terminate_backend(PID), or "
        "ROLLBACK PREPARED 'NAME' in its database",
    )
