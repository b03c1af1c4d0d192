"""How a session that is to end waits for what it has sent."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

import structlog

from ditto.errors import SinkError
from ditto.pipeline.window import Window
from ditto.sinks.base import Sink
from ditto.tasks import end

log = structlog.get_logger()

_TIMEOUT_S: Final = 30.0
_LOOK_S: Final = 0.1


async def wait_for_end(settling: Coroutine[Any, Any, None], *, sink: Sink, window: Window) -> bool:
    """Until `settling` has ended, the sink waits by itself, or the time is over; returns whether it has ended.

    Nothing is lost where it is given up: what is stored is found again at the next start. Raises what `settling` does.
    """
    work = asyncio.create_task(settling)
    blocked = asyncio.create_task(_blocked(sink))
    try:
        await asyncio.wait((work, blocked), timeout=_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        elif blocked.done():
            error = blocked.result()
            log.warning("pipeline.drain_blocked", outstanding=window.outstanding_count, error=error.message)
        else:
            log.warning("pipeline.drain_timeout", outstanding=window.outstanding_count)
        return work.done()
    finally:
        await end(work, blocked)


async def _blocked(sink: Sink) -> SinkError:
    """Nothing is on its way any more: there is nothing to wait for."""
    while (error := sink.blocked) is None:  # noqa: ASYNC110  what makes it so differs by sink
        await asyncio.sleep(_LOOK_S)
    return error
