"""The bucket of the pipelines is compacted, purged, or deleted and made anew, while a node is away: nodes in this
process that run nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats
import pytest
from structlog.testing import capture_logs

from ditto.config import NatsConnection
from ditto.config.load import load_server
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.node import Node
from ditto.fleet.records import ASSIGNMENTS, PIPELINES, READINESS, Record
from ditto.fleet.store import PipelineStore
from ditto.tasks import end
from ditto.testing.process import free_port
from e2e.process import eventually
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ditto.testing.servers import NatsServer


def document(slot: str) -> dict[str, object]:
    return {"postgres": {"dsn": "postgres://127.0.0.1:9/shop", "slot": slot}, "nats": {"url": "nats://127.0.0.1:9"}}


@asynccontextmanager
async def running(name: str, port: int) -> AsyncIterator[Node]:
    """A node that takes part."""
    url = f"nats://127.0.0.1:{port}"
    config = load_server(None, {"DITTO_NODE": name, "DITTO_NATS_URL": url, "DITTO_MAX_PIPELINES": "0"})
    node = Node(config, api_url="")
    task = asyncio.create_task(node.run())
    try:
        await is_in(node, "live")
        yield node
    finally:
        await end(task)


async def is_in(node: Node, state: str, reason: str = "") -> None:
    await eventually(
        lambda: node.state == state and reason in node.reason, f"{node.name} is {state} ({reason})", timeout_s=30
    )


async def knows(node: Node, **slots: str) -> None:
    def known() -> dict[str, str]:
        return {name: each.document["postgres"]["slot"] for name, each in node.view.records.values.items()}

    await eventually(lambda: node.state == "live" and known() == slots, f"{node.name} knows {slots}", timeout_s=30)


@asynccontextmanager
async def store_of(server: NatsServer) -> AsyncIterator[PipelineStore]:
    plane = ControlPlane(NatsConnection(url=server.url))
    async with plane.connected():
        yield PipelineStore(plane)


async def put(server: NatsServer, **slots: str) -> None:
    async with store_of(server) as store:
        for name, slot in slots.items():
            await store.put(name, Record(document=document(slot)), after=None)


async def delete_and_compact(server: NatsServer, name: str) -> None:
    """As `ditto pipelines delete` and `nats kv compact` do."""
    async with store_of(server) as store:
        stored = await store.get(name)
        assert stored is not None
        await store.delete(name, after=stored.revision)
    client = await nats.connect(server.url)
    try:
        await (await client.jetstream().key_value(PIPELINES)).purge_deletes(olderthan=-1)
        state = (await client.jetstream().stream_info(f"KV_{PIPELINES}", subjects_filter=">")).state
        assert f"$KV.{PIPELINES}.{name}" not in (state.subjects or {})
    finally:
        await client.close()


async def test_a_deletion_that_was_compacted_is_heard_from_another_node(control_plane: NatsServer) -> None:
    async with Proxy(control_plane.port) as proxy, running("n1", proxy.port) as away:
        await put(control_plane, shop="shop", trades="trades")
        await knows(away, shop="shop", trades="trades")
        async with running("n2", control_plane.port) as witness:
            proxy.target_port = free_port()
            proxy.cut()
            await is_in(away, "cut off")
            await delete_and_compact(control_plane, "shop")
            await knows(witness, trades="trades")
            proxy.target_port = control_plane.port
            await knows(away, trades="trades")
            proxy.target_port = free_port()
            proxy.cut()
            await is_in(away, "cut off")
            await delete_and_compact(control_plane, "trades")
        # Of those that have seen it no one is there any more: the node cannot tell it from a loss.
        async with running("n3", control_plane.port) as fresh:
            proxy.target_port = control_plane.port
            await is_in(away, "cut off", "no node knows that they were deleted")
            assert away.reason.endswith(": trades")
            await knows(fresh)
            await put(control_plane, trades="again")
            await knows(away, trades="again")


@pytest.mark.parametrize("is_purged", [True, False], ids=["purged", "made_anew"])
async def test_a_bucket_that_was_lost_is_taken_when_its_pipelines_are_there_again(
    control_plane: NatsServer, is_purged: bool
) -> None:
    async with Proxy(control_plane.port) as proxy, running("n1", proxy.port) as node:
        await put(control_plane, shop="shop", trades="trades")
        await knows(node, shop="shop", trades="trades")
        client = await nats.connect(control_plane.url)
        try:
            if is_purged:
                await client.jetstream().purge_stream(f"KV_{PIPELINES}")
            else:
                await client.jetstream().delete_key_value(PIPELINES)
        finally:
            await client.close()
        proxy.cut()  # it would notice after some seconds
        await is_in(node, "cut off", "lost entries")
        assert node.reason.endswith(": shop, trades")
        # With the same revisions, where the bucket is another one.
        await put(control_plane, trades="trades", shop="another")
        await knows(node, shop="another", trades="trades")
        assert node.view.records.revisions == {"trades": 3, "shop": 4} if is_purged else {"trades": 1, "shop": 2}


@pytest.mark.long
async def test_a_purge_of_another_bucket_is_noticed(control_plane: NatsServer) -> None:
    async with running("n1", control_plane.port) as node:
        await node.control_plane.bucket(ASSIGNMENTS).put("shop", b'{"node": "n1", "instance": "gone"}')
        await eventually(lambda: "shop" in node.view.assignments.values, "the entry is known")
        client = await nats.connect(control_plane.url)
        try:
            await client.jetstream().purge_stream(f"KV_{ASSIGNMENTS}")
        finally:
            await client.close()
        await eventually(lambda: not node.view.assignments.values, "the entry is forgotten", timeout_s=30)
        await is_in(node, "live")


async def test_in_a_bucket_that_takes_nothing_a_node_is_cut_off_and_stays_so(control_plane: NatsServer) -> None:
    async with Proxy(control_plane.port) as proxy, running("n1", proxy.port) as node:
        client = await nats.connect(control_plane.url)
        try:
            await node.control_plane.bucket(READINESS).put("n2", b'{"instance": "another node"}')
            config = (await client.jetstream().stream_info(f"KV_{READINESS}")).config
            config.max_bytes = 8
            await client.jetstream().update_stream(config)
            with capture_logs() as logged:
                # A full bucket takes what is shorter than the entry before, and nothing longer.
                await (await client.jetstream().key_value(READINESS)).delete("n1")
                await is_in(node, "cut off", "maximum bytes exceeded")
                before = proxy.connection_count
                await eventually(lambda: proxy.connection_count >= before + 3, "it has tried three times")
            told = [each for each in logged if "maximum bytes exceeded" in each.get("reason", "")]
            assert [each["event"] for each in told] == ["node.cut_off"]
            assert f"raise max_bytes of the stream KV_{READINESS}" in told[0]["hint"]
            assert "node.live" not in [each["event"] for each in logged]
            config.max_bytes = -1
            await client.jetstream().update_stream(config)
            await is_in(node, "live")
        finally:
            await client.close()
