"""Why a connection to PostgreSQL was not made, as Ditto's own errors.

The server's SQLSTATE decides, never its words, which may be in any language; words only choose a better hint. What has
no SQLSTATE comes from libpq, whose words are English: Python leaves the locale of messages alone.
Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from psycopg import Error

from ditto.errors import AccessDenied, ConfigError, ConnectionLost, DittoError, ServerNotReady, ServerUnsuitable
from ditto.source.command_errors import describe

_UNVERIFIED: Final = "sslmode=require there encrypts without verifying"
_BUSY: Final = "the server lacks a resource at the moment: see its log"
_ENDED: Final = "it is being stopped or restarted, or too busy"
_POOLER: Final = (
    "that is a pooler such as PgBouncer: Ditto replicates and pins settings of its session, so it needs the address of "
    "PostgreSQL itself in postgres.dsn"
)

# The longest beginning of the SQLSTATE decides.
_STATES: Final[dict[str, tuple[type[DittoError], str]]] = {
    "": (ServerNotReady, "the server's log may tell more; it is tried again"),
    "08": (ConnectionLost, "the server, or a pooler before it, ended the connection: see its log"),
    "0A": (ServerUnsuitable, "is it PostgreSQL itself, 14 or later?"),
    "22": (ConfigError, "check `options` in postgres.dsn, PGOPTIONS and the service file"),
    "28": (
        AccessDenied,
        "check the user in postgres.dsn, its password (there, in PGPASSWORD or in ~/.pgpass), and the server's "
        "pg_hba.conf",
    ),
    "28P01": (AccessDenied, "check the user in postgres.dsn and its password (there, in PGPASSWORD or in ~/.pgpass)"),
    "3D": (AccessDenied, "check the database name in postgres.dsn"),
    "42": (ConfigError, "check `options` in postgres.dsn, PGOPTIONS and the service file"),
    "42501": (
        AccessDenied,
        "give the role what it lacks: ALTER ROLE … REPLICATION, or GRANT CONNECT ON DATABASE … TO …",
    ),
    "53": (ServerNotReady, _BUSY),
    "53300": (
        ServerNotReady,
        "close other connections, or raise max_connections, max_wal_senders, or the connection limit of the role or "
        "the database",
    ),
    "55000": (ServerNotReady, "ALTER DATABASE … ALLOW_CONNECTIONS true; lets connections in again"),
    "55P02": (ConfigError, "check `options` in postgres.dsn, PGOPTIONS and the service file"),
    "57": (ServerNotReady, _ENDED),
    "57P03": (
        ServerNotReady,
        "it accepts connections when it has started and its recovery is done; a standby only with hot_standby = on",
    ),
    "P0001": (AccessDenied, "an event trigger for logins refuses this role"),
}

# By state and what the English message says.
_BETTER_HINTS: Final = (
    (
        "28",
        "no encryption",
        "the server may take this user with TLS only: then leave sslmode=disable out of postgres.dsn; otherwise add a "
        "line for this database, user and address to pg_hba.conf, above one that rejects them (a database line: "
        "'replication' is not enough)",
    ),
    (
        "28",
        "no pg_hba.conf entry",
        "add a line for this database, user and address to pg_hba.conf (a database line: 'replication' is not enough)",
    ),
    (
        "28",
        "pg_hba.conf rejects",
        "the first line of pg_hba.conf that fits this database, user and address says reject: put one that lets them "
        "in above it",
    ),
    (
        "28",
        "valid client certificate",
        "the server wants a certificate from the client: give sslcert=… and sslkey=… in postgres.dsn",
    ),
    ("28", "role ", "check the user in postgres.dsn: the role has to exist, and to have LOGIN"),
    ("42501", "wal sender", "give the role the attribute: ALTER ROLE … REPLICATION"),
    ("42501", "walsender", "give the role the attribute: ALTER ROLE … REPLICATION"),
    ("42501", "permission denied for database", "GRANT CONNECT ON DATABASE … TO …"),
    ("57014", "authentication", "it is too busy, or the network too slow"),
)

_IN_THE_CLEAR: Final = (
    "a server that asks for the password without TLS gets none: anybody on the way could be that server. Enable TLS "
    "there; or, where the network can be trusted, put sslmode=disable into postgres.dsn"
)

# libpq's own words, in small letters.
_LIBPQ: Final[tuple[tuple[str, type[DittoError], str], ...]] = (
    ("no password supplied", AccessDenied, "add the password to postgres.dsn, or set PGPASSWORD or a .pgpass file"),
    ("server requested a cleartext password", AccessDenied, _IN_THE_CLEAR),
    ("authentication method requirement", AccessDenied, "check require_auth in postgres.dsn"),
    ("server does not support ssl", ServerUnsuitable, "remove sslmode=require from postgres.dsn, or enable TLS there"),
    ("does not match host name", AccessDenied, f"connect by a name that the certificate has; {_UNVERIFIED}"),
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
    ("unknown ca", AccessDenied, "the server does not know the authority that signed sslcert"),
    ("private key", AccessDenied, "check sslkey in postgres.dsn: its owner alone may read the file"),
    ("certificate", AccessDenied, "check sslrootcert, sslcert and sslmode in postgres.dsn"),
    (
        "session is read-only",
        ServerNotReady,
        "target_session_attrs in postgres.dsn wants a primary, and none of the servers is one at the moment",
    ),
    (
        "hot standby mode",
        ServerNotReady,
        "target_session_attrs in postgres.dsn wants another kind of server than those that answer",
    ),
    (
        "session is not read-only",
        ServerNotReady,
        "target_session_attrs in postgres.dsn wants another kind of server than those that answer",
    ),
)
_UNREACHABLE_HINT: Final = "check host and port in postgres.dsn, and that the server is running"

# As psycopg joins the failures at several servers.
_SEVERAL: Final = "All failures were:"
_ONE_OF_SEVERAL: Final = re.compile(r"^- host: .*?, hostaddr: .*?: (?=connection )", re.MULTILINE)
# Severity, SQLSTATE and message as libpq joins them when it is verbose.
_VERBOSE: Final = re.compile(r":  ([0-9A-Z]{5}): (.+)")
# Messages of what libpq refuses before it connects: a value that it does not know, or two that exclude each other.
_IMPOSSIBLE: Final = re.compile(r"(?:is bad|failed): (?:invalid|weak) ")
_REASON: Final = re.compile(r".*(?:is bad|failed): +(.+)")


class _Refusal(NamedTuple):
    """The answer of one server."""

    kind: type[DittoError]
    reason: str
    hint: str
    is_answer: bool
    """A server answered, or libpq refused to go on with one."""
    sqlstate: str | None = None


def connect_error(error: Error, dsn: str, *, is_fallback: bool = False) -> DittoError:
    """Say why connecting to `dsn` failed: where (never the password), the server's words, and a hint.

    Of several servers one that is worth another attempt decides. `is_fallback`: the server has no TLS.
    """
    refusals = [_judge(text, is_fallback=is_fallback) for text in _each_text(str(error))]
    refusal = next((each for each in refusals if each.kind.is_retryable), refusals[-1])
    where = describe(dsn)
    reasons = "; ".join(dict.fromkeys(each.reason for each in refusals))
    if refusal.kind is ConfigError and not refusal.is_answer:
        return ConfigError(f"postgres.dsn: {reasons}", hint=refusal.hint)
    context = {} if refusal.sqlstate is None else {"sqlstate": refusal.sqlstate}
    if refusal.is_answer:
        return refusal.kind(f"PostgreSQL at {where} refused the connection: {reasons}", hint=refusal.hint, **context)
    return refusal.kind(f"cannot reach PostgreSQL at {where}: {reasons}", hint=refusal.hint)


def _each_text(text: str) -> Iterator[str]:
    """The end of the attempt at each server."""
    _, marker, list_of_all = text.partition(_SEVERAL)
    if not marker:
        yield text
        return
    yield from _ONE_OF_SEVERAL.split(list_of_all)[1:] or [text]


def _judge(text: str, *, is_fallback: bool) -> _Refusal:
    if answers := _VERBOSE.findall(text):
        sqlstate, message = answers[-1]  # those before are of other addresses, or without TLS where it was tried
        return _by_sqlstate(sqlstate, message.strip())
    reason = _reason(text)
    if _IMPOSSIBLE.search(text):
        return _Refusal(ConfigError, reason, "see libpq's documentation of this parameter", is_answer=False)
    lowered = text.lower()
    if is_fallback and "no password supplied" in lowered:
        reason = "it asks for the password without TLS, in a way that this libpq cannot choose"
        return _Refusal(AccessDenied, reason, f"{_IN_THE_CLEAR}; libpq 16 and later can prove it safely", True)
    for words, kind, hint in _LIBPQ:
        if words in lowered:
            return _Refusal(kind, reason, hint, is_answer=True)
    return _Refusal(ConnectionLost, reason, _UNREACHABLE_HINT, is_answer=False)


def _by_sqlstate(sqlstate: str, message: str) -> _Refusal:
    lowered = message.lower()
    # A pooler has no states of its own.
    if sqlstate == "08P01" and ("startup parameter" in lowered or "pgbouncer" in lowered):
        return _Refusal(ServerUnsuitable, message, _POOLER, True, sqlstate)
    kind, hint = _STATES[max((state for state in _STATES if sqlstate.startswith(state)), key=len)]
    better = (each for state, words, each in _BETTER_HINTS if sqlstate.startswith(state) and words in lowered)
    return _Refusal(kind, message, next(better, hint), True, sqlstate)


def _reason(text: str) -> str:
    """The last message of libpq; the ones before are of addresses that were tried first."""
    reasons = _REASON.findall(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return str(reasons[-1]) if reasons else lines[-1] if lines else "no reason given"
