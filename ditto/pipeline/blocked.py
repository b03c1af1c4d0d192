"""What a pipeline says while its sink stores nothing, and the session waits for that to end."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from ditto.monitoring.state import States
from ditto.sinks.base import Sink

log = structlog.get_logger()

_PERIOD_S: Final = 0.5


async def tell_of_blocking(sink: Sink, states: States) -> None:
    """Until cancelled: the state is `waiting` while the sink is blocked, and `streaming` again afterwards."""
    while True:
        error = sink.blocked
        if error is not None and states.state == "streaming":
            log.warning("sink.blocked", kind=type(error).__name__, error=error.message, hint=error.hint)
            states.enter("waiting", reason=f"{type(error).__name__}: {error.message}", is_failure=True)
        elif error is None and states.state == "waiting":
            states.enter("streaming", reason="the sink stores events again")
        await asyncio.sleep(_PERIOD_S)
