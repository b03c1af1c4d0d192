"""A fleet of its own for each test."""

from __future__ import annotations

from e2e.fleet.conftest import control_plane, fleet

__all__ = ["control_plane", "fleet"]
