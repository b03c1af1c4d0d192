"""Which nodes are alive. Each writes its entry in `ditto_nodes` every second; one whose entry has not changed for four
seconds, as this node sees it, counts as dead. No clock of two machines is compared.

Where an answer of the control plane takes seconds, entries come as seldom: a node says in its entry for how long it may
be silent. A node that was frozen itself, or cut off, has not seen what the others wrote: it begins to count anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ditto.fleet.records import NodeEntry

BEAT_S: Final = 1.0
DEAD_S: Final = 4.0
_LONGEST_S: Final = 20.0
_GRACE_S: Final = 4.0
"""More for each node after this one has come (back): the others may be on their way back, too."""
_FROZEN_S: Final = 2.0
FORGOTTEN_S: Final = 600.0
"""A dead node is not shown any more after that."""


def silence_s(answer_s: float) -> float:
    """How long a node may be silent whose last entry was answered after `answer_s`: the next one comes a beat later."""
    return min(max(DEAD_S, BEAT_S + 3 * answer_s), _LONGEST_S)


class Membership:
    """Fed with the entries of the bucket, and with `tick` every second."""

    def __init__(self, own: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`own` is this node: for itself it is alive."""
        self._own = own
        self._clock = clock
        self._entries: dict[str, NodeEntry] = {}
        self._alive_until: dict[str, float] = {}
        self._ticked_at = clock()

    def begin(self, entries: dict[str, NodeEntry]) -> None:
        """These are all there are; whether they live will show.

        One that was alive and is not among them may have left, or its entry was deleted, and it writes another one.
        """
        now = self._clock()
        missing = {each.name: each for each in self.live() if each.name not in entries}
        self._entries = {**missing, **entries}
        self._alive_until = {name: now + silent_s(each) + _GRACE_S for name, each in entries.items()}
        self._alive_until |= {name: now + silent_s(each) for name, each in missing.items()}
        self._ticked_at = self._clock()

    def note(self, entry: NodeEntry) -> None:
        """It has been written."""
        self._entries[entry.name] = entry
        self._alive_until[entry.name] = self._clock() + silent_s(entry)

    def leave(self, name: str) -> None:
        """It has been deleted: the node has gone in order."""
        self._entries.pop(name, None)
        self._alive_until.pop(name, None)

    def tick(self) -> None:
        """To be called every second."""
        now = self._clock()
        if now - self._ticked_at > _FROZEN_S:
            missed = now - self._ticked_at
            self._alive_until = {name: until + missed for name, until in self._alive_until.items()}
        self._ticked_at = now

    def all(self) -> list[NodeEntry]:
        """Live and dead ones, by name."""
        now = self._clock()
        return [self._entries[name] for name in sorted(self._entries) if now - self._alive_until[name] < FORGOTTEN_S]

    def forgotten(self) -> list[str]:
        """Those that have been dead for so long that their entries can be deleted."""
        now = self._clock()
        return [name for name, until in self._alive_until.items() if now - until >= FORGOTTEN_S]

    def live(self) -> list[NodeEntry]:
        """By name."""
        return [self._entries[name] for name in sorted(self._entries) if self._lives(name)]

    def is_alive(self, name: str | None, instance: str) -> bool:
        """Whether that run of that node's process is alive."""
        entry = self._entries.get(name or "")
        return entry is not None and entry.instance == instance and self._lives(entry.name)

    def _lives(self, name: str) -> bool:
        return name == self._own or self._alive_until[name] > self._clock()


def silent_s(entry: NodeEntry) -> float:
    """For how long after that entry the node counts as alive."""
    return min(max(entry.silent_s, DEAD_S), _LONGEST_S)
