"""Servers for the whole session, and a world of its own for each test."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

from ditto.testing.servers import NatsServer, PostgresServer
from e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAST = {
    "fsync": "off",
    "max_replication_slots": "200",
    "max_wal_senders": "40",
    "max_connections": "80",
}

_numbers = itertools.count(1)


OpenWorld = Callable[[str], World]


def _world(postgres: PostgresServer, nats_server: NatsServer, folder: Path, options: str = "") -> World:
    return World(postgres, nats_server, name=f"w{next(_numbers)}", folder=folder, options=options)


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings=FAST) as server:
        yield server


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def world(shared_postgres: PostgresServer, shared_nats: NatsServer, tmp_path: Path) -> Iterator[World]:
    """On the shared servers: nobody may stop those."""
    with _shared_world(shared_postgres, shared_nats, tmp_path) as world:
        yield world


@pytest.fixture
def open_world(shared_postgres: PostgresServer, shared_nats: NatsServer, tmp_path: Path) -> Iterator[OpenWorld]:
    """As `world`, with options for CREATE DATABASE."""
    with ExitStack() as stack:
        yield lambda options: stack.enter_context(_shared_world(shared_postgres, shared_nats, tmp_path, options))


@contextmanager
def _shared_world(
    postgres: PostgresServer, nats_server: NatsServer, folder: Path, options: str = ""
) -> Iterator[World]:
    world = _world(postgres, nats_server, folder, options)
    with ExitStack() as stack:
        stack.callback(drop, world)
        stack.callback(world.close)
        yield world


def drop(world: World) -> None:
    """Slots, otherwise the server would keep their WAL; and the database, before its files come to the disk."""
    query = f"FROM pg_replication_slots WHERE database = '{world.name}'"
    for is_last in (*[False] * 20, True):
        try:
            world.sql(
                f"SELECT pg_terminate_backend(active_pid, 5000) {query} AND active_pid IS NOT NULL",
                f"SELECT pg_drop_replication_slot(slot_name) {query}",
                dsn=world.postgres.dsn,
            )
            break
        except psycopg.errors.ObjectInUse:  # a node of a fleet that still runs has taken it again
            if is_last:
                raise
    with suppress(psycopg.errors.ObjectInUse):  # by a subscription, or a prepared transaction
        world.sql(f'DROP DATABASE IF EXISTS "{world.name}" WITH (FORCE)', dsn=world.postgres.dsn)


@pytest.fixture
def nats_world(shared_postgres: PostgresServer, tmp_path: Path) -> Iterator[World]:
    """With a nats-server of its own, to be stopped and killed."""
    with NatsServer(tmp_path / "nats") as server:
        world = _world(shared_postgres, server, tmp_path)
        with ExitStack() as stack:
            stack.callback(drop, world)
            stack.callback(world.close)
            yield world


@pytest.fixture
def own_world(tmp_path: Path) -> Iterator[World]:
    """With both servers of its own."""
    settings = {"fsync": "off", "max_wal_size": "8GB"}
    with PostgresServer(tmp_path / "postgres", settings=settings) as postgres, NatsServer(tmp_path / "nats") as server:
        world = _world(postgres, server, tmp_path)
        with ExitStack() as stack:
            stack.callback(world.close)
            yield world


@pytest.fixture
def crowded_world(shared_nats: NatsServer, tmp_path: Path) -> Iterator[World]:
    """With a PostgreSQL of its own that takes more than a thousand connections."""
    with PostgresServer(tmp_path / "postgres", settings={"fsync": "off", "max_connections": "1100"}) as server:
        world = _world(server, shared_nats, tmp_path)
        with ExitStack() as stack:
            stack.callback(world.close)
            yield world


@pytest.fixture
def postgres_world(shared_nats: NatsServer, tmp_path: Path) -> Iterator[World]:
    """With a PostgreSQL of its own, to be stopped and killed, and configured before it is started again."""
    with PostgresServer(tmp_path / "postgres", settings={"fsync": "off"}) as server:
        world = _world(server, shared_nats, tmp_path)
        with ExitStack() as stack:
            stack.callback(world.close)
            yield world
