"""A test that hangs fails, wherever it hangs: pytest-timeout alone is not enough.

pytest-timeout raises from the handler of SIGALRM. That exception ends a test that runs Python code or waits in
asyncio's own loop, and some kinds of hanging tests do not notice it:

- uvloop calls the handler itself, logs what it raises, and goes on. Here the loop is stopped instead.
- Python calls no handler while compiled code holds the interpreter's lock. Other code catches BaseException and keeps
  the exception, and after a failure nothing limits the fixtures. For all of these faulthandler's thread, which needs no
  lock, writes the stacks and ends the process, `GRACE_S` after the time-out. pytest-xdist then reports the test as
  failed and starts another worker; the tests' servers end with the process that started them.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Protocol

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

GRACE_S = 30.0
"""From the time-out on, for the fixtures: they stop servers."""

_STDERR: pytest.StashKey[int] = pytest.StashKey()
"""A copy of standard error, which is not captured."""
_END_AT: pytest.StashKey[float] = pytest.StashKey()


class _Settings(Protocol):
    @property
    def timeout(self) -> float: ...


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_STDERR] = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_STDERR])


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: _Settings) -> Generator[None, object, object]:
    result = yield
    item.stash[_END_AT] = time.monotonic() + settings.timeout + GRACE_S
    _arm(item)
    raising = signal.getsignal(signal.SIGALRM)
    if not callable(raising):
        return result

    def on_alarm(number: int, frame: FrameType | None) -> None:
        loop = _running_loop()
        if not isinstance(loop, uvloop.Loop):
            raising(number, frame)
            return
        stderr = item.config.stash[_STDERR]
        os.write(stderr, f"\n{item.nodeid}: time-out after {settings.timeout:g} s\n".encode())
        faulthandler.dump_traceback(file=stderr)
        loop.stop()

    signal.signal(signal.SIGALRM, on_alarm)
    return result


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Go on with a test that has failed: pytest and pytest-timeout give up their timers then, for a debugger."""
    if isinstance(node, pytest.Item) and _END_AT in node.stash and not node.config.getoption("usepdb"):
        _arm(node)


@pytest.hookimpl(wrapper=True)
def pytest_timeout_cancel_timer(item: pytest.Item) -> Generator[None, object, object]:
    faulthandler.cancel_dump_traceback_later()
    return (yield)


def _arm(item: pytest.Item) -> None:
    left_s = max(item.stash[_END_AT] - time.monotonic(), 1.0)
    faulthandler.dump_traceback_later(left_s, exit=True, file=item.config.stash[_STDERR])


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
