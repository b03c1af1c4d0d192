"""What the process does at the moment, and why."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import structlog

from ditto.log import mask_secrets

log = structlog.get_logger()

State = Literal["starting", "connecting", "standby", "streaming", "draining", "waiting", "stopped"]
"""`waiting` stands between two attempts; the others are those of an attempt, and the ends of the process."""

_KEPT: Final = 20


class Change(NamedTuple):
    """A state that was entered."""

    at: float
    """Seconds since 1970."""
    state: State
    reason: str
    is_failure: bool = False
    """An error is the reason."""


class States:
    """The current state and the last ones. `now` gives seconds since 1970."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.started_at = now()
        self.changes: deque[Change] = deque(
            [Change(self.started_at, "starting", "the process has begun")], maxlen=_KEPT
        )

        self.failure = ""
        """Why it does not work at the moment: how the last attempt ended, until one streams or stands by."""
        self.has_streamed = False
        """Whether one of the attempts so far has streamed, or stood by."""
        self.listeners: list[Callable[[Change], None]] = []
        """Who else is told of each."""

    @property
    def state(self) -> State:
        """The current one."""
        return self.changes[-1].state

    def enter(self, state: State, *, reason: str, is_failure: bool = False) -> None:
        """Note it and log it; nothing happens where it is the state already."""
        before = self.state
        if state == before:
            return
        change = Change(self._now(), state, mask_secrets(reason), is_failure)
        self.changes.append(change)
        if state in {"streaming", "standby"}:
            self.failure = ""
            self.has_streamed = True
        elif is_failure:
            self.failure = change.reason
        tell = log.error if is_failure and state == "stopped" else log.info
        tell("attempt.state", before=before, state=state, reason=change.reason)
        for listener in self.listeners:
            listener(change)
