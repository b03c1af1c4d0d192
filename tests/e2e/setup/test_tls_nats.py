"""TLS and every way to authenticate with a real nats-server: right ones store, wrong ones end in a sentence."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import nkeys
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ditto.lsn import parse_lsn
from ditto.testing.servers import NatsServer
from e2e.certificates import Authority
from e2e.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from e2e.world import World


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


@contextmanager
def tls_server(
    folder: Path, authority: Authority, *names: str, is_expired: bool = False, more: str = "", beside: str = ""
) -> Iterator[NatsServer]:
    pair = authority.issue(*names or ("127.0.0.1",), is_expired=is_expired, for_server=False)
    tls = f'cert_file: "{pair.cert}", key_file: "{pair.key}", {more}'
    with NatsServer(folder, config=f"tls {{ {tls} }}\n{beside}") as server:
        yield server


async def stores(world: World, server: NatsServer, **settings: object) -> None:
    """That the event of a row is stored: only then is it confirmed to PostgreSQL."""
    ditto = await world.streaming(**{"nats_url": server.url, **settings})
    before = parse_lsn(world.value("SELECT pg_current_wal_insert_lsn()::text"))
    world.sql("INSERT INTO fence DEFAULT VALUES")
    await eventually(lambda: world.confirmed_lsn > before, "the event is stored and confirmed")
    assert await ditto.stop() == 0
    assert ditto.logs("pipeline.drained")[0]["events"] >= 1


async def refusal(world: World, server: NatsServer, code: int = 4, **settings: object) -> str:
    """That it stops at once; what it says."""
    ditto = world.ditto(**{"nats_url": server.url, **settings})
    assert await ditto.ended() == code
    assert not ditto.logs("session.failed")
    sentence = ditto.sentence()
    assert "hint: " in sentence or code == 2
    assert "wrong" not in ditto.output, "a secret"
    return sentence


# ------------------------------------------------------------------------------------ certificates


async def test_the_server_is_verified(world: World, authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    tls = {"nats_tls_ca": str(authority.file)}
    with tls_server(tmp_path / "right", authority) as server:
        await stores(world, server, **tls)
        await stores(world, server, nats_url=server.url.replace("nats://", "tls://"), **tls)
        # Nothing said about TLS: the server asks for it, and the system's authorities decide.
        assert "unable to get local issuer" in await refusal(world, server)
        world.settings["SSL_CERT_FILE"] = str(authority.file)
        await stores(world, server)
        del world.settings["SSL_CERT_FILE"]
        sentence = await refusal(world, server, nats_tls_ca=str(stranger.file))
        assert "unable to get local issuer" in sentence
        assert "nats.tls.ca" in sentence, "the way out"


async def test_a_server_with_another_name_is_refused(world: World, authority: Authority, tmp_path: Path) -> None:
    with tls_server(tmp_path / "other", authority, "other.test") as server:
        sentence = await refusal(world, server, nats_tls_ca=str(authority.file))
        assert "certificate is not valid for '127.0.0.1'" in sentence


async def test_an_expired_certificate_is_refused(world: World, authority: Authority, tmp_path: Path) -> None:
    with tls_server(tmp_path / "expired", authority, is_expired=True) as server:
        assert "has expired" in await refusal(world, server, nats_tls_ca=str(authority.file))


async def test_a_client_certificate(world: World, authority: Authority, stranger: Authority, tmp_path: Path) -> None:
    right = authority.issue(user="ditto", for_server=False)
    foreign = stranger.issue(user="ditto", for_server=False)
    tls = {"nats_tls_ca": str(authority.file)}
    with tls_server(tmp_path / "nats", authority, more=f'verify: true, ca_file: "{authority.file}"') as server:
        await stores(world, server, nats_tls_cert=str(right.cert), nats_tls_key=str(right.key), **tls)
        assert "nats.tls.cert" in await refusal(world, server, 4, **tls)
        # This server may have closed the connection before what it says is read: then it is tried again. On a busy
        # machine that is so time after time, and the hint is all that can be expected.
        ditto = world.ditto(nats_url=server.url, nats_tls_cert=str(foreign.cert), nats_tls_key=str(foreign.key), **tls)
        await eventually(lambda: "nats.tls.cert" in ditto.output, "it says which certificate")
        assert ditto.is_running or await ditto.ended() == 4
        assert not ditto.logs("pipeline.streaming")


async def test_files_that_cannot_be_used(world: World, authority: Authority, tmp_path: Path) -> None:
    first, second = (authority.issue(user="ditto", for_server=False) for _ in range(2))
    empty = tmp_path / "empty.pem"
    empty.touch()
    server = world.nats_server
    absent = await refusal(world, server, 2, nats_tls_ca="/nowhere/ca.pem")
    assert "nats.tls.ca: cannot read /nowhere/ca.pem: No such file" in absent
    assert "holds no certificate" in await refusal(world, server, 2, nats_tls_ca=str(empty))
    pair = {"nats_tls_cert": str(first.cert), "nats_tls_key": str(second.key)}
    assert "cannot be used together" in await refusal(world, server, 2, **pair)
    pair["nats_tls_key"] = str(tmp_path)
    assert "nats.tls.key: cannot read" in await refusal(world, server, 2, **pair)
    assert "nats.creds: cannot read /nowhere" in await refusal(world, server, 2, nats_creds="/nowhere")
    # nats-py would look for the end of this one for ever.
    assert "does not hold a user's JWT" in await refusal(world, server, 2, nats_creds=str(empty))
    assert "nats.nkey_seed is not" in await refusal(world, server, 2, nats_nkey_seed="SUAwrong")


async def test_nothing_is_sent_in_plain_text_where_tls_was_asked_for(world: World) -> None:
    """Whoever stands between could claim that the server does no TLS, and would get the password."""
    server = world.nats_server
    file = world.folder / "ditto.json"
    file.write_text('{"nats": {"tls": {}}}')
    assert "does no TLS" in await refusal(world, server, config=str(file))
    assert "does no TLS" in await refusal(world, server, nats_url=server.url.replace("nats://", "tls://"))


async def test_a_server_that_leaves_tls_to_the_client(world: World, authority: Authority, tmp_path: Path) -> None:
    with tls_server(tmp_path / "both", authority, beside="allow_non_tls: true") as server:
        await stores(world, server, nats_tls_ca=str(authority.file))
        assert "unable to get local issuer" in await refusal(
            world, server, nats_url=server.url.replace("nats://", "tls://")
        )
        await stores(world, server)


# ------------------------------------------------------------------------------------ who Ditto is


async def test_user_and_password(world: World, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", config='authorization { user: "a b", password: "p@ss/%41:?#" }') as server:
        await stores(world, server, nats_user="a b", nats_password="p@ss/%41:?#")
        await stores(world, server, nats_url=server.url.replace("//", "//a%20b:p%40ss%2F%2541%3A%3F%23@"))
        assert "Authorization Violation" in await refusal(world, server, nats_user="a b", nats_password="wrong")
        assert "Authorization Violation" in await refusal(world, server)
        assert "Authorization Violation" in await refusal(world, server, nats_user="a b")


async def test_token(world: World, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", config='authorization { token: "t0k en" }') as server:
        await stores(world, server, nats_token="t0k en")
        await stores(world, server, nats_url=server.url.replace("//", "//t0k%20en@"))
        assert "refuses the user of the token: Authorization Violation" in await refusal(
            world, server, nats_token="wrong"
        )


class Key:
    """An NKey made for a test: `kind` is O, A or U. https://docs.nats.io/reference/reference-protocols/nkeys"""

    def __init__(self, kind: str) -> None:
        prefix = {"O": 14, "A": 0, "U": 20}[kind] << 3
        raw = Ed25519PrivateKey.generate().private_bytes_raw()
        seed = bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + raw
        self.seed = base64.b32encode(seed + _crc16(seed)).decode().rstrip("=")
        self._pair = nkeys.from_seed(bytearray(self.seed.encode()))
        self.public = self._pair.public_key.decode()

    def sign(
        self,
        subject: Key | str,
        name: str,
        claims: dict[str, object],
        *,
        expires_at: float | None = None,
        audience: str | None = None,
    ) -> str:
        """A JWT about `subject`: https://docs.nats.io/running-a-nats-service/nats_admin/security/jwt"""
        public = subject if isinstance(subject, str) else subject.public
        body: dict[str, object] = {"iss": self.public, "sub": public, "name": name, "iat": 1_700_000_000}
        if expires_at is not None:
            body["exp"] = int(expires_at)
        if audience is not None:
            body["aud"] = audience
        body["nats"] = claims | {"version": 2}
        body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
        parts = [_base64(json.dumps(each).encode()) for each in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
        return ".".join([*parts, _base64(self._pair.sign(".".join(parts).encode()))])


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _crc16(data: bytes) -> bytes:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc.to_bytes(2, "little")


async def test_nkey(world: World, tmp_path: Path) -> None:
    right, other = Key("U"), Key("U")
    with NatsServer(tmp_path / "nats", config=f"authorization {{ users: [{{ nkey: {right.public} }}] }}") as server:
        await stores(world, server, nats_nkey_seed=right.seed)
        said = await refusal(world, server, nats_nkey_seed=other.seed)
        assert f"refuses user {other.public} (nats.nkey_seed): Authorization Violation" in said


CLAIMS: dict[str, object] = {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}


@contextmanager
def operated(folder: Path) -> Iterator[tuple[NatsServer, Key]]:
    """A server whose users have JWTs, and the account that signs them."""
    operator, system, account = Key("O"), Key("A"), Key("A")
    unlimited = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
    served = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1}
    config = f"""
operator: {operator.sign(operator, "op", {"type": "operator"})}
system_account: {system.public}
resolver: MEMORY
resolver_preload: {{
  {system.public}: {operator.sign(system, "sys", {"type": "account", "limits": served})}
  {account.public}: {operator.sign(account, "app", {"type": "account", "limits": served | unlimited})}
}}
"""
    with NatsServer(folder / "operated", config=config) as server:
        yield server, account


def creds(jwt: str, seed: str) -> str:
    """As `nsc generate creds` writes them."""
    return (
        f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )


async def test_creds(world: World, tmp_path: Path) -> None:
    user, other = Key("U"), Key("U")
    path = tmp_path / "user.creds"

    def given(jwt: str, seed: str) -> str:
        path.write_text(creds(jwt, seed))
        return str(path)

    with operated(tmp_path) as (server, account):
        jwt = account.sign(user, "ditto", CLAIMS)
        await stores(world, server, nats_creds=given(jwt, user.seed))
        said = await refusal(world, server, nats_creds=given(jwt, other.seed))
        assert "refuses user ditto (nats.creds): Authorization Violation" in said
        unknown = Key("A").sign(user, "ditto", CLAIMS)
        assert "Authorization Violation" in await refusal(world, server, nats_creds=given(unknown, user.seed))
        assert "nats.creds" in await refusal(world, server, 2, nats_creds=given(jwt, "SUAwrong"))


# ------------------------------------------------------------------------------------ the files, while Ditto runs


async def test_creds_in_every_form_and_while_they_are_replaced(world: World, tmp_path: Path) -> None:
    user = Key("U")
    path = tmp_path / "user.creds"
    with operated(tmp_path) as (server, account):
        right = creds(account.sign(user, "ditto", CLAIMS), user.seed)
        for content in (right.replace("\n", "\r\n"), right.replace("\n\n", "\n").rstrip("\n")):
            path.write_bytes(content.encode())
            await stores(world, server, nats_creds=str(path))
        ditto = await world.streaming(nats_url=server.url, nats_creds=str(path))
        path.write_text("")
        server.restart()
        failure = await ditto.logged("session.failed", kind="ConfigError")
        assert "does not hold a user's JWT and seed" in failure["error"]
        path.write_text(right)
        await ditto.streaming(count=2)
        assert await ditto.stop() == 0
        path.write_text("")
        assert "nats.creds" in await refusal(world, server, 2, nats_creds=str(path))


async def test_a_jwt_that_expires(world: World, tmp_path: Path) -> None:
    user = Key("U")
    path = tmp_path / "user.creds"
    with operated(tmp_path) as (server, account):
        path.write_text(creds(account.sign(user, "ditto", CLAIMS, expires_at=time.time() + 4), user.seed))
        ditto = await world.streaming(nats_url=server.url, nats_creds=str(path))
        refused = await ditto.logged("session.failed", kind="LoginDenied")
        assert "authentication expired" in ditto.logs("session.failed")[0]["error"]
        assert "the JWT in nats.creds expired at 20" in refused["hint"]
        path.write_text(creds(account.sign(user, "ditto", CLAIMS), user.seed))
        await ditto.streaming(count=2)
        assert await ditto.stop() == 0
        path.write_text(creds(account.sign(user, "ditto", CLAIMS, expires_at=time.time() - 1), user.seed))
        assert "the JWT in nats.creds expired at 20" in await refusal(world, server, nats_creds=str(path))


async def test_tls_before_the_servers_info(world: World, authority: Authority, tmp_path: Path) -> None:
    tls = {"nats_tls_ca": str(authority.file)}
    with tls_server(tmp_path / "nats", authority, more='handshake_first: "200ms"') as server:
        file = server.folder / "nats.conf"
        file.write_text(file.read_text().replace('"200ms"', "true"))
        server.reload()
        await eventually(lambda: not says_info(server.port), "it waits for TLS", timeout_s=10)
        await stores(world, server, nats_tls_handshake_first="true", **tls)
        sentence = await refusal(world, server, 4, **tls)
        assert "does TLS, and Ditto came without" in sentence
        assert "set nats.tls.handshake_first to true" in sentence
    sentence = await refusal(world, world.nats_server, 4, nats_tls_handshake_first="true", **tls)
    assert "does no TLS" in sentence
    assert "leave nats.tls.handshake_first out" in sentence


def says_info(port: int) -> bool:
    """Whether the server speaks first."""
    with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        try:
            return connection.recv(4) == b"INFO"
        except TimeoutError:
            return False


async def test_a_name_in_capitals_and_a_password_with_a_line_end(world: World, tmp_path: Path) -> None:
    with NatsServer(tmp_path / "nats", config='authorization { user: u, password: "right" }') as server:
        url = server.url.replace("nats://", "NATS://")
        await stores(world, server, nats_url=url, nats_user="u", nats_password="right\n")
    with NatsServer(tmp_path / "token", config='authorization { token: "right" }') as server:
        await stores(world, server, nats_token="right\r\n", delivery_on_gap="continue")
