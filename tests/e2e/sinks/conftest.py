"""Worlds without NATS."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from e2e.conftest import _drop_slots
from e2e.sinks.file_world import FileWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.testing.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture
def file_world(shared_postgres: PostgresServer, tmp_path: Path) -> Iterator[FileWorld]:
    """On the shared PostgreSQL, with a file of its own."""
    world = FileWorld(shared_postgres, name=f"f{next(_numbers)}", folder=tmp_path)
    with ExitStack() as stack:
        stack.callback(_drop_slots, world)
        stack.callback(world.close)
        yield world
