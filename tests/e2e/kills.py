"""Killing Ditto at random moments of its work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from e2e.process import DittoProcess
    from e2e.world import World


async def killed_at_random(
    world: World,
    ditto: DittoProcess,
    goes_on: Callable[[DittoProcess], Awaitable[object]],
    *,
    count: int,
    chance: random.Random,
    **settings: object,
) -> DittoProcess:
    """Kill it `count` times, each time when `goes_on` has seen it do some work; returns the last one, which streams."""
    for _ in range(count):
        await goes_on(ditto)
        ditto.kill()
        ditto = world.ditto(**settings)
        await asyncio.sleep(chance.uniform(0, 2))  # the next may be killed while it starts
    await ditto.streaming(timeout_s=60)
    return ditto
