"""Worlds without NATS."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import signal
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import pytest
from sinks.rabbitmq_reading import create_stream

from ditto.testing.kafka_server import KafkaServer
from ditto.testing.rabbitmq_server import RabbitMQServer
from ditto.testing.redis_server import RedisServer, redis_program, valkey_program
from ditto.testing.webhook_receiver import Receiver
from e2e.certificates import Authority
from e2e.sinks.file_world import FileWorld
from e2e.sinks.kafka_world import KafkaWorld, kafka_world_on
from e2e.sinks.rabbitmq_world import ExchangeWorld, RabbitMQWorld, exchange_world_on, rabbitmq_world_on
from e2e.sinks.redis_world import RedisWorld, redis_world_on
from e2e.sinks.replayed_world import ending
from e2e.sinks.webhook_world import ReceiverProcess, WebhookWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.testing.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture
def file_world(shared_postgres: PostgresServer, tmp_path: Path) -> Iterator[FileWorld]:
    """On the shared PostgreSQL, with a file of its own."""
    with ending(FileWorld(shared_postgres, name=f"f{next(_numbers)}", folder=tmp_path)) as world:
        yield world


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """Of webhooks, in a thread."""
    with Receiver(tmp_path / "taken") as found:
        yield found


@pytest.fixture
def webhook_world(shared_postgres: PostgresServer, tmp_path: Path, receiver: Receiver) -> Iterator[WebhookWorld]:
    """On the shared PostgreSQL, with `receiver`."""
    with _webhook_world_on(shared_postgres, tmp_path, receiver.url) as world:
        yield world


@pytest.fixture
def receiver_process(tmp_path: Path) -> Iterator[ReceiverProcess]:
    """Of webhooks, in a process."""
    found = ReceiverProcess(tmp_path / "taken")
    found.start(last_signal=signal.SIGKILL)
    yield found
    found.process.end(signal.SIGKILL)


@pytest.fixture
def process_world(
    shared_postgres: PostgresServer, tmp_path: Path, receiver_process: ReceiverProcess
) -> Iterator[WebhookWorld]:
    """The same with `receiver_process`."""
    with _webhook_world_on(shared_postgres, tmp_path, receiver_process.url) as world:
        yield world


def _webhook_world_on(postgres: PostgresServer, folder: Path, url: str) -> AbstractContextManager[WebhookWorld]:
    name = f"hook{next(_numbers)}"
    return ending(WebhookWorld(postgres, name=name, folder=folder, url=url, taken=folder / "taken"))


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """With appendfsync always: what it has acknowledged survives a power failure."""
    settings = {"appendfsync": "always"}
    with RedisServer(tmp_path_factory.mktemp("redis"), settings=settings) as server:
        yield server


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """One of the test's own."""
    with RedisServer(tmp_path / "redis", settings={"appendfsync": "always"}) as server:
        yield server


@pytest.fixture(params=[redis_program, valkey_program], ids=["redis", "valkey"])
def either_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """One of the test's own, of both kinds."""
    settings = {"appendfsync": "always"}
    with RedisServer(tmp_path / "redis", settings=settings, program=request.param()) as server:
        yield server


@pytest.fixture
def own_redis_world(shared_postgres: PostgresServer, redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisWorld]:
    """On the shared PostgreSQL and a Redis of the test's own."""
    with redis_world_on(shared_postgres, redis_server, tmp_path) as world:
        yield world


@pytest.fixture
def either_world(shared_postgres: PostgresServer, either_server: RedisServer, tmp_path: Path) -> Iterator[RedisWorld]:
    """The same on Redis and on Valkey."""
    with redis_world_on(shared_postgres, either_server, tmp_path) as world:
        yield world


@pytest.fixture
def redis_world(shared_postgres: PostgresServer, shared_redis: RedisServer, tmp_path: Path) -> Iterator[RedisWorld]:
    """On the shared PostgreSQL and the shared Redis."""
    with redis_world_on(shared_postgres, shared_redis, tmp_path) as world:
        yield world


@pytest.fixture(scope="session")
def shared_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
def kafka_world(shared_postgres: PostgresServer, shared_kafka: KafkaServer, tmp_path: Path) -> Iterator[KafkaWorld]:
    """On the shared servers: nobody may stop those."""
    with kafka_world_on(shared_postgres, shared_kafka, tmp_path) as world:
        yield world


@pytest.fixture
def own_kafka_world(shared_postgres: PostgresServer, tmp_path: Path) -> Iterator[KafkaWorld]:
    """With a broker of its own, to be stopped and killed."""
    with KafkaServer(tmp_path / "kafka") as server, kafka_world_on(shared_postgres, server, tmp_path) as world:
        yield world


@pytest.fixture(scope="session")
def rabbitmq_authority() -> Iterator[Authority]:
    """Signs for `shared_rabbitmq` and its clients."""
    authority = Authority()
    yield authority
    shutil.rmtree(authority.folder)


@pytest.fixture(scope="session")
def shared_rabbitmq(
    rabbitmq_authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RabbitMQServer]:
    """With listeners for TLS beside, on which clients have to show a certificate; see `rabbitmq_authority`."""
    settings = {"ssl_options.verify": "verify_peer", "ssl_options.fail_if_no_peer_cert": "true"}
    certificates = (rabbitmq_authority.file, *rabbitmq_authority.issue("127.0.0.1", for_server=False))
    folder = tmp_path_factory.mktemp("rabbitmq")
    with RabbitMQServer(folder, settings=settings, certificates=certificates) as server:
        yield server


@pytest.fixture
def rabbitmq_world(
    shared_postgres: PostgresServer, shared_rabbitmq: RabbitMQServer, tmp_path: Path
) -> Iterator[RabbitMQWorld]:
    """On the shared servers: nobody may stop those."""
    with rabbitmq_world_on(shared_postgres, shared_rabbitmq, tmp_path) as world:
        yield world


@pytest.fixture
def own_rabbitmq_world(shared_postgres: PostgresServer, tmp_path: Path) -> Iterator[RabbitMQWorld]:
    """With a server of its own, to be stopped and killed.

    Some minutes may pass before a node has written to its disk that it has its first stream, and killed before that it
    offers none after a restart: that is written at once here.
    """
    with RabbitMQServer(tmp_path / "rabbitmq") as server:
        asyncio.run(create_stream(server.port, "first"))
        server.tool("eval", "[dets:sync(Table) || Table <- dets:all()].")
        with rabbitmq_world_on(shared_postgres, server, tmp_path) as world:
            yield world


@pytest.fixture
def exchange_world(
    shared_postgres: PostgresServer, shared_rabbitmq: RabbitMQServer, tmp_path: Path
) -> Iterator[ExchangeWorld]:
    """On the shared servers: nobody may stop those."""
    with exchange_world_on(shared_postgres, shared_rabbitmq, tmp_path) as world:
        yield world


@pytest.fixture
def own_exchange_world(shared_postgres: PostgresServer, tmp_path: Path) -> Iterator[ExchangeWorld]:
    """With a server of its own, to be stopped and killed; see `own_rabbitmq_world`."""
    with (
        RabbitMQServer(tmp_path / "rabbitmq") as server,
        exchange_world_on(shared_postgres, server, tmp_path) as world,
    ):
        server.tool("eval", "[dets:sync(Table) || Table <- dets:all()].")
        yield world
