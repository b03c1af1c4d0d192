"""Where the pipeline is, kept beside the sink's messages where the last one of them may be deleted.

The place is noted before it is confirmed to PostgreSQL: the slot never passes what is noted, and so no start finds a
gap that is none, however long it was away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from ditto.errors import SinkError
from ditto.lsn import Checkpoint, Transaction
from ditto.sinks.base import CheckpointStore

log = structlog.get_logger()

_PERIOD_S: Final = 2.0
_SHARE: Final = 50
"""Noting it takes at most one part in so many of the time: with thousands of subjects nats-server needs seconds."""


class Place:
    """For one session; does nothing where the sink keeps its last message. `clock` gives monotonic seconds."""

    def __init__(self, checkpoints: CheckpointStore, *, clock: Callable[[], float]) -> None:
        self._checkpoints = checkpoints
        self._clock = clock
        self._lsn = 0
        self._due_at = 0.0
        self._has_failed = False

    @property
    def _is_kept(self) -> bool:
        return self._checkpoints.may_lose_tail and not self._has_failed

    @property
    def is_waiting(self) -> bool:
        """Whether it is too early to note anything that is not urgent."""
        return self._is_kept and self._clock() < self._due_at

    def limit(self, lsn: int) -> int:
        """How much of this may be confirmed: not more than is noted."""
        return min(lsn, self._lsn) if self._is_kept else lsn

    async def keep(self, lsn: int, last: Transaction | None, *, is_urgent: bool = False) -> None:
        """Note that everything before `lsn` is stored, where that is new and due. `last` may be one after it."""
        if not self._is_kept or lsn <= self._lsn or (self.is_waiting and not is_urgent):
            return
        began_at = self._clock()
        try:
            known = last if last is not None and last.commit_lsn < lsn else None
            await self._checkpoints.save_beside(Checkpoint(lsn, known))
        except SinkError as error:
            if error.is_retryable:
                raise
            log.warning(
                "stream.place_not_kept",
                reason=error.message,
                hint="the stream's settings may delete its last message, and Ditto cannot note in its metadata where "
                "it was: after a quiet time the next start stops with a gap",
            )
            self._has_failed = True
            return
        self._lsn = lsn
        self._due_at = self._clock() + max(_PERIOD_S, _SHARE * (self._clock() - began_at))
