"""TLS, users and permissions with a real Redis: right ones store, wrong ones end in a sentence."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import redis

from ditto.testing.process import free_port
from ditto.testing.redis_server import RedisServer
from e2e.certificates import Authority
from e2e.proxy import Proxy
from e2e.sinks.redis_world import redis_world_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from e2e.sinks.redis_world import RedisWorld

COMMANDS = (
    "+@connection +info +config|get +script|load +eval +evalsha +exists +type +hget +hmget +hgetall +hset +hincrby "
    "+sadd +smembers +xadd +xlen +xrange +xrevrange +xread"
)
"""As the guide has them."""


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
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """With TLS on a port beside, on which clients have to show a certificate, and with a user."""
    pair = authority.issue("127.0.0.1", for_server=False)
    settings = {
        "tls-port": str(free_port()),
        "tls-cert-file": str(pair.cert),
        "tls-key-file": str(pair.key),
        "tls-ca-cert-file": str(authority.file),
        "tls-auth-clients": "yes",
    }
    with RedisServer(tmp_path_factory.mktemp("secured"), settings=settings) as server:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command(*f"ACL SETUSER ditto on >hushhush ~r* ~ditto:* {COMMANDS}".split())
            client.acl_setuser(
                "reader", enabled=True, passwords=["+hushhush"], keys=["*"], categories=["+@read", "+@connection"]
            )
        yield server


@pytest.fixture
def world(shared_postgres: PostgresServer, secured: RedisServer, tmp_path: Path) -> Iterator[RedisWorld]:
    with redis_world_on(shared_postgres, secured, tmp_path) as world:
        yield world


async def stores(world: RedisWorld, **settings: object) -> None:
    ditto = await world.streaming(**settings)
    await world.fence()
    assert await ditto.stop() == 0


async def refusal(world: RedisWorld, **settings: object) -> str:
    """That it stops at once; what it says."""
    ditto = world.ditto(**settings)
    assert await ditto.ended() == 4
    assert not ditto.logs("session.failed")
    sentence = ditto.sentence()
    assert "hint: " in sentence
    assert "hushhush" not in ditto.output
    assert "wrongone" not in ditto.output
    return sentence


async def finding(world: RedisWorld, **settings: object) -> str:
    """What `ditto check` says of the connection: the sentence and the hint with which `ditto run` would stop."""
    found = (await world.checked(**settings))["redis.connect"]
    assert found.level == "error"
    return f"{found.what}\n  hint: {found.why}" + (f":\n{found.fix}" if found.fix else "")


def enter(said: str) -> None:
    """The command of the hint, as it is printed."""
    command = said.partition("hint: ")[2].partition(":\n")[2]
    subprocess.run(["sh", "-e", "-c", command], check=True, capture_output=True)


async def test_tls_with_a_certificate_of_the_client(
    world: RedisWorld, authority: Authority, stranger: Authority
) -> None:
    port = world.server.settings["tls-port"]
    user = authority.issue(user="ditto", for_server=False)
    url = {"redis_url": f"rediss://127.0.0.1:{port}"}
    tls = {"redis_tls_ca": str(authority.file), "redis_tls_cert": str(user.cert), "redis_tls_key": str(user.key)}
    found = await finding(world, **url, **{**tls, "redis_tls_ca": str(stranger.file)})
    assert "certificate" in found
    assert "redis.tls.ca" in found
    found = await refusal(world, **url, redis_tls_ca=str(authority.file))
    assert "certificate required" in found
    assert "redis.tls.cert" in found
    for _ in range(5):  # the server may hang up before its words are read
        assert await finding(world, **url, redis_tls_ca=str(authority.file)) == found
    found = await finding(world, redis_url=f"rediss://localhost:{port}", **tls)
    assert "redis.url has to hold a name" in found, "the certificate is of another name"
    await stores(world, **url, **tls)


async def test_tls_that_the_port_does_not_do_and_the_other_way_round(world: RedisWorld, authority: Authority) -> None:
    """A server that is away may hang up, too: that is tried again."""

    async def is_refused(said: str, hint: str, **settings: object) -> None:
        found, seen = await asyncio.gather(refusal(world, **settings), finding(world, **settings))
        assert said in found
        assert hint in found
        assert found == seen

    async def is_tried_again(url: str) -> None:
        ditto = world.ditto(redis_url=url)
        await ditto.logged("session.failed", kind="SinkLost")
        assert await ditto.stop() == 0

    secure, ca = world.server.settings["tls-port"], str(authority.file)
    async with Proxy(1) as away:  # nobody is behind it
        await asyncio.gather(
            is_refused("does no TLS", "redis:// in redis.url", redis_url=world.server.url, redis_tls_ca=ca),
            is_refused("does TLS, and", "redis.url begin with rediss://", redis_url=f"redis://127.0.0.1:{secure}"),
            is_tried_again(f"redis://127.0.0.1:{away.port}"),
            is_tried_again(f"rediss://127.0.0.1:{away.port}"),
        )


async def test_a_user_with_the_permissions_of_the_guide(world: RedisWorld) -> None:
    login = {"redis_user": "ditto", "redis_password": "hushhush"}
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    ditto = await world.streaming(snapshot_mode="initial", events_schemas=True, **login)
    await ditto.logged("snapshot.finished")
    await world.fence()
    verified = await asyncio.to_thread(world.run, "verify", events_schemas=True, **login)
    assert verified.returncode == 0, verified.stderr
    assert await ditto.stop() == 0
    checked = await world.checked(**login)
    assert checked["redis.permissions"].level == "ok"
    assert not [each for each in checked.values() if each.level == "error"]
    url = f"redis://ditto:hushhush@127.0.0.1:{world.server.port}"
    await stores(world, redis_url=url)


async def test_logins_that_are_refused(world: RedisWorld) -> None:
    found = await refusal(world, redis_user="ditto", redis_password="wrongone")
    assert "refuses user ditto or the password" in found
    assert "redis.password" in found
    found = await finding(world, redis_url="redis://redis.test:6379", redis_password="hushhush")
    assert "has no TLS: Ditto does not show it the password" in found


async def test_rights_that_are_missing(world: RedisWorld) -> None:
    """The start and the check name user, command and key; what is printed gives the right."""
    login = {"redis_user": "reader", "redis_password": "hushhush"}
    found = await refusal(world, **login)
    assert "cannot claim the streams: user reader has no permission to give the command EVAL" in found
    seen = (await world.checked(**login))["redis.permissions"]
    assert "cannot see the permissions: user reader has no permission to give the command EVAL" in seen.what
    assert seen.fix == found.partition(":\n")[2]
    enter(found)
    assert (await world.checked(**login))["redis.permissions"].level == "ok"
    await stores(world, **login)
    with world.client() as client:
        client.execute_command("ACL", "SETUSER", "reader", "-xadd")
        world.sql("INSERT INTO fence DEFAULT VALUES")
        found = await refusal(world, **login)
        assert f"user reader has no permission to give the command XADD for key {world.fence_subject}" in found
        seen = (await world.checked(**login))["redis.permissions"]
        assert seen.what == f"user reader may not: XADD {world.fence_subject}"
        assert found.endswith(f" after a restart:\n{seen.fix}")
        enter(found)
        client.execute_command("ACL", "SETUSER", "reader", "-hset")
        found = await refusal(world, **login)
        assert "user reader has no permission to give one of the commands of Ditto's script (ditto check names" in found
        assert "HSET" in (await world.checked(**login))["redis.permissions"].what
        enter(found)
        client.execute_command("ACL", "SETUSER", "reader", "resetkeys", f"~ditto:{world.name}:*")
        found = await refusal(world, **login)
        assert "cannot store events: user reader has no permission for one of the keys " in found
        assert world.fence_subject in found
        seen = (await world.checked(**login))["redis.permissions"]
        assert seen.what.startswith(f"user reader may not: EXISTS {world.fence_subject}, XADD {world.fence_subject}")
        assert seen.fix is not None
        enter(f"hint: enter this:\n{seen.fix}")
        await stores(world, **login)


@pytest.mark.long
async def test_the_rights_that_reading_takes(world: RedisWorld) -> None:
    """The hints of the commands that read, one after the other, and nothing else."""
    await stores(world)
    with world.client() as client:
        client.acl_setuser("looker", enabled=True, passwords=["+hushhush"], categories=["+@connection"])
        for command in (("tail", "--no-follow"), ("verify",), ("wait", "0/1")):
            for _ in range(3):
                done = await asyncio.to_thread(world.run, *command, redis_user="looker", redis_password="hushhush")
                if not done.returncode:
                    break
                enter(done.stderr)
            assert done.returncode == 0, done.stderr
        rights = client.acl_getuser("looker")
        assert not [each for each in (*rights["commands"], *rights["keys"]) if "hset" in each or each.startswith("~")]


async def test_a_key_prefix_that_the_user_may_not_use(world: RedisWorld) -> None:
    login = {"redis_user": "ditto", "redis_password": "hushhush", "redis_key_prefix": "{other}*:"}
    found = await refusal(world, **login)
    key = f"{{other}}*:ditto:{world.name}:checkpoint"
    assert f"cannot look at key {key}: user ditto has no permission for key {key}" in found
    assert found == await finding(world, **login)
    enter(found)
    with world.client() as client:
        assert r"~{other}\*:*" in client.acl_getuser("ditto")["keys"], "and no other keys"
    checked = await world.checked(**login)
    assert checked["redis.permissions"].level == "ok"
    ditto = await world.streaming(**login)
    assert await ditto.stop() == 0


async def test_a_server_that_asks_for_a_password(world: RedisWorld) -> None:
    with world.client() as client:
        client.config_set("requirepass", "hushhush")
        try:
            assert "asks for a password" in await refusal(world)
            world.password = "hushhush"
            await stores(world, redis_url=world.server.socket_url, redis_password="hushhush")
        finally:
            client.config_set("requirepass", "")
