"""Tells PostgreSQL how far the sink has got: the only module that calls `send_status`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Protocol

from ditto.errors import ConnectionLost
from ditto.monitoring.session_counters import SessionCounters
from ditto.pipeline.watermark import ConfirmDelay, Watermark
from ditto.pipeline.window import Window

_STATUS_PERIOD_S: Final = 10.0
"""At the latest; three times within wal_sender_timeout where that is short."""
_CONFIRM_PERIOD_S: Final = 0.1
"""The slot follows the acknowledgements at this pace, and at once where commits wait for it. A status message for each
acknowledgement was a fifth of the CPU time at 1,000 transactions a second."""


class Standby(Protocol):
    """The replication connection, as a standby of the server."""

    def send_status(self, *, confirmed_lsn: int, end_lsn: int, wants_reply: bool) -> None:
        """Standby status update. Raises ConnectionLost."""


class Synchronous(Protocol):
    """What Ditto is to PostgreSQL's commits at the moment."""

    @property
    def is_synchronous(self) -> bool:
        """Commits wait for what is confirmed."""

    @property
    def is_unasked(self) -> bool:
        """They do, although nobody has named Ditto."""


class Confirmer:
    """Owns the watermark of one session, from the moment on when it holds the slot.

    `limit` says how much of an LSN may be confirmed (`Place.limit`). `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        standby: Standby,
        *,
        synchronous: Synchronous,
        delay: ConfirmDelay,
        counters: SessionCounters,
        clock: Callable[[], float],
    ) -> None:
        self._standby = standby
        self._synchronous = synchronous
        self._delay = delay
        self._counters = counters
        self._clock = clock
        self._limit: Callable[[int], int] = _all
        self._timer: asyncio.TimerHandle | None = None
        self._watermark = Watermark()
        self._said = (0, 0)
        """The LSNs of the last status."""
        self.has_stored = False
        """Something of this session is stored and may be confirmed."""

    @property
    def confirmed_lsn(self) -> int:
        """What may be confirmed by now, `delivery.confirm_delay` left out; 0 while nothing is known."""
        return self._watermark.confirmed_lsn

    @property
    def end_lsn(self) -> int:
        """Just past the last stored commit record; 0 while nothing is known."""
        return self._watermark.end_lsn

    @property
    def is_holding(self) -> bool:
        """Whether `delivery.confirm_delay` holds something back."""
        return self._delay.is_holding

    def limit_by(self, limit: Callable[[int], int]) -> None:
        """From now on no more of an LSN is confirmed than `limit` gives."""
        self._limit = limit

    def begin(self, tail_lsn: int) -> None:
        """Everything up to the sink's tail is stored.

        The slot may be before it, after a crash of the server or at a takeover. What then comes again is confirmed as
        it comes; and no checkpoint may be older than the tail.
        """
        self._watermark.sent(0, tail_lsn, tail_lsn)
        self.confirm()

    def sent(self, number: int, confirmed_lsn: int, end_lsn: int) -> None:
        """Once delivery `number` is durable, `confirmed_lsn` may be confirmed; at once where it is already."""
        if self._watermark.sent(number, confirmed_lsn, end_lsn):
            self.confirm()

    async def run(self, acknowledged: Callable[[], Awaitable[int]], window: Window) -> None:
        """Follow the acknowledgements until cancelled, or until `acknowledged` raises what ends the session."""
        try:
            while True:
                number = await acknowledged()
                window.acknowledge(number)
                self._counters.stored(number)
                if self._watermark.stored(number):
                    self.has_stored = True
                    self._confirm_soon()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _confirm_soon(self) -> None:
        if self._synchronous.is_synchronous:
            self.confirm()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_CONFIRM_PERIOD_S, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        with suppress(ConnectionLost):  # whichever task reads, or keeps alive, finds out
            self.confirm()

    def confirm(self, *, wants_reply: bool = False) -> None:
        """Send a standby status update. Raises ConnectionLost."""
        stored_lsn = self._limit(self._watermark.confirmed_lsn)
        confirmed_lsn = self._delay.confirm(stored_lsn, now=self._clock())
        if self._synchronous.is_unasked:
            confirmed_lsn = stored_lsn  # every commit would wait for the delay
        self._counters.confirmed(confirmed_lsn)
        self._said = (confirmed_lsn, self._watermark.end_lsn)
        self._standby.send_status(confirmed_lsn=confirmed_lsn, end_lsn=self._watermark.end_lsn, wants_reply=wants_reply)

    def confirm_news(self) -> None:
        """The same, where it says something else than the last one did."""
        stored_lsn = self._limit(self._watermark.confirmed_lsn)
        due_lsn = self._delay.confirm(stored_lsn, now=self._clock())
        if (due_lsn, self._watermark.end_lsn) != self._said:
            self.confirm()

    def confirm_without_delay(self) -> None:
        """The same, `delivery.confirm_delay` left out."""
        stored_lsn = self._limit(self._watermark.confirmed_lsn)
        self._standby.send_status(confirmed_lsn=stored_lsn, end_lsn=stored_lsn, wants_reply=False)

    async def keep_alive(self, *, wal_sender_timeout_s: float) -> None:
        """Until cancelled: a status on a timer, whether anything is read or not, so that the walsender does not time
        out; infinity for a server without a time-out.
        """
        while True:
            self.confirm(wants_reply=True)
            await asyncio.sleep(min(_STATUS_PERIOD_S, wal_sender_timeout_s / 3))


def _all(lsn: int) -> int:
    """Without a limit everything that is stored may be confirmed."""
    return lsn
