"""Which pipelines may be the reason why worker processes die, and which of them share a worker: halves of halves.

The pipelines that have lost two workers in a row are split into two groups, and each group gets a worker of its own. A
group whose worker dies is split again: one pipeline that ends its process is alone after log2(n) deaths, and the others
run on in their halves.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from typing import Final

STEADY_S: Final = 60.0
"""A pipeline that has run for so long was not the reason."""
_TWICE: Final = 2


class Suspects:
    """Groups are numbers: None where a pipeline runs in any of the shared workers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._lost: dict[str, int] = {}
        """Workers in a row, by pipeline."""
        self._groups: dict[str, int] = {}
        self._numbers = itertools.count(1)

    def begins(self, name: str) -> int | None:
        """The group in whose worker the pipeline is to run, from now on."""
        self._began[name] = self._clock()
        return self._groups.get(name)

    def ended(self, name: str) -> None:
        """The pipeline has ended, and its worker has not: after a long run it is no suspect any more."""
        if self._clock() - self._began.pop(name, self._clock()) > STEADY_S:
            self._clear(name)

    def died(self, names: Iterable[str]) -> None:
        """A worker has died with these pipelines."""
        lost = list(names)
        for name in lost:
            self.ended(name)
            self._lost[name] = self._lost.get(name, 0) + 1
        for half in halves(name for name in lost if self._lost[name] >= _TWICE):
            self._groups.update(dict.fromkeys(half, next(self._numbers)))

    def _clear(self, name: str) -> None:
        self._lost.pop(name, None)
        self._groups.pop(name, None)


def halves(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """By name; of an odd number the first half has one more."""
    ordered = sorted(names)
    middle = (len(ordered) + 1) // 2
    return ordered[:middle], ordered[middle:]
