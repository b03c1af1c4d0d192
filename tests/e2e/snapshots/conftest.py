"""A database of its own for each test that reads tables, on the oldest and on the newest PostgreSQL."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from ditto.testing.servers import PostgresServer
from e2e.snapshots.database import Database, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

MAJORS = [0] if "DITTO_TEST_POSTGRES" in os.environ else [14, 18]
SETTINGS = {"fsync": "off", "max_prepared_transactions": "5", "max_connections": "40"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"pg{major}" if major else "pg")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    bin_dir = programs(request.param) if request.param else None
    with PostgresServer(tmp_path_factory.mktemp("postgres"), settings=SETTINGS, bin_dir=bin_dir) as started:
        yield started


@pytest.fixture
def database(server: PostgresServer) -> Iterator[Database]:
    made = Database(server, f"s{next(_numbers)}")
    yield made
    made.drop_slots()
