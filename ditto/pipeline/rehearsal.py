"""Whether another configuration of a running pipeline would do: what a start checks, beside the session that works."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from ditto.config import PipelineConfig
from ditto.monitoring.counters import Counters
from ditto.pipeline.connecting import Report, connect
from ditto.pipeline.preparing import check_again
from ditto.sinks.base import MakeSink


async def rehearse(config: PipelineConfig, make_sink: MakeSink) -> None:
    """Look at both servers, on connections of its own. Raises the DittoError that a start would raise.

    Only where nothing is wrong the sink is let take what it needs: subjects that the stream does not have yet.
    """
    counters = Counters()
    counters.has_told_transport = True
    async with AsyncExitStack() as stack:
        ends = await connect(
            config, stack=stack, clock=time.monotonic, make_sink=make_sink, counters=counters, report=Report()
        )
        await check_again(ends)
