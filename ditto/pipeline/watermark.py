"""From acknowledged stream sequences to the LSN that PostgreSQL may forget. Pure: no I/O, no clock."""

from __future__ import annotations

from collections import deque
from typing import Final


class Watermark:
    """Which transaction ends are stored.

    Invariant: `confirmed_lsn` only covers transactions of which every selected change has been sent
    and whose last stream sequence has been acknowledged, and it never passes the stream's tail.
    """

    def __init__(self) -> None:
        self._sent: deque[tuple[int, int, int]] = deque()
        self._stored_sequence = 0
        self.confirmed_lsn = 0
        """What may be reported as flushed; 0 while nothing is known."""
        self.end_lsn = 0
        """What may be reported as written and applied: just past the last stored commit record."""

    def sent(self, sequence: int, confirmed_lsn: int, end_lsn: int) -> bool:
        """Note that storing everything up to `sequence` allows to confirm `confirmed_lsn`.

        That is the `commit_lsn` of a transaction whose Commit has been received, or the LSN of a
        checkpoint. Returns whether it is stored already, so that the watermark moved.
        """
        if sequence <= self._stored_sequence and not self._sent:
            return self._advance(confirmed_lsn, end_lsn)
        self._sent.append((sequence, confirmed_lsn, end_lsn))
        return False

    def stored(self, sequence: int) -> bool:
        """Note that the stream has acknowledged everything up to `sequence`; returns whether the watermark moved."""
        self._stored_sequence = max(self._stored_sequence, sequence)
        has_moved = False
        while self._sent and self._sent[0][0] <= self._stored_sequence:
            _, confirmed_lsn, end_lsn = self._sent.popleft()
            has_moved |= self._advance(confirmed_lsn, end_lsn)
        return has_moved

    def _advance(self, confirmed_lsn: int, end_lsn: int) -> bool:
        if confirmed_lsn <= self.confirmed_lsn:
            return False
        self.confirmed_lsn = confirmed_lsn
        self.end_lsn = max(self.end_lsn, end_lsn)
        return True


class ConfirmDelay:
    """Holds confirmed LSNs back for `delay_s`, because acknowledged is not yet on the disk of nats-server.

    `start_lsn` is what the slot has confirmed already. Times are monotonic seconds. It keeps at most about
    `STEPS` LSNs, and so may hold one back for up to one step of `delay_s / STEPS` longer.
    """

    STEPS: Final = 100

    def __init__(self, delay_s: float, *, start_lsn: int) -> None:
        self._delay_s = delay_s
        self._due_lsn = start_lsn
        self._held: deque[tuple[float, float, int]] = deque()  # when the step began, its last LSN came, that LSN

    @property
    def is_holding(self) -> bool:
        """Whether an LSN waits for its time."""
        return bool(self._held)

    def confirm(self, lsn: int, *, now: float) -> int:
        """Note that `lsn` could be confirmed now; returns what may be, by now."""
        if not self._delay_s:
            return lsn
        began = now
        if self._held:
            last_began, _, last_lsn = self._held[-1]
            if last_lsn == lsn:
                return self._take_due(now)
            if now - last_began < self._delay_s / self.STEPS:
                self._held.pop()
                began = last_began
        if lsn > self._due_lsn:
            self._held.append((began, now, lsn))
        return self._take_due(now)

    def _take_due(self, now: float) -> int:
        while self._held and now - self._held[0][1] >= self._delay_s:
            self._due_lsn = self._held.popleft()[2]
        return self._due_lsn
