"""TLS, users, permissions and virtual hosts with a real RabbitMQ: right ones store, wrong ones end in a sentence."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING

import pytest

from e2e.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.rabbitmq_server import RabbitMQServer
    from e2e.sinks.rabbitmq_world import ExchangeWorld, RabbitMQWorld
    from e2e.sinks.replayed_world import ReplayedWorld


@pytest.fixture(scope="module")
def stranger() -> Iterator[Authority]:
    """An authority that nobody trusts."""
    authority = Authority()
    yield authority
    shutil.rmtree(authority.folder)


@pytest.fixture(scope="module")
def users(shared_rabbitmq: RabbitMQServer) -> None:
    """As the guide creates them: one with the permissions that Ditto needs, one that may only read; and a host."""
    server = shared_rabbitmq
    rights = {"guest": ".*", "ditto": "^shop", "reader": "", "another": "", "publisher": ""}
    definitions = {
        "vhosts": [{"name": "shop"}],
        "users": [{"name": name, "password": "hushhush", "tags": []} for name in rights if name != "guest"],
        "permissions": [
            {"user": user, "vhost": "shop", "configure": right, "write": right, "read": ".*"}
            for user, right in rights.items()
        ],
    }
    path = server.folder / "definitions.json"
    path.write_text(json.dumps(definitions))
    server.tool("import_definitions", str(path))


async def stores(world: RabbitMQWorld, **settings: object) -> None:
    ditto = await world.streaming(**settings)
    await world.fence()
    assert await ditto.stop() == 0


async def refusal(world: ReplayedWorld, **settings: object) -> str:
    """That it stops at once; what it says."""
    ditto = world.ditto(**settings)
    assert await ditto.ended() == 4
    assert not ditto.logs("session.failed")
    sentence = ditto.sentence()
    assert "hint: " in sentence
    assert "hushhush" not in ditto.output
    assert "wrongone" not in ditto.output
    return sentence


def given_in(hint: str, beginning: str) -> str:
    """The command that a hint gives to enter: a line of its own."""
    (command,) = (line.strip() for line in hint.splitlines() if line.strip().startswith(beginning))
    return command


async def finding(world: RabbitMQWorld, **settings: object) -> str:
    """What `ditto check` says of the connection: the sentence and the hint with which `ditto run` would stop."""
    found = (await world.checked(**settings))["rabbitmq.connect"]
    assert found.level == "error"
    return f"{found.what} {found.why}\n{found.fix}"


async def test_tls_with_a_certificate_of_the_client(
    rabbitmq_world: RabbitMQWorld, rabbitmq_authority: Authority, stranger: Authority
) -> None:
    world, port = rabbitmq_world, rabbitmq_world.server.tls_port
    user = rabbitmq_authority.issue(user="ditto", for_server=False)
    url = {"rabbitmq_url": f"rabbitmq-stream+tls://127.0.0.1:{port}"}
    tls = {
        "rabbitmq_tls_ca": str(rabbitmq_authority.file),
        "rabbitmq_tls_cert": str(user.cert),
        "rabbitmq_tls_key": str(user.key),
    }
    await stores(world, **url, **tls)
    found = await finding(world, **url, **{**tls, "rabbitmq_tls_ca": str(stranger.file)})
    assert "certificate" in found
    assert "rabbitmq.tls.ca" in found
    found = await refusal(world, **url, rabbitmq_tls_ca=str(rabbitmq_authority.file))
    assert "certificate required" in found
    assert "rabbitmq.tls.cert" in found
    found = await finding(world, rabbitmq_url=f"rabbitmq-stream+tls://localhost:{port}", **tls)
    assert "rabbitmq.url has to hold a name" in found, "the certificate is of another name"


async def test_a_user_with_the_permissions_of_the_guide(rabbitmq_world: RabbitMQWorld, users: None) -> None:
    world = rabbitmq_world
    world.vhost = "shop"
    world.stream = f"shop-{world.name}"
    login = {"rabbitmq_user": "ditto", "rabbitmq_password": "hushhush", "rabbitmq_url": f"{world.server.url}/shop"}
    login["rabbitmq_stream_name"] = world.stream
    world.sql("CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    ditto = await world.streaming(snapshot_mode="initial", events_schemas=True, **login)
    await ditto.logged("snapshot.finished")
    await world.fence()
    verified = await asyncio.to_thread(world.run, "verify", events_schemas=True, **login)
    assert verified.returncode == 0, verified.stderr
    assert await ditto.stop() == 0
    checked = await world.checked(**login)
    assert "the user may write and read both streams" in checked["rabbitmq.permissions"].what
    assert not [each for each in checked.values() if each.level == "error"]
    url = world.server.url.replace("://", "://ditto:hushhush@")
    await stores(world, rabbitmq_url=f"{url}/shop", rabbitmq_stream_name=world.stream)
    reader = {**login, "rabbitmq_user": "reader"}
    found = await refusal(world, **reader)
    assert f"user reader has no permission to write stream {world.stream}.ditto in virtual host shop" in found
    seen = (await world.checked(**reader))["rabbitmq.permissions"]
    assert seen.what.endswith(f" to write stream {world.stream}, write stream {world.stream}.ditto")
    assert (seen.level, seen.fix) == ("error", given_in(found, "rabbitmqctl set_permissions"))
    assert seen.fix is not None
    assert "\\" not in seen.fix, "what is copied from a log in JSON is the same"
    world.server.shell(seen.fix)
    await stores(world, **reader)


async def test_the_rights_that_reading_takes(rabbitmq_world: RabbitMQWorld, users: None) -> None:
    """The hint of a command that reads gives no more, and is enough for the others."""
    world, server = rabbitmq_world, rabbitmq_world.server
    await stores(world)
    server.tool("add_user", world.name, "hushhush")
    looker = {"rabbitmq_user": world.name, "rabbitmq_password": "hushhush"}
    done = await asyncio.to_thread(world.run, "tail", "--no-follow", **looker)
    assert done.returncode == 4, done.stdout
    given = given_in(done.stderr, "rabbitmqctl set_permissions")
    assert given.startswith(f"rabbitmqctl set_permissions -p / {world.name} '' '' '^"), given
    server.shell(given)
    for command in (("tail", "--no-follow"), ("verify",), ("wait", "0/1")):
        done = await asyncio.to_thread(world.run, *command, **looker)
        assert done.returncode == 0, done.stderr


async def test_rights_and_streams_that_are_missing(rabbitmq_world: RabbitMQWorld, users: None) -> None:
    """A check sees what a start would end with, and creates nothing; what is printed repairs it."""
    world = rabbitmq_world
    world.vhost, world.stream = "shop", f"a.b+{world.name}"
    url = {"rabbitmq_url": f"{world.server.url}/shop", "rabbitmq_stream_name": world.stream}
    reader = {"rabbitmq_user": "another", "rabbitmq_password": "hushhush", **url}
    found = await refusal(world, **reader)
    create = "has no permission to configure stream a.b+"
    assert f"cannot create stream {world.stream}: user another {create}" in found
    seen = (await world.checked(**reader))["rabbitmq.permissions"]
    assert (seen.level, seen.fix) == ("error", given_in(found, "rabbitmqctl set_permissions"))
    for right in ("configure", "write"):
        for stream in (world.stream, f"{world.stream}.ditto"):
            assert f"{right} stream {stream}" in seen.what
    assert (await world.checked(**url))["rabbitmq.permissions"].level == "ok"
    not_created = {"rabbitmq_stream_create": False, **url}
    found = await refusal(world, **not_created)
    assert f"streams {world.stream} and {world.stream}.ditto do not exist" in found
    both = await world.checked(**{**not_created, **reader})
    assert f" to write stream {world.stream}, write stream {world.stream}.ditto" in both["rabbitmq.permissions"].what
    assert both["rabbitmq.permissions"].fix == seen.fix
    missing = (await world.checked(**not_created))["rabbitmq.streams"]
    assert missing == both["rabbitmq.streams"]
    assert (missing.level, missing.fix) == ("error", given_in(found, "echo "))
    for fix in (seen.fix, missing.fix):
        assert fix is not None
        world.server.shell(fix)
    assert "create" not in (await world.checked(**reader))["rabbitmq.permissions"].what
    await stores(world, rabbitmq_stream_create=False, **reader)


async def test_rights_and_an_exchange_that_are_missing(exchange_world: ExchangeWorld, users: None) -> None:
    """The same of an exchange."""
    world = exchange_world
    name = world.name
    reader = {"rabbitmq_user": "publisher", "rabbitmq_password": "hushhush"}
    reader["rabbitmq_url"] = f"{world.server.amqp_url}/shop"
    not_created = {**reader, "rabbitmq_exchange_create": False}
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    found = await refusal(world, **reader)
    assert f"cannot create exchange {name}: user publisher has no permission to configure exchange {name} in" in found
    guest = await world.checked(rabbitmq_url=reader["rabbitmq_url"])
    assert guest["rabbitmq.permissions"].what == f"the user may create, and write to, exchange {name}"
    seen = (await world.checked(**reader))["rabbitmq.permissions"]
    assert f"{seen.what}\n  hint: {seen.why}:\n{seen.fix}" == found, "run and check say the same"
    assert seen.fix == given_in(found, "rabbitmqctl set_permissions")
    found = await refusal(world, **not_created)
    missing = (await world.checked(**not_created))["rabbitmq.exchange"]
    assert (missing.level, missing.fix) == ("error", given_in(found, "echo "))
    assert missing.fix is not None
    world.server.shell(missing.fix)
    ditto = await world.streaming(**reader)
    world.sql("INSERT INTO t VALUES (1)")
    assert await ditto.ended() == 4
    found = ditto.sentence()
    assert f"user publisher has no permission to write exchange {name} in virtual host shop" in found
    seen = (await world.checked(**reader))["rabbitmq.permissions"]
    command = given_in(found, "rabbitmqctl set_permissions")
    assert (seen.level, seen.fix) == ("error", command)
    world.server.shell(command)
    assert (await world.checked(**reader))["rabbitmq.permissions"].level == "ok"
    world.server.tool("set_topic_permissions", "-p", "shop", "publisher", name, "^nothing$", "^$")
    seen = (await world.checked(**reader))["rabbitmq.permissions"]
    assert f"to write some of the routing keys of exchange {name}" in seen.what
    assert seen.fix is not None
    world.server.shell(seen.fix)
    assert (await world.checked(**reader))["rabbitmq.permissions"].level == "ok"


async def test_logins_that_are_refused(rabbitmq_world: RabbitMQWorld, users: None) -> None:
    world = rabbitmq_world
    found = await refusal(world, rabbitmq_user="ditto", rabbitmq_password="wrongone")
    assert "refuses user ditto or the password" in found
    assert "rabbitmq.password" in found
    found = await finding(world, rabbitmq_url=f"{world.server.url}/nowhere")
    assert "the virtual host nowhere does not exist" in found
    for command in ("rabbitmqctl add_vhost", "rabbitmqctl set_permissions"):
        world.server.shell(given_in(found, command))
    assert "rabbitmq.streams" in await world.checked(rabbitmq_url=f"{world.server.url}/nowhere")
    found = await finding(world, rabbitmq_user="ditto", rabbitmq_password="hushhush")
    assert "the virtual host / does not exist, or user ditto has no permissions in it" in found
    found = await finding(world, rabbitmq_url="rabbitmq-stream://ditto:hushhush@rabbit.test:5552")
    assert "has no TLS: Ditto does not show it the password" in found
    failure = await world.ditto(rabbitmq_url=f"rabbitmq-stream://127.0.0.1:{world.server.amqp_port}").logged(
        "session.failed"
    )
    assert failure["error"].endswith(" answers with something else than frames of streams"), "another protocol"
    assert "see rabbitmq.url: " in failure["hint"].lower()


async def test_tls_that_the_port_does_not_do_and_the_other_way_round(rabbitmq_world: RabbitMQWorld) -> None:
    world, server = rabbitmq_world, rabbitmq_world.server
    for url, said, hint in (
        (f"rabbitmq-stream+tls://127.0.0.1:{server.port}", "does no TLS", "rabbitmq-stream:// in rabbitmq.url"),
        (f"rabbitmq-stream://127.0.0.1:{server.tls_port}", "does TLS, and", "begin with rabbitmq-stream+tls://"),
    ):
        found = await refusal(world, rabbitmq_url=url)
        assert said in found
        assert hint in found
        assert found.replace("\n  hint:", "") == (await finding(world, rabbitmq_url=url)).removesuffix("\nNone")
