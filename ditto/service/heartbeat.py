"""A heartbeat for container health checks: `ditto health` exits with 0 while `ditto run` is alive.

The running process writes the file named by DITTO_HEALTH_FILE every few seconds, from the event loop that does
the work: a loop that hangs, or a process that is gone, stops writing. Without the variable nothing is written.
`python -m ditto.health` does the same with fewer imports.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import structlog

log = structlog.get_logger()

VARIABLE: Final = "DITTO_HEALTH_FILE"
_PERIOD_S: Final = 5.0
_STALE_S: Final = 30.0


class HasState(Protocol):
    """Something with a state, which the heartbeat writes."""

    @property
    def state(self) -> str:
        """One word: connecting, standby, streaming, draining."""


@asynccontextmanager
async def keep_heartbeat(source: HasState) -> AsyncIterator[None]:
    """Write the heartbeat with the current state while the body runs."""
    name = os.environ.get(VARIABLE)
    if not name:
        yield
        return
    beat = asyncio.create_task(_beat(Path(name), source))
    try:
        yield
    finally:
        beat.cancel()


async def _beat(path: Path, source: HasState) -> None:
    while True:
        try:  # one short write: not worth a thread
            # Monotonic time is the same for all processes of a machine, and no clock step touches it.
            fresh = path.with_name(f"{path.name}.new")
            fresh.write_text(f"{time.monotonic():.3f} {source.state}\n")
            fresh.replace(path)  # a check never sees half a heartbeat
        except OSError as error:
            log.warning("health.cannot_write", file=str(path), error=error.strerror)
        await asyncio.sleep(_PERIOD_S)


def check(path: Path) -> tuple[bool, str]:
    """Whether the heartbeat is fresh, and what to say about it."""
    try:
        beaten_at, state = path.read_text().split()
        age_s = time.monotonic() - float(beaten_at)
    except FileNotFoundError:
        return False, f"no heartbeat: {path} does not exist"
    except (OSError, ValueError) as error:
        return False, f"no heartbeat in {path}: {error}"
    if not 0 <= age_s <= _STALE_S:
        return False, f"the last heartbeat is {age_s:.0f} s old"
    return True, state


def main() -> int:
    """The exit code of the health check: 0 healthy, 1 not."""
    name = os.environ.get(VARIABLE)
    if not name:
        sys.stderr.write(f"no heartbeat: {VARIABLE} is not set\n")
        return 1
    is_healthy, message = check(Path(name))
    (sys.stdout if is_healthy else sys.stderr).write(f"{message}\n")
    return 0 if is_healthy else 1


if __name__ == "__main__":
    sys.exit(main())
