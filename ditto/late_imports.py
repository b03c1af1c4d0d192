"""Imports that a process does without, or that come with their first use: it waits for all others when it starts."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def prepare() -> None:
    """Call it before anything but the standard library is imported."""
    _import_structlog()
    _import_later("aiohttp")


def _import_structlog() -> None:
    """Without rich, for which structlog looks: Ditto's log has no use for it, and importing it takes 40 ms."""
    if "rich" not in sys.modules:
        sys.modules["rich"] = None  # type: ignore[assignment]  # importing it fails
        try:
            import structlog  # noqa: F401, PLC0415
        finally:
            del sys.modules["rich"]


class _Later(ModuleType):
    """A module that is imported when it is used first."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _import_later(name: str) -> None:
    """nats-py imports aiohttp, where that is installed, for WebSockets alone: 0.1 s and 9 MB."""
    if name not in sys.modules and (spec := find_spec(name)) is not None:
        sys.modules[name] = module = _Later(name)
        module.__spec__ = spec
