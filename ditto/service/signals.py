"""Signals that ask a process to stop, from its first moment on.

Every program that is the first process of a container (PID 1) ignores signals that it does not handle: a `docker stop`
while Ditto is still importing would have no effect. So each command handles them before it imports anything else.
SIGHUP, which a terminal sends when it closes, asks to stop like SIGTERM; where it was ignored at the start (`nohup`),
it stays ignored.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

_KILLED: Final = 128
"""What shells add to the number of the signal that ended a process."""


def end_on_request() -> None:
    """End with 128 and the signal's number on SIGTERM and SIGHUP, until something else handles them."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def stopping() -> list[signal.Signals]:
    """The signals that ask this process to stop."""
    return [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    ]


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(_KILLED + number)
