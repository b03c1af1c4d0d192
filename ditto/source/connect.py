"""Connecting to PostgreSQL: what Ditto adds to the connection string, and what it asks of TLS.

Every connection is made here, so that all of them follow one rule: a server elsewhere that does TLS is verified, unless
the user says otherwise (`sslmode`). libpq's own default encrypts without asking to whom.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg import AsyncConnection, Connection, conninfo, pq
from psycopg.rows import TupleRow, dict_row

from ditto.source.failures import connect_error

CONNECT_TIMEOUT_S: Final = 10
_KNOWS_SYSTEM_CAS: Final = 160000
"""The first libpq that takes `sslrootcert=system`."""
_UNVERIFIED_MODES: Final = frozenset({"allow", "prefer", "require"})

Transport = Literal["local", "verified", "unverified", "plain"]
"""`local`: a Unix socket or a loopback address. `plain`: another machine, without TLS."""


async def connect(dsn: str, **changes: str) -> AsyncConnection[TupleRow]:
    """Connect, with `changes` to the connection string.

    Raises AccessDenied, ConnectionLost, ServerNotReady, ServerUnsuitable and ConfigError.
    """
    try:
        try:
            return await AsyncConnection.connect(parameters(dsn, **changes), autocommit=True)
        except psycopg.Error as error:
            if not _may_go_without_tls(dsn, error):
                raise
        return await AsyncConnection.connect(parameters(dsn, **changes, sslmode="disable"), autocommit=True)
    except psycopg.Error as error:
        raise connect_error(error, dsn) from error


def connect_blocking(dsn: str) -> Connection[dict[str, Any]]:
    """The same for a command that has no event loop; rows are dictionaries."""
    try:
        try:
            return psycopg.connect(parameters(dsn), autocommit=True, row_factory=dict_row)
        except psycopg.Error as error:
            if not _may_go_without_tls(dsn, error):
                raise
        return psycopg.connect(parameters(dsn, sslmode="disable"), autocommit=True, row_factory=dict_row)
    except psycopg.Error as error:
        raise connect_error(error, dsn) from error


def parameters(dsn: str, **changes: str) -> str:
    """The connection string with what Ditto adds; what the user gave for the same keyword stays, options are joined."""
    given = conninfo.conninfo_to_dict(dsn)
    given.pop("replication", None)  # Ditto says itself which of its connections replicates
    options = " ".join(filter(None, (str(given.get("options") or ""), changes.pop("options", ""))))
    merged: dict[str, Any] = {
        "application_name": "ditto",
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        # Every status message is data that a dead peer does not acknowledge: found out within half a minute.
        "tcp_user_timeout": "20000",
        **_verification(dsn),
        **given,
        **changes,
    }
    if options:
        merged["options"] = options
    return conninfo.make_conninfo("", **merged)


def transport(connection: AsyncConnection[Any]) -> Transport:
    """How safe a connection is from others on the way."""
    used = {each.keyword.decode(): (each.val or b"").decode() for each in connection.pgconn.info}
    if _is_local(used):
        return "local"
    if not connection.pgconn.ssl_in_use:
        return "plain"
    # With a file of authorities, libpq verifies for sslmode=require too.
    has_authorities = bool(used.get("sslrootcert")) or _default_authorities().exists()
    is_verified = used.get("sslmode") not in _UNVERIFIED_MODES or (used["sslmode"] == "require" and has_authorities)
    return "verified" if is_verified else "unverified"


def resolved(dsn: str) -> dict[str, str]:
    """What libpq makes of `dsn`: the environment, the service file and its own defaults included. Connects nowhere."""
    # libpq puts everything together first, and then refuses this value.
    unfit = conninfo.make_conninfo(dsn, channel_binding="none of these")
    options = pq.PGconn.connect_start(unfit.encode()).info
    return {each.keyword.decode(): each.val.decode() for each in options if each.val is not None}


def _verification(dsn: str) -> dict[str, str]:
    """The parameters that have the server verified; nothing where the user has decided, or it is this machine.

    `sslmode=prefer` in a service file cannot be told from libpq's default, and counts as not given.
    """
    given = conninfo.conninfo_to_dict(dsn)
    if given.get("sslmode") or os.environ.get("PGSSLMODE") or os.environ.get("PGREQUIRESSL"):
        return {}
    effective = resolved(dsn)
    if effective.get("sslmode") != "prefer" or _is_local(effective):
        return {}
    chosen = {"sslmode": "verify-full"}
    if not effective.get("sslrootcert") and not _default_authorities().exists():
        if pq.version() >= _KNOWS_SYSTEM_CAS:
            chosen["sslrootcert"] = "system"
        elif bundle := ssl.get_default_verify_paths().cafile:
            chosen["sslrootcert"] = bundle
    return chosen


def _may_go_without_tls(dsn: str, error: psycopg.Error) -> bool:
    """Whether nobody asked for TLS, and the server has none: what libpq's default would do."""
    said = str(error).lower()
    # Of several servers one may have none while another one was not the right one.
    return "server does not support ssl" in said and "certificate" not in said and bool(_verification(dsn))


def _default_authorities() -> Path:
    return Path("~/.postgresql/root.crt").expanduser()


def _is_local(options: dict[str, str]) -> bool:
    """Whether every server is this machine, by what is written: a name is not looked up."""
    # The name comes first: with an address beside it, it is the name that the certificate has to have.
    hosts = (options.get("host") or options.get("hostaddr") or "").split(",")
    return all(_is_local_host(host) for host in hosts)


def _is_local_host(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
