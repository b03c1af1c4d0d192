"""Which nodes are alive. Each writes its entry in `ditto_nodes` every second; one whose entry has not changed for four
seconds, as this node sees it, counts as dead. No clock of two nodes is compared: how old an entry is that this node has
not seen being written is the server's time of that entry against the server's time of this node's own.

Where an answer of the control plane takes seconds, entries come as seldom: a node says in its entry for how long it may
be silent. A node that was frozen itself, or cut off, has not seen what the others wrote: it begins to count anew. Time
passes only with `tick`, so that nobody dies while nothing is heard of the control plane.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from ditto.fleet.records import NodeEntry

BEAT_S: Final = 1.0
DEAD_S: Final = 4.0
_LONGEST_S: Final = 20.0
_GRACE_S: Final = 4.0
"""More for each node that was alive when the control plane was lost: it may be on its way back, too."""
_FROZEN_S: Final = 2.0
FORGOTTEN_S: Final = 600.0
"""A dead node is not shown any more after that, and the others delete its entry."""


def silence_s(answer_s: float) -> float:
    """How long a node may be silent whose last entry was answered after `answer_s`: the next one comes a beat later."""
    return min(max(DEAD_S, BEAT_S + 3 * answer_s), _LONGEST_S)


class Membership:
    """Fed with the entries of the bucket, and with `tick` after each heartbeat that the control plane has taken."""

    def __init__(self, own: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`own` is this node: for itself it is alive."""
        self._own = own
        self._clock = clock
        self._entries: dict[str, NodeEntry] = {}
        self._alive_until: dict[str, float] = {}
        self._renewed: set[str] = set()
        """Nodes whose entry has been written since the bucket was listed."""
        self._ticked_at = clock()

    def begin(self, entries: Mapping[str, NodeEntry], written_at: Mapping[str, float]) -> None:
        """These are all there are; `written_at` is when each was, by the server's clock.

        One that was alive when nothing was heard any more has time to come back. Any other one is as old as the server
        says, and one that was dead stays so until there is another entry. One that was alive and is not among them may
        have left, or its entry was deleted, and it writes another one.
        """
        now = self._clock()
        server_now = written_at.get(self._own, max(written_at.values(), default=0.0))
        live = {each.name: each for each in self.live()}
        until: dict[str, float] = {}
        for name, entry in entries.items():
            if name in live:
                until[name] = now + silent_s(entry) + _GRACE_S
                continue
            until[name] = now + silent_s(entry) - max(server_now - written_at.get(name, server_now), 0.0)
            if self._entries.get(name) == entry:
                until[name] = min(until[name], self._alive_until[name])
        missing = {name: each for name, each in live.items() if name not in entries}
        self._entries = {**missing, **entries}
        self._alive_until = until | {name: now + silent_s(each) for name, each in missing.items()}
        self._renewed = set()
        self._ticked_at = now

    def note(self, entry: NodeEntry) -> bool:
        """It has been written. Returns whether that is news: the node was dead, or not heard of since `begin`."""
        name = entry.name
        is_news = name not in self._renewed or not self._lives(name)
        self._entries[name] = entry
        self._alive_until[name] = self._clock() + silent_s(entry)
        self._renewed.add(name)
        return is_news

    def leave(self, name: str) -> None:
        """It has been deleted: the node has gone in order."""
        self._entries.pop(name, None)
        self._alive_until.pop(name, None)
        self._renewed.discard(name)

    def tick(self) -> None:
        """To be called every second."""
        now = self._clock()
        if now - self._ticked_at > _FROZEN_S:
            missed = now - self._ticked_at
            self._alive_until = {name: until + missed for name, until in self._alive_until.items()}
        self._ticked_at = now

    def all(self) -> list[NodeEntry]:
        """Live and dead ones, by name."""
        forgotten = set(self.forgotten())
        return [self._entries[name] for name in sorted(self._entries) if name not in forgotten]

    def forgotten(self) -> list[str]:
        """Those that have been dead for so long that their entries can be deleted."""
        return [
            name
            for name, until in self._alive_until.items()
            if name != self._own and self._ticked_at - until >= FORGOTTEN_S
        ]

    def live(self) -> list[NodeEntry]:
        """By name."""
        return [self._entries[name] for name in sorted(self._entries) if self._lives(name)]

    def is_alive(self, name: str | None, instance: str) -> bool:
        """Whether that run of that node's process is alive."""
        entry = self._entries.get(name or "")
        return entry is not None and entry.instance == instance and self._lives(entry.name)

    def is_renewed(self, name: str) -> bool:
        """Whether the node has been heard of since the bucket was listed."""
        return name == self._own or name in self._renewed

    def _lives(self, name: str) -> bool:
        return name == self._own or self._alive_until[name] > self._ticked_at


def silent_s(entry: NodeEntry) -> float:
    """For how long after that entry the node counts as alive."""
    return min(max(entry.silent_s, DEAD_S), _LONGEST_S)
