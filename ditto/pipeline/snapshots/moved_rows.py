"""Rows that a change of their key moves to where everything was read already.

The event of such a change may leave out TOASTed columns that did not change. A consumer that has not got the row yet
does not know them, and the table is not read there again: so these keys are read once more. They are part of the next
control event; until that is durable, the slot keeps the transactions that moved them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from ditto.decoding.messages import Moved

_XID: Final = (1 << 32) - 1
MANY: Final = 10_000
"""So many keys are kept; with more the table has to be read anew."""
MOST_BYTES: Final = 256 << 10
"""Of these keys in a control event."""


class MovedRows:
    """Of the table that is being read. `acknowledged` gives the delivery number up to which everything is durable."""

    def __init__(self, *, acknowledged: Callable[[], int], most_bytes: int = MOST_BYTES) -> None:
        self._acknowledged = acknowledged
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: list[Moved] = []
        self.are_too_many = False
        """There were more than can be kept, and none is kept any more."""
        self._guards: list[tuple[int, int | None]] = []  # commit LSN, and the number of the control event that has it

    @property
    def waiting(self) -> Sequence[Moved]:
        """What has still to be read again."""
        return self._waiting

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """The same for a control event, each once."""
        return tuple(dict.fromkeys(each.key for each in self._waiting))

    @property
    def has_unsaved(self) -> bool:
        """No control event that has been sent has all of them."""
        return any(number is None for _, number in self._guards)

    def begin(self, keys: Iterable[tuple[str, ...]] = ()) -> None:
        """Another table is read; `keys` are those that the last control event has (see `know`)."""
        self._waiting = [Moved(-1, 0, key) for key in keys]
        self._bytes = _size(self._waiting)
        self._guards = []
        self.are_too_many = False

    def know(self, ended_xid: int) -> None:
        """A transaction that every snapshot sees from now on: it stands for those of former sessions."""
        self._waiting = [each._replace(xid=ended_xid & _XID) if each.xid < 0 else each for each in self._waiting]

    def add(self, moved: Iterable[Moved]) -> None:
        """The decoder has seen these."""
        for each in moved:
            self._waiting.append(each)
            self._guards.append((each.commit_lsn, None))
            self._bytes += _size([each])
        if len(self._waiting) > MANY or self._bytes > self._most_bytes:
            self._waiting, self._bytes = [], 0
            self.are_too_many = True

    def given_up(self) -> None:
        """The next control event says that the table has failed."""
        self.are_too_many = False

    def resolve(self, read: Collection[Moved]) -> None:
        """These are read, and are about to be stored."""
        gone = set(read)
        self._waiting = [each for each in self._waiting if each not in gone]
        self._bytes = _size(self._waiting)

    def saved(self, number: int) -> None:
        """The control event with this delivery number has all that are waiting, and comes after those that were.

        Where there were too many, none has them: `given_up` comes first.
        """
        if self.are_too_many:
            return
        self._guards = [(lsn, number if known is None else known) for lsn, known in self._guards]

    def limit(self, lsn: int) -> int:
        """How much of this LSN may be confirmed: the first transaction that is not saved has to come again."""
        if not self._guards:
            return lsn
        durable = self._acknowledged()
        self._guards = [each for each in self._guards if each[1] is None or each[1] > durable]
        return min((lsn, *(at for at, _ in self._guards)))


def _size(moved: Iterable[Moved]) -> int:
    """Bytes of the keys in a control event."""
    return sum(len(msgspec.json.encode(each.key)) + 1 for each in moved)
