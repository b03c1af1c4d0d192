"""The state of a pipeline, and the reason for it; and the state of a process that runs pipelines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import structlog

from ditto.log import mask_secrets

log = structlog.get_logger()

State = Literal["starting", "connecting", "standby", "streaming", "draining", "waiting", "stopped"]
"""`waiting` is between two sessions, or for a sink that is blocked (`Sink.blocked`); the others are those of a
session, and the beginning and the end.
"""

READY: Final[frozenset[State]] = frozenset({"streaming", "standby"})

_KEPT: Final = 20


class Transition(NamedTuple):
    """A state that was entered."""

    at: float
    """Seconds since 1970."""
    state: State
    reason: str
    is_failure: bool = False
    """An error is the reason."""


class States:
    """The current state of one pipeline and the last ones. `now` gives seconds since 1970."""

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self.started_at = now()
        self.transitions: deque[Transition] = deque(
            [Transition(self.started_at, "starting", "the process has begun")], maxlen=_KEPT
        )

        self.failure = ""
        """How the last session ended, until one streams or stands by; empty where the pipeline works."""
        self.has_streamed = False
        """Whether one of the sessions so far has streamed, or stood by."""
        self.listeners: list[Callable[[Transition], None]] = []
        """Called with each transition."""

    @property
    def state(self) -> State:
        """The current one."""
        return self.transitions[-1].state

    @property
    def reason(self) -> str:
        """The reason for the current one."""
        return self.transitions[-1].reason

    @property
    def is_ready(self) -> bool:
        """Whether the pipeline streams or stands by."""
        return self.state in READY

    def enter(self, state: State, *, reason: str, is_failure: bool = False) -> None:
        """Note the state and log it; nothing happens where it is the state already."""
        before = self.state
        if state == before:
            return
        entered = Transition(self._now(), state, mask_secrets(reason), is_failure)
        self.transitions.append(entered)
        if state in READY:
            self.failure = ""
            self.has_streamed = True
        elif is_failure:
            self.failure = entered.reason
        write = log.error if is_failure and state == "stopped" else log.info
        write("pipeline.state", before=before, state=state, reason=entered.reason)
        for listener in self.listeners:
            listener(entered)


class ProcessState:
    """The state of a process: that of its first pipeline that is not ready, or else that of the first one."""

    def __init__(self, pipelines: Sequence[States]) -> None:
        self._pipelines = pipelines

    @property
    def state(self) -> State:
        """One word."""
        return self._shown.state

    @property
    def reason(self) -> str:
        """The reason for it."""
        return self._shown.reason

    @property
    def is_ready(self) -> bool:
        """Whether every pipeline streams or stands by."""
        return all(each.is_ready for each in self._pipelines)

    @property
    def _shown(self) -> States:
        return next((each for each in self._pipelines if not each.is_ready), self._pipelines[0])
