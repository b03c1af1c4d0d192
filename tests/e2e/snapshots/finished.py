"""Waiting for the end of a snapshot."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from nats.js.errors import NotFoundError

if TYPE_CHECKING:
    from e2e.world import World


async def snapshot_finished(world: World, *, timeout_s: float = 60) -> None:
    """Wait until the last run has ended."""
    deadline = time.monotonic() + timeout_s
    async with world.jetstream() as jetstream:
        while True:
            with suppress(NotFoundError):
                last = await jetstream.get_last_msg(world.stream, f"{world.name}._snapshot.run")
                if b'"state":"finished"' in (last.data or b""):
                    return
            assert time.monotonic() < deadline, "the snapshot has not ended"
            await asyncio.sleep(0.05)
