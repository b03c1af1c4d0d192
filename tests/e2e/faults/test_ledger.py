"""Transactions that keep their own books, while Ditto is killed."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from e2e.kills import killed_at_random
from e2e.ledger import Ledger, matches_ledger

if TYPE_CHECKING:
    from e2e.world import World


@pytest.mark.parametrize("kill_count", [2, pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
async def test_killed_at_random_moments(world: World, kill_count: int) -> None:
    chance = random.Random(kill_count)
    ditto = await world.streaming()
    with Ledger(world, seed=kill_count) as ledger:
        await killed_at_random(
            world, ditto, lambda _: ledger.goes_on(chance.randint(5, 40)), count=kill_count, chance=chance
        )
    await matches_ledger(world)
