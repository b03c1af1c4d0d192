"""What PostgreSQL says when a command fails, as Ditto's own errors: the one place that tells them apart."""

from __future__ import annotations

from psycopg import conninfo

from ditto.errors import (
    AccessDenied,
    ConnectionLost,
    DecodeError,
    ServerNotReady,
    ServerUnsuitable,
    SlotInUse,
    SlotInvalidated,
    SlotMissing,
    SourceError,
    TableLocked,
)


def command_error(message: str, sqlstate: str | None, *, doing: str, **context: str) -> SourceError:
    """Say why a command on a living connection failed.

    `message` and `sqlstate` are the server's; `doing` completes "cannot …".
    Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    text = f"cannot {doing}: {message}"
    lowered = message.lower()
    # 55006 object_in_use: "replication slot … is active for PID n"
    if sqlstate == "55006":
        return SlotInUse(text, hint="another reader holds the slot; it is taken over when that one stops", **context)
    if sqlstate == "55P03":  # lock_not_available
        return TableLocked(text, hint="somebody holds a lock on a table, such as ALTER TABLE takes", **context)
    if "invalidated" in lowered or "can no longer" in lowered:
        return SlotInvalidated(
            text,
            hint="the WAL this slot needed is gone and with it some changes: drop the slot (ditto slot drop), reload "
            "consumers from the tables, and start with nats.on_gap: continue",
            **context,
        )
    if sqlstate == "42704" and "slot" in lowered:
        return SlotMissing(text, hint="set postgres.create: true, or create the slot with pgoutput", **context)
    # 22021 character_not_in_repertoire, 22P05 untranslatable_character: the message quotes bytes of the row
    if sqlstate in {"22021", "22P05"}:
        return DecodeError(
            f"cannot {doing}: PostgreSQL found text that it cannot convert to UTF-8, and its log says at which LSN",
            hint="nothing is lost, the slot holds the change. In a SQL_ASCII database text has to be UTF-8; other "
            "bytes belong in a bytea column. To leave the transaction out: pg_replication_slot_advance, and once "
            "nats.on_gap: continue",
            **context,
        )
    if sqlstate == "42501":
        return AccessDenied(text, hint="the role lacks a privilege for this: see the message", **context)
    if "wal_level" in lowered:
        return ServerUnsuitable(
            text, hint="set wal_level = logical in postgresql.conf and restart the server", **context
        )
    if "replication slots are in use" in lowered:
        return ServerUnsuitable(
            text, hint="raise max_replication_slots (needs a restart), or drop a slot that nobody uses", **context
        )
    # Class 53: disk, memory or connections run out; 58030 io_error
    if sqlstate == "58030" or (sqlstate or "").startswith("53"):
        return ServerNotReady(text, hint="the server lacks a resource at the moment: see its log", **context)
    # 57P01 admin_shutdown, 57P02 crash_shutdown, 57P03 cannot_connect_now; class 08 connection exceptions
    if sqlstate in {"57P01", "57P02", "57P03"} or (sqlstate or "").startswith("08"):
        return ConnectionLost(text, hint="the server ended the connection", **context)
    return SourceError(text, hint=None, **context)


def describe(dsn: str) -> str:
    """`host:port/database` for messages, without user and password."""
    given = conninfo.conninfo_to_dict(dsn)
    host = given.get("host") or given.get("hostaddr")
    if not host and given.get("service"):
        return f"service {given['service']}"
    host = host or "localhost"
    port = given.get("port") or "5432"
    database = given.get("dbname")
    return f"{host}:{port}" + (f"/{database}" if database else "")
