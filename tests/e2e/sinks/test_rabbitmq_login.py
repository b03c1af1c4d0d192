"""TLS, users, permissions and virtual hosts with a real RabbitMQ: right ones store, wrong ones end in a sentence."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from e2e.certificates import Authority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ditto.testing.rabbitmq_server import RabbitMQServer
    from e2e.sinks.rabbitmq_world import RabbitMQWorld


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
    rights = {"guest": ".*", "ditto": "^shop", "reader": ""}
    definitions = {
        "vhosts": [{"name": "shop"}],
        "users": [{"name": name, "password": "hushhush", "tags": []} for name in ("ditto", "reader")],
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


async def refusal(world: RabbitMQWorld, **settings: object) -> str:
    """That it stops at once; what it says."""
    ditto = world.ditto(**settings)
    assert await ditto.ended() == 4
    assert not ditto.logs("session.failed")
    sentence = ditto.sentence()
    assert "hint: " in sentence
    assert "hushhush" not in ditto.output
    assert "wrongone" not in ditto.output
    return sentence


async def finding(world: RabbitMQWorld, **settings: object) -> str:
    """What `ditto check` says of the connection: the sentence and the hint with which `ditto run` would stop."""
    found = (await world.checked(**settings))["rabbitmq.connect"]
    assert found.level == "error"
    return f"{found.what} {found.why}"


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
    process = world.ditto(rabbitmq_url=f"rabbitmq-stream+tls://127.0.0.1:{world.server.port}", **tls)
    failure = await process.logged("session.failed")
    assert "streams have a port of their own, 5552, or 5551 with TLS" in failure["hint"]


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
    assert await ditto.stop() == 0
    verified = world.run("verify", events_schemas=True, **login)
    assert verified.returncode == 0, verified.stderr
    checked = await world.checked(**login)
    assert "the user may write and read both streams" in checked["rabbitmq.permissions"].what
    assert not [each for each in checked.values() if each.level == "error"]
    url = world.server.url.replace("://", "://ditto:hushhush@")
    await stores(world, rabbitmq_url=f"{url}/shop", rabbitmq_stream_name=world.stream)
    found = await refusal(world, **{**login, "rabbitmq_user": "reader"})
    assert "no permission" in found
    assert "rabbitmqctl set_permissions" in found
    checked = await world.checked(**{**login, "rabbitmq_user": "reader"})
    assert checked["rabbitmq.permissions"].level == "error"
    found = await refusal(world, **{**login, "rabbitmq_stream_name": "other", "postgres_slot": f"{world.name}_other"})
    assert "cannot create stream other: the user has no permission" in found
    found = await finding(world, **{**login, "rabbitmq_url": f"{world.server.url}/nowhere"})
    assert "the virtual host nowhere does not exist" in found
    assert "rabbitmqctl add_vhost" in found


async def test_logins_that_are_refused(rabbitmq_world: RabbitMQWorld, users: None) -> None:
    world = rabbitmq_world
    found = await refusal(world, rabbitmq_user="ditto", rabbitmq_password="wrongone")
    assert "refuses user ditto or the password" in found
    assert "rabbitmq.password" in found
    found = await finding(world, rabbitmq_user="ditto", rabbitmq_password="hushhush")
    assert "the virtual host / does not exist, or user ditto has no permissions in it" in found
    found = await finding(world, rabbitmq_url="rabbitmq-stream://ditto:hushhush@rabbit.test:5552")
    assert "has no TLS: Ditto does not show it the password" in found
    server = world.server
    for url, said in (
        (f"rabbitmq-stream://127.0.0.1:{server.amqp_port}", "answers with something else than frames of streams"),
        (f"rabbitmq-stream+tls://127.0.0.1:{server.port}", "Connection reset by peer"),
    ):
        failure = await world.ditto(rabbitmq_url=url).logged("session.failed")
        assert failure["error"].endswith(f" {said}"), "the port of another protocol"
        assert "see rabbitmq.url: " in failure["hint"].lower()
