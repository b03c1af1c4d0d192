"""A node that starts when NATS has just come back: the entries of all others are old, and they come back as well."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from ditto.fleet.records import ASSIGNMENTS, NODES, Assignment, NodeEntry
from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from e2e.world import World


@pytest.mark.long
async def test_what_another_node_holds_is_not_taken_before_that_one_can_be_back(fleet: Fleet, world: World) -> None:
    other = NodeEntry(name="n1", instance="n1-1", api_url="", max_pipelines=0)
    held = Assignment(node="n1", instance="n1-1")
    async with fleet.watching():
        nodes = fleet.control_plane.bucket(NODES)
        await nodes.put("n1", msgspec.json.encode(other))
        await fleet.apply("shop", document(world))
        await fleet.control_plane.bucket(ASSIGNMENTS).put("shop", msgspec.json.encode(held))
        await fleet.until(lambda: {each.name: each.state for each in fleet.view.nodes()} == {"n1": "dead"}, "it is old")
        began = fleet.start("n2")
        await began.logged("node.live")
        assert began.logs("node.live")[0]["nodes"] == 1, "for the newcomer the other one is dead"
        taken = await began.logged("pipeline.taken", timeout_s=30)
        assert taken["from_dead"]
        live_at = began.logs("node.live")[0]["timestamp"]
        assert seconds(taken["timestamp"]) - seconds(live_at) > 2.5, "it had time to come back"
        await fleet.streams("shop", on="n2")


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
