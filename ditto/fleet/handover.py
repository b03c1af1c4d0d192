"""Which pipelines a node gives up now, of those that are to run elsewhere: a few at a time.

One that is handed over is away until the other node streams. All at once, each would wait for the beginning of all
others; a few at a time, each is away for as long as one beginning takes, and the others go on where they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ditto.fleet.view import View
from ditto.monitoring.state import READY

_AT_ONCE: Final = 3
_SHARE: Final = 20
"""Of hundreds of pipelines a twentieth at a time: a node that ends has not for ever."""
_PATIENCE_S: Final = 3.0
"""One that does not stream elsewhere by then keeps the others from nothing: it may have failed there."""


class Handover:
    """Of one node."""

    def __init__(self, view: View, *, node: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._view = view
        self._node = node
        self._clock = clock
        self._under_way: dict[str, float] = {}

    def begin(self, names: list[str]) -> set[str]:
        """Those of the names, which run here and are to run elsewhere, that are to be given up now."""
        now = self._clock()
        self._under_way = {
            name: began_at
            for name, began_at in self._under_way.items()
            if now - began_at < _PATIENCE_S and not self._is_elsewhere(name)
        }
        most = max(_AT_ONCE, len(names) // _SHARE)
        for name in names:
            if len(self._under_way) >= most:
                break
            self._under_way.setdefault(name, now)
        return {name for name in names if name in self._under_way}

    def _is_elsewhere(self, name: str) -> bool:
        if name not in self._view.records.values:
            return True
        shown = self._view.pipeline(name)
        return shown.node != self._node and (shown.state in READY or shown.state in {"failed", "unassigned"})
