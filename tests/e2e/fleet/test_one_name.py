"""Two processes with the name of one node: in this process, and they run nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from ditto.config.load import load_server
from ditto.fleet.node import Node
from ditto.fleet.records import NODES, READINESS
from ditto.tasks import end
from e2e.process import eventually

if TYPE_CHECKING:
    from ditto.testing.servers import NatsServer


def node(control_plane: NatsServer) -> Node:
    settings = {"DITTO_NODE": "n1", "DITTO_NATS_URL": control_plane.url, "DITTO_MAX_PIPELINES": "0"}
    return Node(load_server(None, settings), api_url="")


async def test_one_that_ends_while_it_waits_for_the_name_leaves_the_other_alone(control_plane: NatsServer) -> None:
    first, second = node(control_plane), node(control_plane)
    running = asyncio.create_task(first.run())
    try:
        await eventually(lambda: first.state == "live", "the first one is live", timeout_s=30)
        written = [first.control_plane.bucket(name) for name in (NODES, READINESS)]
        with capture_logs() as logged:
            ending = asyncio.create_task(second.run())
            await eventually(lambda: any(each["event"] == "node.waiting" for each in logged), "it waits", timeout_s=30)
            second.stop()
            await asyncio.wait_for(ending, 30)
        assert [await each.get("n1") is not None for each in written] == [True, True]
    finally:
        await end(running)
