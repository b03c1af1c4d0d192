"""A fleet of its own for each test: a control plane, and worlds on the shared servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ditto.testing.servers import NatsServer
from e2e.fleet.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def control_plane(tmp_path: Path) -> Iterator[NatsServer]:
    """A nats-server that is only the control plane, to be stopped and killed."""
    with NatsServer(tmp_path / "control-plane") as server:
        yield server


@pytest.fixture
def fleet(control_plane: NatsServer, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(control_plane.url, tmp_path)
    try:
        yield made
    finally:
        made.close()
