"""What a role sets for its sessions does not reach Ditto's, on either kind of connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from ditto.source.connection import connect
from ditto.testing.servers import PostgresServer

HOSTILE = {
    "search_path": "public",
    "row_security": "on",
    "client_min_messages": "error",
    "exit_on_error": "on",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "50ms",
    "idle_session_timeout": "50ms",
    "transaction_timeout": "50ms",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "datestyle": "SQL, DMY",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Tokyo",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "lc_messages": "C.UTF-8",
}
"""What a role may set for itself, and what a superuser may for it."""
PINNED = {
    "search_path": "pg_catalog",
    "row_security": "off",
    "client_min_messages": "warning",
    "exit_on_error": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "transaction_timeout": "0",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "read committed",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "xmlbinary": "base64",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "lc_messages": "C",
}
SETTINGS = f"SELECT lower(name), setting FROM pg_catalog.pg_settings WHERE lower(name) = ANY('{{{','.join(PINNED)}}}')"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("pg"), settings={"fsync": "off"}) as running:
        yield running


@pytest.fixture(scope="module")
def dsn(server: PostgresServer) -> str:
    """As a role that sets everything otherwise, and may set lc_messages where a role can be allowed to."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE hostile LOGIN REPLICATION")
        known = {name for (name,) in connection.execute("SELECT lower(name) FROM pg_settings")}
        for name in known & HOSTILE.keys():
            connection.execute(f"ALTER ROLE hostile SET {name} = {HOSTILE[name]!r}".encode())
        if connection.info.server_version >= 150000:
            connection.execute("GRANT SET ON PARAMETER lc_messages TO hostile")
    return conninfo.make_conninfo(server.dsn, user="hostile", target_session_attrs="read-write")


def expected(rows: list[tuple[str, str]], version: int) -> dict[str, str]:
    pinned = {name: PINNED[name] for name, _ in rows}
    if version < 150000:
        pinned["lc_messages"] = HOSTILE["lc_messages"]
    return pinned


@pytest.mark.parametrize("is_replication", [False, True])
async def test_a_roles_own_settings_do_not_count(dsn: str, is_replication: bool) -> None:
    async with await connect(dsn, is_replication=is_replication) as connection:
        rows = await (await connection.execute(SETTINGS.encode())).fetchall()
        assert dict(rows) == expected(rows, connection.info.server_version)


async def test_a_setting_that_is_asked_for_takes_the_place_of_a_pin(dsn: str) -> None:
    async with await connect(dsn, intervalstyle="iso_8601", is_read_only=False) as connection:
        rows = await (await connection.execute(SETTINGS.encode())).fetchall()
        settings: dict[str, str] = dict(rows)
        assert settings["intervalstyle"] == "iso_8601"
        assert settings["default_transaction_read_only"] == "off"


@pytest.mark.parametrize("given_by", ["dsn", "environment", "service"])
async def test_options_of_the_user_are_kept(
    dsn: str, given_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = "-c work_mem=5MB -c search_path=public"
    match given_by:
        case "dsn":
            dsn = conninfo.make_conninfo(dsn, options=options)
        case "environment":
            monkeypatch.setenv("PGOPTIONS", options)
        case _:
            (tmp_path / "services").write_text(f"[shop]\noptions={options}\n")
            monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
            dsn = conninfo.make_conninfo(dsn, service="shop")
    for is_replication in (False, True):
        async with await connect(dsn, is_replication=is_replication) as connection:
            row = await (await connection.execute("SELECT current_setting('work_mem')")).fetchone()
            assert row == ("5MB",)
            row = await (await connection.execute("SHOW search_path")).fetchone()
            assert row == ("pg_catalog",)
