"""Several nodes: who runs what, and what happens when one goes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
import pytest

from ditto.fleet.records import NODES, NodeEntry
from e2e.fleet.fleet import Fleet, document
from e2e.ledger import Ledger, matches_ledger

if TYPE_CHECKING:
    from ditto.testing.servers import NatsServer
    from e2e.conftest import OpenWorld

TAKEOVER_S = 15.0


async def start(fleet: Fleet, *names: str) -> None:
    for name in names:
        fleet.start(name)
    await fleet.live(*names)


async def test_pipelines_of_a_killed_node_run_elsewhere(fleet: Fleet, open_world: OpenWorld) -> None:
    worlds = {f"p{number}": open_world("") for number in range(4)}
    async with fleet.watching():
        await start(fleet, "n1", "n2")
        for name, world in worlds.items():
            await fleet.apply(name, document(world))
        for name in worlds:
            await fleet.streams(name)
        homes = {name: fleet.pipeline(name).node for name in worlds}
        assert set(homes.values()) == {"n1", "n2"}
        name = next(each for each, home in homes.items() if home == "n1")
        with Ledger(worlds[name]) as ledger:
            await ledger.goes_on(20)
            fleet.nodes["n1"].kill_node()
            killed_at = time.monotonic()
            for each in worlds:
                await fleet.streams(each, on="n2")
            assert time.monotonic() - killed_at < TAKEOVER_S
            await ledger.goes_on(20)
        await matches_ledger(worlds[name])
        assert [each for each, home in homes.items() if home == "n2" and fleet.pipeline(each).node != "n2"] == []


async def test_a_node_that_drains_hands_over(fleet: Fleet, open_world: OpenWorld) -> None:
    worlds = {f"p{number}": open_world("") for number in range(3)}
    async with fleet.watching():
        await start(fleet, "n1")
        for name, world in worlds.items():
            await fleet.apply(name, document(world))
        for name in worlds:
            await fleet.streams(name, on="n1")
        fleet.start("n2")
        await fleet.live("n1", "n2")
        with Ledger(worlds["p0"]) as ledger:
            await ledger.goes_on(20)
            await fleet.requests.drain("n1")
            for name in worlds:
                await fleet.streams(name, on="n2")
            await ledger.goes_on(10)
            assert fleet.node("n1").state == "draining"
            assert fleet.nodes["n1"].is_running
            assert await fleet.nodes["n1"].stop() == 0
            await fleet.until(lambda: [each.name for each in fleet.view.nodes()] == ["n2"], "n1 has left")
        await matches_ledger(worlds["p0"])


@pytest.mark.long
async def test_a_second_node_of_one_name_is_refused(fleet: Fleet) -> None:
    async with fleet.watching():
        first = fleet.start("n1")
        await fleet.live("n1")
        second = fleet.start("n1")
        assert await second.ended() == 5
        (said,) = second.logs("serve.failed")
        assert said["kind"] == "NodeNameTaken"
        assert "node in its configuration" in said["hint"]
        assert first.is_running
        first.kill()


@pytest.mark.long
async def test_a_node_that_ends_hands_over_one_after_the_other(fleet: Fleet, open_world: OpenWorld) -> None:
    worlds = {f"p{number}": open_world("") for number in range(8)}
    async with fleet.watching():
        await start(fleet, "n1")
        for name, world in worlds.items():
            await fleet.apply(name, document(world))
        for name in worlds:
            await fleet.streams(name, on="n1")
        fleet.start("n2")
        await fleet.live("n1", "n2")
        with Ledger(worlds["p0"]) as ledger:
            await ledger.goes_on(20)
            assert await fleet.nodes["n1"].stop(timeout_s=40) == 0
            for name in worlds:
                await fleet.streams(name, on="n2")
            await ledger.goes_on(10)
        await matches_ledger(worlds["p0"])


@pytest.mark.long
async def test_labels_and_room_decide(fleet: Fleet, open_world: OpenWorld) -> None:
    worlds = [open_world("") for _ in range(2)]
    async with fleet.watching():
        fleet.start("n1", labels='{"zone": "a"}', max_pipelines="1")
        await fleet.live("n1")
        await fleet.apply("a", document(worlds[0], placement={"labels": {"zone": "a"}}))
        await fleet.apply("b", document(worlds[1], placement={"labels": {"zone": "b"}}))
        await fleet.streams("a", on="n1")
        assert "labels" in (await fleet.is_in("b", "unassigned")).reason
        await fleet.apply("b", document(worlds[1]))
        await fleet.until(lambda: "full" in fleet.pipeline("b").reason, "the node is full")
        fleet.start("n2", labels='{"zone": "b"}')
        await fleet.streams("b", on="n2")
        await fleet.streams("a", on="n1")


async def test_the_control_plane_goes_away_and_comes_back(
    fleet: Fleet, control_plane: NatsServer, open_world: OpenWorld
) -> None:
    running, waiting = open_world(""), open_world("")
    async with fleet.watching():
        ghost = NodeEntry(name="ghost", instance="killed", api_url="", max_pipelines=1000)
        await fleet.control_plane.bucket(NODES).put("ghost", msgspec.json.encode(ghost))
        # Before the others start: each counts for itself, and what was alive for it has time to come back.
        await fleet.until(lambda: fleet.node("ghost").state == "dead", "a node was killed")
        await start(fleet, "n1", "n2")
        await fleet.apply("running", document(running))
        await fleet.streams("running")
        home = fleet.nodes[fleet.pipeline("running").node or ""]
        with Ledger(running) as ledger:
            await ledger.goes_on(10)
            control_plane.stop()
            await home.logged("node.cut_off")
            await ledger.goes_on(30)
            await running.fence()
            assert not home.logs("pipeline.stopping")
            control_plane.start()
            await fleet.until(lambda: fleet.view.is_current, "the control plane is back")
            await fleet.live("n1", "n2")
            await fleet.apply("waiting", document(waiting))
            await fleet.streams("waiting")
            await fleet.streams("running")
            await ledger.goes_on(10)
        assert len(home.logs("pipeline.taken", pipeline="running")) == 1
        await home.logged("node.live", count=2)
        assert [each["nodes"] for each in home.logs("node.live")][1:] == [2], "the killed one is not alive again"
        await matches_ledger(running)
