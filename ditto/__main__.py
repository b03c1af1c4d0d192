"""The `ditto` command, and `python -m ditto`.

Signals and standard error come first: everything else takes a quarter of a second to import.
"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from ditto import log_stream
from ditto.service import signals
from ditto.service.memory import COLLECT_AFTER


def main() -> None:
    """Run the command that the arguments name."""
    signals.end_at_once()
    log_stream.replace_standard_error()
    gc.set_threshold(COLLECT_AFTER)  # what is imported stays: a tenth of the imports' time was looking for garbage
    _import_structlog()
    _import_later("aiohttp")
    from ditto.cli import main as command  # noqa: PLC0415

    signals.end_on_request()
    command(prog_name="ditto")


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
    """nats-py imports aiohttp, where that is installed, for WebSockets alone: 0.1 s and 10 MB."""
    if name not in sys.modules and (spec := find_spec(name)) is not None:
        sys.modules[name] = module = _Later(name)
        module.__spec__ = spec


if __name__ == "__main__":
    main()
