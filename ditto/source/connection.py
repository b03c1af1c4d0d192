"""Connecting to PostgreSQL: what Ditto adds to the connection string, and what it asks of TLS.

Every connection is made here, so that all of them follow the same rules: the settings of `session` are pinned, and a
server elsewhere that does TLS is verified, unless the user says otherwise (`sslmode`). libpq's own default encrypts
without asking to whom.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
from psycopg import AsyncConnection, conninfo, pq
from psycopg.rows import TupleRow

from ditto.source.connection_errors import connect_error
from ditto.source.handshake import PinnedAsyncConnection
from ditto.source.session_settings import MAY_WRITE, options

CONNECT_TIMEOUT_S: Final = 10
_KNOWS_SYSTEM_CAS: Final = 160000
"""The first libpq that takes `sslrootcert=system`."""
KNOWS_REQUIRE_AUTH: Final = 160000
"""The first libpq that can be told which ways of proving a password are out."""
_UNVERIFIED_MODES: Final = frozenset({"allow", "prefer", "require"})

Transport = Literal["local", "verified", "unverified", "plain"]
"""`local`: a Unix socket or a loopback address. `plain`: another machine, without TLS."""


async def connect(
    dsn: str, *, is_replication: bool = False, is_read_only: bool = True, **settings: str
) -> AsyncConnection[TupleRow]:
    """Connect, with the pinned settings of `session`, of which `settings` replace some.

    Transactions are read-only, unless `is_read_only` is false. Raises AccessDenied, ConnectionLost, ServerNotReady,
    ServerUnsuitable and ConfigError.
    """
    changes = {"options": options(**settings), **({"replication": "database"} if is_replication else {})}
    is_fallback = False
    try:
        try:
            connection = await PinnedAsyncConnection.connect(parameters(dsn, **changes), autocommit=True)
        except psycopg.Error as error:
            is_fallback = _may_go_without_tls(dsn, error)
            if not is_fallback:
                raise
            changes |= _without_tls(dsn)
            connection = await PinnedAsyncConnection.connect(parameters(dsn, **changes), autocommit=True)
        if not is_read_only:
            await connection.execute(MAY_WRITE.encode())
    except psycopg.Error as error:
        raise connect_error(error, dsn, is_fallback=is_fallback) from error
    return connection


def parameters(dsn: str, **changes: str) -> str:
    """The connection string with what Ditto adds; what the user gave for the same keyword stays, options are joined.

    The user's options may be in the environment (PGOPTIONS) or in a service file, too. Where two set the same, the
    server takes the later one.
    """
    given = conninfo.conninfo_to_dict(dsn)
    given.pop("replication", None)  # Ditto says itself which of its connections replicates
    joined = " ".join(filter(None, (resolved(dsn).get("options"), changes.pop("options", ""))))
    merged: dict[str, Any] = {
        "application_name": "ditto",
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        # Every status message is data that a dead peer does not acknowledge: found out within half a minute.
        "tcp_user_timeout": "20000",
        **({} if "sslmode" in changes else _verification(dsn)),
        **given,
        "client_encoding": "UTF8",
        **changes,
    }
    if joined:
        merged["options"] = joined
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


def _without_tls(dsn: str) -> dict[str, str]:
    """The parameters for a server that says it has no TLS, to which anybody in between can reduce it.

    The password is not sent in clear text then. libpq before 16 sends it in whatever way the server asks for: it gets
    none, and goes on only where the server wants none.
    """
    chosen = {"sslmode": "disable"}
    if pq.version() < KNOWS_REQUIRE_AUTH:
        # A file that cannot exist, instead of ~/.pgpass.
        return {**chosen, "password": "", "passfile": f"{os.devnull}/none"}
    return chosen if resolved(dsn).get("require_auth") else {**chosen, "require_auth": "!password"}


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
