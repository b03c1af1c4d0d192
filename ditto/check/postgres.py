"""The PostgreSQL server: its version, and the settings that logical replication depends on."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ditto.check.finding import Finding, bad, ok
from ditto.source.sql import OLDEST_VERSION, Control
from ditto.units import counted, size, span

_MB: Final = 1 << 20
_GB: Final = 1 << 30
_SETTINGS: Final = (
    "server_version_num",
    "wal_level",
    "max_replication_slots",
    "max_wal_senders",
    "max_slot_wal_keep_size",
    "wal_sender_timeout",
    "logical_decoding_work_mem",
    "idle_replication_slot_timeout",
    "max_wal_size",
)
_SMALL_WORK_MEM: Final = 64 * _MB
_LONG_TIMEOUT_S: Final = 600
_SHORT_OUTAGE_S: Final = 3600
_STANDBY_DECODES: Final = 160000
_WITH_WHOLE_PUBLICATIONS: Final = {14: 18, 15: 13, 16: 9, 17: 5}
"""By major, the first minor release that takes an altered publication into account in transactions that are open."""


class Server(Struct, frozen=True, kw_only=True):
    """Version, settings and use of the server."""

    version: int
    """As `server_version_num`: 180003."""
    version_text: str
    is_standby: bool
    settings: dict[str, str]
    """By name, in the units of pg_settings; those that this version has."""
    role: str
    slots_used: int
    walsenders_used: int
    wal_bytes_per_s: float
    """The mean since the statistics began; 0 where that is less than an hour ago."""

    def number(self, name: str) -> int:
        """The value of a setting that is a number."""
        return int(self.settings[name])


async def look_at_server(control: Control) -> Server:
    """Read everything that the checks below need."""
    doing = "read the server's settings"
    rows = await control.fetch(
        "SELECT name, setting FROM pg_catalog.pg_settings WHERE name = ANY(%s)", [list(_SETTINGS)], doing=doing
    )
    settings = {row["name"]: row["setting"] for row in rows}
    (row,) = await control.fetch(
        "SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.pg_is_in_recovery() AS is_standby, "
        "current_user AS role, (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots) AS slots, "
        "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication) AS walsenders, "
        "(SELECT wal_bytes / extract(epoch FROM pg_catalog.now() - stats_reset) FROM pg_catalog.pg_stat_wal "
        "WHERE stats_reset < pg_catalog.now() - interval '1 hour') AS rate",
        doing=doing,
    )
    return Server(
        version=int(settings["server_version_num"]),
        version_text=row["version"],
        is_standby=row["is_standby"],
        settings=settings,
        role=row["role"],
        slots_used=row["slots"],
        walsenders_used=row["walsenders"],
        wal_bytes_per_s=float(row["rate"] or 0),
    )


def check_server(server: Server, *, has_slot: bool, is_slot_active: bool) -> list[Finding]:
    """Version, settings and free places."""
    return [
        _version(server),
        *_standby(server),
        _wal_level(server),
        _places(server, "slots", "max_replication_slots", server.slots_used, is_needed=not has_slot),
        _places(server, "walsenders", "max_wal_senders", server.walsenders_used, is_needed=not is_slot_active),
        _keep_size(server),
        *_idle_timeout(server),
        _sender_timeout(server),
    ]


def _version(server: Server) -> Finding:
    why = "PostgreSQL 14 is the first whose pgoutput can send what Ditto needs"
    what = f"PostgreSQL {server.version_text}"
    if server.version < OLDEST_VERSION:
        return bad("error", "server.version", f"{what} is too old", why)
    fixed = _WITH_WHOLE_PUBLICATIONS.get(server.version // 10000, 0)
    if server.version % 10000 < fixed:
        why = (
            "where a publication is altered, pgoutput leaves out rows of transactions that were open at that moment: "
            f"they are in no stream. Install the latest minor release: {server.version // 10000}.{fixed} corrects it"
        )
        return bad("warning", "server.version", what, why)
    return ok("server.version", what, why)


def _standby(server: Server) -> list[Finding]:
    if not server.is_standby:
        return []
    why = "a standby has no slots of its own before PostgreSQL 16, and cannot create publications"
    what = "this server is a standby"
    if server.version < _STANDBY_DECODES:
        return [bad("error", "server.standby", what, why, configuration="postgres: {dsn: ADDRESS_OF_THE_PRIMARY}")]
    return [ok("server.standby", what, why)]


def _wal_level(server: Server) -> Finding:
    level = server.settings["wal_level"]
    why = "only with wal_level = logical does the WAL tell rows apart"
    if level == "logical":
        return ok("server.wal_level", "wal_level is logical", why)
    statement = "ALTER SYSTEM SET wal_level = 'logical'; -- then restart PostgreSQL"
    return bad("error", "server.wal_level", f"wal_level is {level}", why, psql=statement)


def _places(server: Server, kind: str, setting: str, used: int, *, is_needed: bool) -> Finding:
    most = server.number(setting)
    what = f"{used} of {most} {kind} are in use ({setting})"
    why = f"each Ditto takes one of the server's {kind}, and the server can only add more in a restart"
    if used < most or not is_needed:
        return ok(f"server.{kind}", what, why)
    statement = f"ALTER SYSTEM SET {setting} = {max(10, 2 * most)}; -- then restart PostgreSQL"
    return bad("error", f"server.{kind}", what, why, psql=statement)


def _keep_size(server: Server) -> Finding:
    limit_mb = server.number("max_slot_wal_keep_size")
    rate = server.wal_bytes_per_s
    pace = f"; the server has written {size(rate * 3600)} of WAL an hour on average" if rate else ""
    check = "server.max_slot_wal_keep_size"
    if limit_mb < 0:
        wanted = max(4 * _GB, 4 * server.number("max_wal_size") * _MB, 24 * 3600 * rate)
        return bad(
            "warning",
            check,
            f"max_slot_wal_keep_size is -1: a slot may retain WAL without limit{pace}",
            "while Ditto is down or can store nothing the WAL grows, until the disk is full and the database stops. "
            "With a limit the database goes on, and the slot is lost: choose what the disk can hold",
            psql=f"ALTER SYSTEM SET max_slot_wal_keep_size = '{-(-wanted // _GB):.0f}GB';\n"
            "SELECT pg_catalog.pg_reload_conf();",
        )
    what = f"max_slot_wal_keep_size is {size(limit_mb * _MB)}{pace}"
    why = "when Ditto is down or can store nothing for longer than that lasts, the slot is lost, and events with it"
    if not rate:
        return ok(check, what, why)
    lasts_s = limit_mb * _MB / rate
    what += f": enough for {span(lasts_s)}"
    if lasts_s >= _SHORT_OUTAGE_S:
        return ok(check, what, why)
    wanted = 24 * 3600 * rate
    statement = (
        f"ALTER SYSTEM SET max_slot_wal_keep_size = '{-(-wanted // _GB):.0f}GB';\nSELECT pg_catalog.pg_reload_conf();"
    )
    return bad("warning", check, what, why, psql=statement)


def _idle_timeout(server: Server) -> list[Finding]:
    # PostgreSQL 18 and later.
    limit_s = int(server.settings.get("idle_replication_slot_timeout", 0))
    if not limit_s:
        return []
    return [
        bad(
            "warning",
            "server.idle_replication_slot_timeout",
            f"idle_replication_slot_timeout is {span(limit_s)}",
            "a slot that nobody reads for that long is invalidated: a Ditto that is down for longer loses events",
            psql="ALTER SYSTEM SET idle_replication_slot_timeout = 0;\nSELECT pg_catalog.pg_reload_conf();",
        )
    ]


def _sender_timeout(server: Server) -> Finding:
    timeout_s = server.number("wal_sender_timeout") / 1000
    check = "server.wal_sender_timeout"
    why = "it is how PostgreSQL itself finds out that a Ditto is gone, and frees the slot for another"
    what = f"wal_sender_timeout is {span(timeout_s)}" if timeout_s else "wal_sender_timeout is 0: no time-out"
    if 1 <= timeout_s <= _LONG_TIMEOUT_S:
        return ok(check, what, why)
    if timeout_s and timeout_s < 1:
        why = "a status message that is late by less than a second then ends the connection"
    statement = "ALTER SYSTEM SET wal_sender_timeout = '60s';\nSELECT pg_catalog.pg_reload_conf();"
    return bad("warning", check, what, why, psql=statement)


async def check_spilling(control: Control, server: Server, slot: str, role: str) -> Finding:
    """Whether large transactions go through the server's disk: https://www.postgresql.org/docs/current/runtime-config-resource.html."""
    rows = await control.fetch(
        "SELECT spill_txns, spill_bytes FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = %s",
        [slot],
        doing="read the slot's statistics",
    )
    memory = server.number("logical_decoding_work_mem") * 1024
    spilled = rows[0]["spill_txns"] if rows else 0
    what = f"logical_decoding_work_mem is {size(memory)}"
    if spilled:
        what += f"; {counted(spilled, 'transaction')} did not fit ({size(rows[0]['spill_bytes'])})"
    why = "a transaction that does not fit is written to the server's disk and read again, which halves the speed"
    if not spilled and memory >= _SMALL_WORK_MEM:
        return ok("server.logical_decoding_work_mem", what, why)
    if memory > _SMALL_WORK_MEM:
        return ok("server.logical_decoding_work_mem", what, why)
    statement = f"ALTER ROLE {role} SET logical_decoding_work_mem = '256MB'; -- then restart Ditto"
    return bad("warning", "server.logical_decoding_work_mem", what, why, psql=statement)
