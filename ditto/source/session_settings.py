"""The settings that every session of Ditto has, whatever the server, the database and the role say.

A role's own settings (`ALTER ROLE … SET`) cannot override what a connection is opened with, on a replication
connection neither: https://www.postgresql.org/docs/current/config-setting.html. Names are looked up in pg_catalog
alone, so that no object that somebody else has made runs as Ditto's role; no time limit ends a session that waits; and
values are written in one way.
"""

from __future__ import annotations

from typing import Final

from psycopg.pq.abc import PGconn

from ditto.errors import ServerUnsuitable

_PINS: Final = {
    "search_path": "pg_catalog",
    "row_security": "off",
    "client_min_messages": "warning",
    "exit_on_error": "off",
    # What makes a session end, or a statement fail, by itself.
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    # At first: libpq looks at it where target_session_attrs wants a server that can be written to.
    "default_transaction_read_only": "off",
    "default_transaction_isolation": r"read\ committed",
    "default_transaction_deferrable": "off",
    # Ditto may be the standby that its own commit would wait for.
    "synchronous_commit": "local",
    # How text is read and written.
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "xmloption": "content",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
}

_LATER: Final = """
    SELECT pg_catalog.current_setting('search_path'),
           pg_catalog.set_config('default_transaction_read_only', 'on', false),
           (SELECT pg_catalog.set_config(s.name, '0', false) FROM pg_catalog.pg_settings AS s
             WHERE s.name OPERATOR(pg_catalog.=) 'transaction_timeout'),
           CASE WHEN {may_set_messages} THEN pg_catalog.set_config('lc_messages', 'C', false) END"""
"""What cannot be given while connecting: settings that not every major has, or not every role may set."""

_FIRST_WITH_GRANTS: Final = 150000
"""The first major that can grant a role the right to set a superuser's setting."""

MAY_WRITE: Final = "SET default_transaction_read_only = off"
READ_ONLY: Final = "SET default_transaction_read_only = on"


def options(**settings: str) -> str:
    """The pins for libpq's parameter `options`; `settings` replace some of them, or add to them."""
    return " ".join(f"-c {name}={value}" for name, value in {**_PINS, **settings}.items())


def later(pgconn: PGconn) -> bytes:
    """The query that completes the pins on a connection just made; its first column is the search path."""
    may_set_messages = "false"
    if pgconn.parameter_status(b"is_superuser") == b"on":
        may_set_messages = "true"
    elif pgconn.server_version >= _FIRST_WITH_GRANTS:
        may_set_messages = "pg_catalog.has_parameter_privilege('lc_messages', 'SET')"
    return _LATER.format(may_set_messages=may_set_messages).encode()


def check_pinned(search_path: bytes | None) -> None:
    """Raise ServerUnsuitable where the pins have not arrived."""
    if (search_path or b"").decode() != _PINS["search_path"]:
        raise ServerUnsuitable(
            "something between Ditto and PostgreSQL drops the settings that Ditto connects with",
            hint="a pooler such as PgBouncer (ignore_startup_parameters = options) does that: give the address of "
            "PostgreSQL itself in postgres.dsn",
        )
