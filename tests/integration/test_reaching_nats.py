"""Connecting to NATS: every address of every server, and what each says where none can be used."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import nats
import pytest
import uvloop
from e2e.setup.test_tls_nats import Key

from ditto.check.run import run_checks
from ditto.config import Config, Nats, Postgres
from ditto.errors import LoginDenied, NoJetStream, SinkError, SinkLost
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.credentials import is_local
from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from nats.aio.msg import Msg

CLOSED = 'authorization { user: u, password: "right" }'


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


async def reached(config: Nats) -> str:
    """Where it is connected to."""
    connection = await servers.connect(config, accept=partial(servers.usable, config=config))
    await servers.close(connection)
    return connection.where


async def refusal(config: Nats) -> SinkError:
    with pytest.raises(SinkError) as caught:
        await reached(config)
    assert "secret" not in caught.value.message
    return caught.value


@asynccontextmanager
async def silent_listener(host: str, port: int) -> AsyncIterator[None]:
    """Takes connections and says nothing."""
    writers = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    listener = await asyncio.start_server(take, host, port)
    try:
        yield
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()


def resolve_to(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> None:
    """What the name service says of these names."""
    loop = asyncio.get_running_loop()
    right = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **options: Any) -> Any:
        if host not in addresses:
            return await right(host, port, **options)
        return [each for address in addresses[host] for each in await right(address, port, **options)]

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)


async def test_every_address_of_a_name_is_tried(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "CONNECT_TIMEOUT_S", 0.5)
    resolve_to(monkeypatch, {"nats.test": ["127.0.0.2", "127.0.0.3", "127.0.0.1"]})
    async with silent_listener("127.0.0.2", server.port):
        began_at = time.monotonic()
        where = await reached(Nats(url=f"nats://nats.test:{server.port}"))
    assert where == f"nats.test:{server.port} (127.0.0.1)"
    assert time.monotonic() - began_at < 5


async def test_a_name_service_that_hangs_has_a_time_limit(server: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(servers, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
    error = await refusal(Nats(url=f"nats://nats.test:{server.port}"))
    assert isinstance(error, SinkLost)
    assert "no answer" in error.message


async def test_one_server_that_refuses_does_not_decide(server: NatsServer, tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path / "plain", jetstream=False) as plain,
        NatsServer(tmp_path / "closed", config=CLOSED) as closed,
    ):
        config = Nats(url=[plain.url, closed.url, "nats://no-such-name.invalid", server.url])
        for _ in range(12):  # it begins with any of them
            assert await reached(config) == f"127.0.0.1:{server.port}"
        # Where all refuse, that is final, with every reason; where one may come back, it is tried again.
        final = await refusal(Nats(url=[plain.url, closed.url]))
        assert isinstance(final, LoginDenied | NoJetStream)
        assert "without JetStream" in final.message
        assert "Authorization Violation" in final.message
        later = await refusal(Nats(url=[plain.url, closed.url, f"nats://127.0.0.1:{free_port()}"]))
        assert later.is_retryable
        assert "Authorization Violation" in later.message
        assert "Connection refused" in later.message


async def test_the_addresses_of_this_machine_are_one_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong password is final, although nobody listens on another address of localhost."""
    resolve_to(monkeypatch, {"localhost": ["127.0.0.2", "127.0.0.1"]})
    with NatsServer(tmp_path / "closed", config=CLOSED) as closed:
        error = await refusal(Nats(url=f"nats://localhost:{closed.port}"))
    assert isinstance(error, LoginDenied)


# ------------------------------------------------------------------------------------ what the server says


async def test_too_many_connections(tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", config="max_connections: 1") as server:
        first = await nats.connect(server.url)
        try:
            for _ in range(3):
                error = await refusal(Nats(url=server.url))
                assert error.is_retryable
                assert "maximum connections exceeded" in error.message
        finally:
            await first.close()


async def test_a_login_that_takes_longer_than_two_seconds(tmp_path: Path) -> None:
    """nats-server asks meanwhile whether the client is there: nats-py takes that for the end of the login."""
    issuer = Key("A")
    config = f"""authorization {{
  timeout: 10, users: [{{ user: auth, password: p }}]
  auth_callout {{ issuer: {issuer.public}, auth_users: [auth] }}
}}"""
    with NatsServer(tmp_path / "nats", config=config) as server:
        service = await nats.connect(server.url, user="auth", password="p", allow_reconnect=False)

        async def admit(message: Msg) -> None:
            payload = message.data.split(b".")[1]
            request = json.loads(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))["nats"]
            await asyncio.sleep(2.5)  # how long this service takes is what is tested
            admitted: dict[str, object] = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}
            user = issuer.sign(request["user_nkey"], "ditto", admitted, audience="$G")
            answer: dict[str, object] = {"type": "authorization_response", "jwt": user}
            audience = request["server_id"]["id"]
            await message.respond(issuer.sign(request["user_nkey"], "", answer, audience=audience).encode())

        await service.subscribe("$SYS.REQ.USER.AUTH", cb=admit)
        await service.flush()
        try:
            assert await reached(Nats(url=server.url, user="ditto", password="secret"))
        finally:
            await service.close()


async def test_a_server_that_ends_the_login(tmp_path: Path) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.15.1","max_payload":1048576,"jetstream":true}\r\n')
        await reader.readline()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        error = await refusal(Nats(url=f"nats://127.0.0.1:{port}"))
    assert isinstance(error, SinkLost)
    assert f"127.0.0.1:{port}" in error.message


# ------------------------------------------------------------------------------------ passwords without TLS


@pytest.mark.parametrize(
    "identity",
    [
        {"user": "u", "password": "secret"},
        {"token": "secret"},
        {"url": "u:secret@"},
        {"url": "secret@"},
    ],
    ids=["password", "token", "password in the URL", "token in the URL"],
)
async def test_no_password_to_another_machine_without_tls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, identity: dict[str, str]
) -> None:
    seen = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.15.1","max_payload":1048576,"jetstream":true,"auth_required":true}\r\n')
        seen.extend(await reader.read(1000))
        writer.close()

    monkeypatch.setattr(servers, "is_local", lambda _host: False)
    listener = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with listener:
        place = f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        given: dict[str, Any] = {**identity, "url": f"nats://{identity.get('url', '')}{place}"}
        error = await refusal(Nats(**given))
        assert isinstance(error, LoginDenied)
        assert "plain text" in error.message
        assert "nats.allow_plaintext_credentials" in (error.hint or "")
        assert b"secret" not in seen
        await refusal(Nats(**given, allow_plaintext_credentials=True))
        assert b"secret" in seen, "allowed"


async def test_check_names_a_password_without_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "is_local", lambda _host: False)
    nowhere = Postgres(dsn=f"postgres://127.0.0.1:{free_port()}/nowhere")
    with NatsServer(tmp_path / "nats", config=CLOSED) as server:
        given = Nats(url=server.url, user="u", password="right")
        refused = await run_checks(Config(postgres=nowhere, nats=given))
        (connecting,) = [finding for finding in refused if finding.check == "nats.connect"]
        assert connecting.level == "error"
        assert "plain text" in connecting.what
        allowed = await run_checks(
            Config(postgres=nowhere, nats=msgspec.structs.replace(given, allow_plaintext_credentials=True))
        )
        (credentials,) = [finding for finding in allowed if finding.check == "nats.credentials"]
        assert credentials.level == "warning"
        assert "plain text" in credentials.what


async def test_check_names_the_servers_that_cannot_be_used(server: NatsServer, tmp_path: Path) -> None:
    nowhere = Postgres(dsn=f"postgres://127.0.0.1:{free_port()}/nowhere")
    with NatsServer(tmp_path / "plain", jetstream=False) as plain:
        config = Config(postgres=nowhere, nats=Nats(url=[plain.url, server.url]))
        for _ in range(12):
            found = await run_checks(config)
            if named := [finding for finding in found if finding.check == "nats.servers"]:
                break
        assert "without JetStream" in named[0].what
        assert [finding.level for finding in found if finding.check == "nats.connect"] == ["ok"]
        alone = await run_checks(Config(postgres=nowhere, nats=Nats(url=plain.url)))
        assert ("nats.jetstream", "error") in [(finding.check, finding.level) for finding in alone]


def test_which_addresses_are_of_this_machine() -> None:
    assert all(is_local(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"))
    assert not any(is_local(host) for host in ("10.0.0.1", "192.168.1.1", "fe80::1%eth0", "0.0.0.0"))


def test_a_block_that_comes_after_the_end_is_no_error_of_its_own(tmp_path: Path) -> None:
    """Uvloop raises where a connection that has ended is written to; what it ended by is what counts."""

    async def write_after_the_end(server: NatsServer) -> None:
        connection = await servers.connect(Nats(url=server.url))
        await connection.listen("answers", lambda *_: None)
        connection.abandon()
        async with asyncio.timeout(10):
            while not connection.is_closed:
                connection.write(b"PUB x 1\r\nx\r\n")
                await asyncio.sleep(0)
            with pytest.raises(SinkLost):
                await connection.failure

    with NatsServer(tmp_path / "nats") as server:
        uvloop.run(write_after_the_end(server))
