"""A server elsewhere that says it has no TLS gets no password in clear text; who is on the way could be that server."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, pq

from ditto.errors import AccessDenied, DittoError
from ditto.source.connection import KNOWS_REQUIRE_AUTH, connect
from ditto.testing.servers import PostgresServer

HOST = "db.test"
PASSWORD = "hunter2"
SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
CLEAR, SASL = 3, 10


class Thief:
    """Speaks as much of the protocol as it takes to be given a password: no real server strips its own TLS."""

    def __init__(self, *requests: bytes) -> None:
        self.heard = b""
        self._requests = requests
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError, struct.error):
                    client.settimeout(5)
                    self._talk(client)

    def _talk(self, client: socket.socket) -> None:
        while True:
            head = client.recv(8, socket.MSG_WAITALL)
            length, code = struct.unpack("!II", head)
            if code not in {SSL_REQUEST, GSS_REQUEST}:
                break
            client.sendall(b"N")
        client.recv(length - 8, socket.MSG_WAITALL)
        for request in self._requests:
            client.sendall(b"R" + struct.pack("!I", 4 + len(request)) + request)
            self.heard += client.recv(4096)


@pytest.fixture(params=["cleartext", "cleartext after SASL"])
def thief(request: pytest.FixtureRequest) -> Iterator[Thief]:
    sasl = [struct.pack("!I", SASL) + b"SCRAM-SHA-256\0\0"] if request.param != "cleartext" else []
    thief = Thief(*sasl, struct.pack("!I", CLEAR))
    yield thief
    thief.close()


def dsn_of(port: int, **more: str) -> str:
    """As on another machine: by name, with the address beside it."""
    return conninfo.make_conninfo(host=HOST, hostaddr="127.0.0.1", port=str(port), user="u", dbname="d", **more)


def refusal(dsn: str) -> DittoError:
    with pytest.raises(DittoError) as caught:
        asyncio.run(connect(dsn))
    return caught.value


@pytest.mark.parametrize("given_by", ["dsn", "environment", "file"])
def test_a_stripped_connection_gets_no_password(
    thief: Thief, given_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dsn = dsn_of(thief.port)
    match given_by:
        case "dsn":
            dsn = dsn_of(thief.port, password=PASSWORD)
        case "environment":
            monkeypatch.setenv("PGPASSWORD", PASSWORD)
        case _:
            (tmp_path / "pass").write_text(f"*:*:*:*:{PASSWORD}\n")
            (tmp_path / "pass").chmod(0o600)
            monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pass"))
    error = refusal(dsn)
    assert PASSWORD.encode() not in thief.heard
    assert isinstance(error, AccessDenied)
    assert not error.is_retryable
    assert "sslmode=disable" in (error.hint or "")
    assert PASSWORD not in f"{error.message} {error.hint}"


def test_one_explicit_setting_sends_it() -> None:
    thief = Thief(struct.pack("!I", CLEAR))
    try:
        refusal(dsn_of(thief.port, password=PASSWORD, sslmode="disable"))
    finally:
        thief.close()
    assert PASSWORD.encode() in thief.heard


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("pg"), settings={"fsync": "off"}) as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            row = connection.execute("SHOW hba_file").fetchone()
            assert row is not None
            rules = Path(row[0])
            connection.execute(f"CREATE ROLE u LOGIN PASSWORD '{PASSWORD}'".encode())
            connection.execute("CREATE ROLE trusted LOGIN")
            rules.write_text("host all u all scram-sha-256\n" + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")
        yield server


async def test_a_real_server_without_tls_is_served_where_the_password_is_safe(server: PostgresServer) -> None:
    dsn = conninfo.make_conninfo(server.dsn, host=HOST, hostaddr="127.0.0.1")
    await (await connect(conninfo.make_conninfo(dsn, user="trusted"))).close()
    given = conninfo.make_conninfo(dsn, user="u", password=PASSWORD)
    if pq.version() >= KNOWS_REQUIRE_AUTH:
        await (await connect(given)).close()
    else:
        with pytest.raises(AccessDenied) as caught:
            await connect(given)
        assert "libpq 16" in (caught.value.hint or "")
    await (await connect(conninfo.make_conninfo(given, sslmode="disable"))).close()
