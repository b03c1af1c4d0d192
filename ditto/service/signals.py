"""Signals that ask a process to stop, from its first moment on; and SIGHUP, which asks a daemon to reload.

Every program that is the first process of a container (PID 1) ignores signals that it does not handle: a `docker stop`
while Ditto is still importing would have no effect. So each command handles them before it imports anything else.
SIGHUP asks `ditto run` to read its configuration again. When the terminal closes that Ditto was started in, which sends
the same signal, it asks to stop like SIGTERM, as it does in every other command; where it was ignored at the start
(`nohup`), it stays ignored.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import FrameType

STOPPING: Final = (signal.SIGINT, signal.SIGTERM)
"""Those that always do."""
_KILLED: Final = 128
"""What shells add to the number of the signal that ended a process."""


def end_at_once() -> None:
    """End with 128 and the signal's number, until `end_on_request`: while modules are imported there is nothing to
    clean up, and what a handler raises then is lost where it meets a module that catches everything, or a destructor.
    """
    for number in (*STOPPING, signal.SIGHUP):
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _exit)


def end_on_request() -> None:
    """End with 128 and the signal's number on SIGTERM and SIGHUP, until something else handles them; SIGINT raises
    KeyboardInterrupt.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) in {signal.SIG_DFL, _exit}:
            signal.signal(number, _end)
    if signal.getsignal(signal.SIGINT) is _exit:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_hang_up_ignored() -> bool:
    """Whether SIGHUP does nothing, since before the process began."""
    return signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def has_terminal() -> bool:
    """Whether the process has a controlling terminal, at this moment."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(_KILLED + number)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(_KILLED + number)
