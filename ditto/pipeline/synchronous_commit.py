"""What Ditto is to PostgreSQL's commits, looked at again and again: a setting of the server decides, at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from ditto.crowd import stretched
from ditto.monitoring.counters import Counters
from ditto.source.sql import Control
from ditto.source.synchronous_commit import ASYNCHRONOUS, look_at_standing

log = structlog.get_logger()

_PERIOD_S: Final = 2.0


class SynchronousWatch:
    """Knows whether commits wait for Ditto."""

    def __init__(self, control: Control, walsender_pid: int, *, counters: Counters) -> None:
        self._control = control
        self._pid = walsender_pid
        self._counters = counters
        self._standing = ASYNCHRONOUS
        self.is_synchronous = False
        """Commits wait for what is confirmed."""

    @property
    def is_unasked(self) -> bool:
        """They do, although nobody has named Ditto."""
        return self._standing.is_synchronous and not self._standing.is_asked_for

    async def run(self, *, on_synchronous: Callable[[], None]) -> None:
        """Until cancelled: look; call `on_synchronous` when commits begin to wait, and say so once a process."""
        while True:
            before, self._standing = self._standing, await look_at_standing(self._control, self._pid)
            self.is_synchronous = self._standing.is_synchronous
            if self.is_synchronous and not before.is_synchronous:
                on_synchronous()
                self._tell()
            await asyncio.sleep(stretched(_PERIOD_S))

    def _tell(self) -> None:
        if self._counters.has_told_standing:
            return
        self._counters.has_told_standing = True
        if self._standing.is_asked_for:
            log.info("postgres.synchronous", reason="synchronous_standby_names names Ditto: commits wait for it")
            return
        log.warning(
            "postgres.synchronous_unasked",
            synchronous_standby_names=self._standing.setting,
            reason="commits wait for Ditto, because the * there takes in every reader of WAL: without NATS none of "
            "them ends. What is stored is confirmed at once, delivery.confirm_delay or not",
            hint="name the standbys that commits are to wait for, in place of *: ditto check prints the statement",
        )
