"""TLS, users and permissions with a real Kafka: right ones store, wrong ones end in a sentence."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from ditto.testing.kafka_server import KafkaServer
from e2e.certificates import Authority
from e2e.sinks.kafka_tools import commands, enter
from e2e.sinks.kafka_world import kafka_world_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.testing.servers import PostgresServer
    from e2e.sinks.kafka_world import KafkaWorld

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"


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
def secured(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """With a listener for users, one for certificates, and ACLs for all but those who come without either."""
    folder = tmp_path_factory.mktemp("secured")
    pair = authority.issue("127.0.0.1")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
    store = folder / "broker.pem"
    store.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + pair.cert.read_bytes()
    )
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        "listener.name.users.plain.sasl.jaas.config": f'{PLAIN} user_ditto="hush-plain" user_guest="hush-plain";',
        "listener.name.users.scram-sha-256.sasl.jaas.config": SCRAM,
        "listener.name.users.scram-sha-512.sasl.jaas.config": SCRAM,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "ssl.client.auth": "required",
    }
    listeners = {"USERS": "SASL_PLAINTEXT", "CERTIFICATES": "SSL"}
    with KafkaServer(folder / "kafka", settings=settings, listeners=listeners) as server:
        admin = AdminClient({"bootstrap.servers": server.brokers})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            change = UserScramCredentialUpsertion("ditto", ScramCredentialInfo(mechanism, 4096), b"hush-scram")
            for future in admin.alter_user_scram_credentials([change]).values():
                future.result()
        for future in admin.create_acls(list(acls("ditto"))).values():
            future.result()
        yield server


def acls(user: str) -> Iterator[AclBinding]:
    """As the guide has them."""
    for kind, name, operations in (
        (ResourceType.TOPIC, "k", ("DESCRIBE", "DESCRIBE_CONFIGS", "CREATE", "READ", "WRITE")),
        (ResourceType.TRANSACTIONAL_ID, "ditto.", ("DESCRIBE", "WRITE")),
    ):
        for operation in operations:
            yield AclBinding(
                kind,
                name,
                ResourcePatternType.PREFIXED,
                f"User:{user}",
                "*",
                AclOperation[operation],
                AclPermissionType.ALLOW,
            )


@pytest.fixture
def world(shared_postgres: PostgresServer, secured: KafkaServer, tmp_path: Path) -> Iterator[KafkaWorld]:
    with kafka_world_on(shared_postgres, secured, tmp_path) as world:
        world.settings["DITTO_KAFKA_BROKERS"] = f"127.0.0.1:{secured.ports['USERS']}"
        yield world


async def refusal(world: KafkaWorld, settings: dict[str, object], *, code: int = 4) -> str:
    """That it stops at once; what it says."""
    ditto = world.ditto(**settings)
    assert await ditto.ended() == code, ditto.output
    assert "hush" not in ditto.output
    assert all(line.startswith("{") for line in ditto.output.splitlines()), "librdkafka writes no lines of its own"
    return ditto.sentence()


@pytest.mark.parametrize("mechanism", ["plain", "scram-sha-256", "scram-sha-512"])
async def test_users(world: KafkaWorld, mechanism: str) -> None:
    password = "hush-plain" if mechanism == "plain" else "hush-scram"
    ditto = await world.streaming(kafka_user="ditto", kafka_password=password, kafka_mechanism=mechanism)
    await world.fence()
    assert await ditto.stop() == 0
    assert "LoginDenied" in await _kind(world, kafka_user="ditto", kafka_password="wrong", kafka_mechanism=mechanism)


async def _kind(world: KafkaWorld, **settings: object) -> str:
    ditto = world.ditto(**settings)
    assert await ditto.ended() == 4, ditto.output
    assert "check kafka.user, kafka.password" in ditto.sentence()
    return ditto.output


async def test_a_certificate(world: KafkaWorld, authority: Authority, stranger: Authority) -> None:
    pair, foreign = authority.issue("ditto", for_server=False), stranger.issue("ditto", for_server=False)
    admin = AdminClient({"bootstrap.servers": world.kafka.brokers})
    for future in admin.create_acls(list(acls("*"))).values():
        future.result()
    world.settings["DITTO_KAFKA_BROKERS"] = f"127.0.0.1:{world.kafka.ports['CERTIFICATES']}"
    given = {"kafka_tls_cert": str(pair.cert), "kafka_tls_key": str(pair.key)}
    ditto = await world.streaming(kafka_tls_ca=str(authority.file), **given)
    await world.fence()
    assert await ditto.stop() == 0
    assert "certificate verify failed" in await refusal(world, {"kafka_tls_ca": str(stranger.file), **given})
    other = {"kafka_tls_cert": str(foreign.cert), "kafka_tls_key": str(foreign.key)}
    assert "kafka.tls" in await refusal(world, {"kafka_tls_ca": str(authority.file), **other})
    missing = await refusal(world, {"kafka_tls_ca": "/nowhere.pem", **given}, code=2)
    assert "kafka.tls.ca: cannot read /nowhere.pem: No such file or directory" in missing


async def test_one_who_may_nothing(world: KafkaWorld, tmp_path: Path) -> None:
    given: dict[str, object] = {"kafka_user": "guest", "kafka_password": "hush-plain", "kafka_mechanism": "plain"}
    admin = AdminClient({"bootstrap.servers": world.kafka.brokers})
    anything: Any = None
    everybody = AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        "User:*",
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for future in admin.delete_acls([everybody]).values():
        future.result()
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    operator = world.kafka.brokers
    said = await refusal(world, given)
    own = f"{world.name}._ditto"
    assert f"User:guest has no permission Describe for {own}, {world.checkpoints}, so that nothing tells" in said
    assert "hint: give it, at a listener where you may (--command-config FILE " in said
    found = (await world.checked(**given))["kafka.permissions"]
    assert (found.level, found.fix) == ("error", commands(said))
    assert f"Create for {own}" in found.what
    assert f"{world.name}_public_t" in found.what
    assert found.fix is not None
    enter(found.fix, tmp_path, operator=operator)
    found = (await world.checked(**given))["kafka.permissions"]
    assert found.level == "ok"
    assert "ditto run sees when it starts" in found.what
    assert "Write for the transactional id" in found.what
    said = await refusal(world, given)
    assert "User:guest has no permission Write for its transactional id, which begins with ditto." in said
    enter(commands(said), tmp_path, operator=operator)
    ditto = await world.streaming(**given)
    await world.fence()
    assert await ditto.stop() == 0
    writing = AclBindingFilter(
        ResourceType.TOPIC,
        world.name,
        ResourcePatternType.PREFIXED,
        "User:guest",
        anything,
        AclOperation.WRITE,
        AclPermissionType.ANY,
    )
    for future in admin.delete_acls([writing]).values():
        future.result()
    found = (await world.checked(**given))["kafka.permissions"]
    assert "User:guest has no permission Write for" in found.what
    world.sql("INSERT INTO t VALUES (1)")
    said = await refusal(world, given)
    assert "User:guest has no permission Write for" in said
    assert found.fix == commands(said)
    enter(found.fix, tmp_path, operator=operator)
    found = (await world.checked(**given))["kafka.permissions"]
    assert (
        found.what
        == "nothing is missing that can be seen now; ditto run sees when it starts: Write for the transactional id"
    )


@pytest.mark.parametrize(
    ("brokers", "said"),
    [("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid:9092", "Failed to resolve")],
    ids=["refused", "unknown"],
)
async def test_a_broker_that_is_not_there(world: KafkaWorld, brokers: str, said: str) -> None:
    ditto = world.ditto(kafka_brokers=brokers)
    failed = await ditto.logged("session.failed")
    assert said in failed["error"]
    assert "kafka.brokers" in failed["hint"]
    assert await ditto.stop() == 0


@pytest.mark.parametrize("is_silent", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_the_protocol_of_another_listener(world: KafkaWorld, authority: Authority, is_silent: bool) -> None:
    """The hint names the keys of the configuration that decide on it; a check says the same as a start."""
    ports, said = world.kafka.ports, "no broker answers by "
    user: dict[str, object] = {"kafka_user": "ditto", "kafka_password": "hush-plain", "kafka_mechanism": "plain"}
    tls: dict[str, object] = {"kafka_tls_ca": str(authority.file)}
    cases: list[tuple[str, dict[str, object], str, tuple[str, ...]]] = [
        ("USERS", {}, f"{said}PLAINTEXT", ("needs kafka.user, kafka.password and kafka.mechanism",)),
        ("CERTIFICATES", {}, "does TLS, and Ditto came without", ("add kafka.tls",)),
        ("CERTIFICATES", user, "does TLS, and Ditto came without", ("add kafka.tls",)),
        ("CERTIFICATES", tls, "certificate", ("kafka.tls.cert and kafka.tls.key",)),
        ("PLAINTEXT", user, "SASL", ("kafka.mechanism", "leave kafka.user out")),
        ("PLAINTEXT", tls, "does no TLS", ("no kafka.tls",)),
    ]
    cases = [case for case in cases if case[2].startswith(said) == is_silent]  # those that say nothing take 5 s
    process = world.ditto(kafka_brokers=f"127.0.0.1:{ports['USERS']}") if is_silent else None
    checks = (
        asyncio.to_thread(asyncio.run, world.checked(kafka_brokers=f"127.0.0.1:{ports[listener]}", **given))
        for listener, given, _, _ in cases
    )
    for found, (listener, given, error, hints) in zip(await asyncio.gather(*checks), cases, strict=True):
        finding = found["kafka.connection"]
        assert finding.level == "error", (listener, given)
        assert error in finding.what
        assert not finding.what.rstrip().endswith(":"), "of a list there is more than its name"
        assert all(hint in finding.why for hint in hints), finding.why
        if process is not None and listener == "USERS":
            failure = await process.logged("session.failed")
            assert (failure["error"], failure["hint"]) == (finding.what, finding.why)
            assert await process.stop() == 0


async def test_topics_are_not_created(world: KafkaWorld, tmp_path: Path) -> None:
    """Nor does a user that may not see them learn whether they are there: nobody says that they are missing."""
    given: dict[str, object] = {"kafka_user": "ditto", "kafka_password": "hush-plain", "kafka_mechanism": "plain"}
    given["kafka_topics_create"] = False
    guest = {**given, "kafka_user": "guest"}
    world.sql("CREATE TABLE t (id int PRIMARY KEY)")
    said = await refusal(world, given)
    own = f"{world.name}._ditto"
    names = (own, world.checkpoints, world.fence_subject, f"{world.name}_public_t")
    assert "topics are missing, and kafka.topics.create is false" in said
    for name in names:
        assert name in said.partition("hint: ")[0]
    found = (await world.checked(**given))["kafka.topics"]
    assert (found.level, found.fix) == ("error", commands(said))
    assert found.fix is not None
    operator = world.kafka.brokers
    enter(found.fix, tmp_path, operator=operator)
    findings = await world.checked(**given)
    assert findings["kafka.topics"].what == "all 4 topics exist"
    assert findings["kafka.compaction"].level == "ok"
    ditto = await world.streaming(**given)
    await world.fence()
    assert await ditto.stop() == 0
    hidden = f"User:guest has no permission Describe for {own}"
    for command in ("tail", "verify", "status"):
        done = await asyncio.to_thread(world.run, command, **guest)
        assert done.returncode
        assert hidden in done.stdout + done.stderr, command
        assert "there is no topic" not in done.stdout + done.stderr
        assert ("--operation Read" in done.stderr) == (command != "status"), "which gives no hints"
        assert "--operation Write" not in done.stderr, "of the rights only those that reading takes"
    findings = await world.checked(**guest)
    assert "topic.tail" not in findings
    assert findings["kafka.topics"].what.startswith("missing or hidden, and kafka.topics.create is false: ")
    assert "User:guest has no permission Describe for " in findings["kafka.permissions"].what
    said = await refusal(world, guest)
    assert hidden in said
    for fix in (commands(said), findings["kafka.topics"].fix, findings["kafka.permissions"].fix):
        assert fix is not None
        enter(fix, tmp_path, operator=operator)
    assert (await world.checked(**guest))["kafka.permissions"].level == "ok"


async def test_a_password_that_would_be_shown(world: KafkaWorld) -> None:
    given = {"kafka_user": "ditto", "kafka_password": "hush-plain", "kafka_mechanism": "plain"}
    said = await refusal(world, {"kafka_brokers": "kafka.example.com:9092", **given})
    assert "has no TLS: Ditto does not show it the password" in said
