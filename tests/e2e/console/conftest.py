"""A fleet of its own for each test, and a node with made-up figures for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.console.staging import stage
from e2e.fleet.conftest import control_plane, fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["control_plane", "fleet"]


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a node with fifty pipelines in every state."""
    with stage(tmp_path_factory.mktemp("stage"), "50") as port:
        yield f"http://127.0.0.1:{port}"
