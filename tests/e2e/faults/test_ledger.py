"""Transactions that keep their own books, while Ditto is killed."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from e2e.world import World


@pytest.mark.parametrize("kill_count", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_moments(world: World, kill_count: int) -> None:
    chance = random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=kill_count) as ledger:
        for _ in range(kill_count):
            wanted = ledger.committed_count + chance.randint(5, 40)
            await eventually(lambda: ledger.committed_count >= wanted, "transactions are committed")  # noqa: B023
            ditto.kill()
            ditto = world.ditto()
            await asyncio.sleep(chance.uniform(0, 2))  # the next may be killed while it starts
        await ditto.streaming(timeout_s=60)
    await matches_ledger(world)
