"""A node, its main process alone, or a worker alone is frozen, and goes on later."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.fleet.fleet import Fleet, document
from e2e.ledger import Ledger, matches_ledger

if TYPE_CHECKING:
    from e2e.world import World

pytestmark = pytest.mark.long

TAKEOVER_S = 15.0


@pytest.mark.parametrize("freezes_workers", [True, False])
async def test_pipelines_of_a_frozen_node_run_elsewhere_and_it_comes_back(
    fleet: Fleet, world: World, freezes_workers: bool
) -> None:
    async with fleet.watching():
        for name in ("n1", "n2"):
            fleet.start(name)
        await fleet.live("n1", "n2")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        home = fleet.pipeline("shop").node or ""
        other = {"n1": "n2", "n2": "n1"}[home]
        with Ledger(world) as ledger:
            await ledger.goes_on(20)
            fleet.nodes[home].freeze(workers=freezes_workers)
            frozen_at = time.monotonic()
            await fleet.streams("shop", on=other)
            assert time.monotonic() - frozen_at < TAKEOVER_S
            await ledger.goes_on(20)
            if not freezes_workers:
                assert fleet.nodes[home].logs("worker.node_silent")
            fleet.nodes[home].thaw()
            await fleet.live("n1", "n2")
            await fleet.streams("shop", on=home)
            await ledger.goes_on(20)
        await matches_ledger(world)


async def test_a_frozen_worker_is_not_said_to_stream_and_is_replaced(fleet: Fleet, world: World) -> None:
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        with Ledger(world) as ledger:
            await ledger.goes_on(20)
            node.freeze(node=False)
            waiting = await fleet.is_in("shop", "waiting")
            assert "has not been heard of for 6 s" in waiting.reason
            await node.logged("worker.hangs", timeout_s=60)
            await node.logged("pipeline.streaming", count=2, timeout_s=60)
            await fleet.streams("shop")
            await ledger.goes_on(20)
        await matches_ledger(world)


async def test_a_worker_that_is_frozen_for_a_moment_goes_on(fleet: Fleet, world: World) -> None:
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        with Ledger(world) as ledger:
            await ledger.goes_on(20)
            node.freeze(node=False)
            await fleet.is_in("shop", "waiting")
            node.thaw()
            await fleet.streams("shop")
            await ledger.goes_on(20)
        assert not node.logs("worker.hangs")
        assert not node.logs("worker.node_silent")
        await matches_ledger(world)
