"""What PostgreSQL says when something fails, as Ditto's own errors: the one place that tells them apart."""

from __future__ import annotations

import re
from typing import Final

from psycopg import Error, conninfo

from ditto.errors import (
    AccessDenied,
    ConfigError,
    ConnectionLost,
    DecodeError,
    DittoError,
    ServerNotReady,
    ServerUnsuitable,
    SlotInUse,
    SlotInvalidated,
    SlotMissing,
    SourceError,
    TableLocked,
)

_UNVERIFIED: Final = "sslmode=require there encrypts without verifying"

# libpq does not expose the SQLSTATE of a refused connection (it has no result to hang it on), so the
# server's English text decides. A localised server gets the general error with its own words.
_REFUSALS: tuple[tuple[str, type[SourceError], str], ...] = (
    ("password authentication failed", AccessDenied, "check user and password in postgres.dsn"),
    ("no password supplied", AccessDenied, "add the password to postgres.dsn, or set PGPASSWORD or a .pgpass file"),
    ("authentication failed", AccessDenied, "check user and password in postgres.dsn, and pg_hba.conf"),
    (
        "no pg_hba.conf entry",
        AccessDenied,
        "add a line for this database, user and address to pg_hba.conf (a database line: 'replication' is not enough)",
    ),
    (
        "permission denied to start wal sender",
        AccessDenied,
        "give the role the attribute: ALTER ROLE … REPLICATION",
    ),
    ("must be superuser or replication role", AccessDenied, "give the role the attribute: ALTER ROLE … REPLICATION"),
    ("starting up", ServerNotReady, "it accepts connections when its recovery is done"),
    ("shutting down", ServerNotReady, "it is being stopped or restarted"),
    # A server that is stopped, or has lost a process, while this connection is being made.
    ("terminating connection", ServerNotReady, "it is being stopped or restarted"),
    ("canceling authentication due to timeout", ServerNotReady, "it is too busy, or the network too slow"),
    ("out of memory", ServerNotReady, "the server lacks memory at the moment: see its log"),
    ("recovery mode", ServerNotReady, "it accepts connections when its recovery is done"),
    ("not yet accepting connections", ServerNotReady, "it accepts connections when its recovery is done"),
    ("too many clients", ServerNotReady, "raise max_connections, or close other connections"),
    ("remaining connection slots", ServerNotReady, "raise max_connections, or close other connections"),
    ("too many connections", ServerNotReady, "raise the connection limit of the role or the database"),
    ("max_wal_senders", ServerNotReady, "raise max_wal_senders, or stop another replication client"),
    ("server does not support ssl", ServerUnsuitable, "remove sslmode=require from postgres.dsn, or enable TLS there"),
    (
        "does not match host name",
        AccessDenied,
        f"connect by a name that the certificate has; {_UNVERIFIED}",
    ),
    (
        "certificate verify failed",
        AccessDenied,
        "no authority that is trusted here has signed the server's certificate, or it has expired: name the "
        f"authority's file with sslrootcert=… in postgres.dsn; {_UNVERIFIED}",
    ),
    (
        "root certificate file",
        AccessDenied,
        f"name the file of the authority that signs the server's certificate with sslrootcert=…; {_UNVERIFIED}",
    ),
    (
        "valid client certificate",
        AccessDenied,
        "the server wants a certificate from the client: give sslcert=… and sslkey=… in postgres.dsn",
    ),
    ("unknown ca", AccessDenied, "the server does not know the authority that signed sslcert"),
    ("private key", AccessDenied, "check sslkey in postgres.dsn: its owner alone may read the file"),
    ("certificate", AccessDenied, "check sslrootcert, sslcert and sslmode in postgres.dsn"),
    # Last, because many of the others speak of a role or of the database system too.
    ("role ", AccessDenied, "check the user in postgres.dsn"),
    ("database ", AccessDenied, "check the database name in postgres.dsn"),
)

_UNREACHABLE_HINT = "check host and port in postgres.dsn, and that the server is running"


# What libpq refuses before it connects: a value that it does not know, or two that exclude each other.
_IMPOSSIBLE: Final = re.compile(r"(?:is bad|failed): (?:invalid|weak) ")
_REASON: Final = re.compile(r".*(?:is bad|failed|FATAL|ERROR): +(.+)")


def _reason(error: Error) -> str:
    """What the server (or libpq) said last; what comes before tells of addresses that were tried first."""
    reasons = _REASON.findall(str(error))
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return str(reasons[-1]) if reasons else lines[-1] if lines else type(error).__name__


def connect_error(error: Error, dsn: str) -> DittoError:
    """Say why connecting to `dsn` failed: where (never the password), the server's words, and a hint."""
    where = describe(dsn)
    text = str(error)
    if _IMPOSSIBLE.search(text):
        return ConfigError(f"postgres.dsn: {_reason(error)}", hint="see libpq's documentation of this parameter")
    if any(word in text for word in ("FATAL", "SSL", "fe_sendauth", "certificate", "private key")):
        for pattern, kind, hint in _REFUSALS:
            if pattern in text.lower():
                return kind(f"PostgreSQL at {where} refused the connection: {_reason(error)}", hint=hint)
        if "FATAL" in text:
            return AccessDenied(f"PostgreSQL at {where} refused the connection: {_reason(error)}")
    return ConnectionLost(f"cannot reach PostgreSQL at {where}: {_reason(error)}", hint=_UNREACHABLE_HINT)


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
