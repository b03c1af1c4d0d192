"""When a checkpoint is due. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import Final, NamedTuple

PERIOD_S: Final = 9.5
"""The answers to the status messages give the occasion: a little less than their period, so that each may do."""


class Progress(NamedTuple):
    """How far a session has got when a block has been sent."""

    idle_lsn: int
    """Everything that begins to commit before this LSN has been sent; 0 inside a transaction."""
    confirmed_lsn: int
    """What may be confirmed by now."""
    end_lsn: int
    """Just past the last stored commit record."""
    wanted_lsn: int
    """The last LSN that somebody waits for (`ditto wait`); 0 for none."""
    outstanding: int
    """Messages sent and not yet acknowledged."""
    is_reply_requested: bool
    """The server asks, and waits for, the answer: when half of wal_sender_timeout is over, or it is shutting down."""
    is_synchronous: bool
    """Commits wait for what is confirmed."""


class CheckpointTiming:
    """Knows the last checkpoint. `now` is monotonic seconds throughout."""

    def __init__(self, *, now: float) -> None:
        self._saved_at = now
        self._saved_lsn = 0

    def is_due(self, progress: Progress, *, now: float) -> bool:
        """Whether a checkpoint at `progress.idle_lsn` is to be stored."""
        idle_lsn = progress.idle_lsn
        if progress.is_reply_requested:
            # A server that shuts down waits until the slot has confirmed all that it sent.
            return idle_lsn > progress.confirmed_lsn
        if progress.wanted_lsn > self._saved_lsn and idle_lsn >= progress.wanted_lsn:
            return True
        if progress.is_synchronous and idle_lsn > max(progress.confirmed_lsn, self._saved_lsn):
            # The commit of the last transaction may wait for an LSN after its own, and nothing may come for long.
            return True
        return idle_lsn > progress.end_lsn and not progress.outstanding and now - self._saved_at >= PERIOD_S

    def saved(self, lsn: int, *, now: float) -> None:
        """A checkpoint at this LSN was sent."""
        self._saved_lsn, self._saved_at = lsn, now
