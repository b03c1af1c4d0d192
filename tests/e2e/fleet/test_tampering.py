"""Somebody else writes into the buckets of the control plane, and to the nodes' subjects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nats
import pytest

from e2e.fleet.fleet import Fleet, document
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually

if TYPE_CHECKING:
    from nats.aio.client import Client

    from ditto.testing.servers import NatsServer
    from e2e.world import World

GARBAGE = (
    b"",
    b"garbage",
    b"[]",
    b'{"document": {"a": "\xff"}}',
    b'{"document": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
)


@pytest.mark.long
async def test_entries_that_nobody_can_read(fleet: Fleet, control_plane: NatsServer, world: World) -> None:
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        client = await nats.connect(control_plane.url)
        try:
            with Ledger(world) as ledger:
                await ledger.goes_on(10)
                js = client.jetstream()
                for bucket in (
                    "ditto_pipelines",
                    "ditto_nodes",
                    "ditto_assignments",
                    "ditto_status",
                    "ditto_readiness",
                ):
                    store = await js.key_value(bucket)
                    for index, value in enumerate(GARBAGE):
                        await store.put(f"x{index}", value)
                    await store.put(
                        {"ditto_nodes": "n1", "ditto_status": "n1.1", "ditto_readiness": "n1"}.get(bucket, "shop"),
                        GARBAGE[-1],
                    )
                for value in GARBAGE:
                    for op in ("drain", "status"):
                        await client.publish(f"ditto.node.n1.{op}", value)
                await client.flush()
                await ledger.goes_on(10)
                # The entry of the node itself is its own again.
                await fleet.live("n1")
                assert node.is_running
                assert not node.logs("node.draining")
                # And also where everything is listed anew.
                control_plane.restart()
                await node.logged("node.live", count=2)
                await fleet.live("n1")
                await ledger.goes_on(10)
                assert not node.logs("pipeline.freed")
                await eventually(lambda: client.is_connected, "the test's own client is back")
                await (await js.key_value("ditto_pipelines")).delete("shop")
                await world.slot_is_free()
                await fleet.apply("shop", document(world))
                await fleet.streams("shop")
                await ledger.goes_on(10)
            await matches_ledger(world)
            # Nor does a node mind that begins.
            assert await node.stop() == 0
            fleet.start("n2")
            await fleet.live("n2")
            await fleet.streams("shop", on="n2")
        finally:
            await client.close()


@pytest.mark.parametrize("is_purged", [False, True], ids=["deleted", "purged"])
@pytest.mark.long
async def test_a_bucket_of_pipelines_that_is_lost_stops_none(
    fleet: Fleet, control_plane: NatsServer, world: World, is_purged: bool
) -> None:
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        client = await nats.connect(control_plane.url)
        try:
            with Ledger(world) as ledger:
                await ledger.goes_on(10)
                js = client.jetstream()
                if is_purged:
                    await js.purge_stream("KV_ditto_pipelines")
                else:
                    await js.delete_key_value("ditto_pipelines")
                    await js.create_key_value(bucket="ditto_pipelines", history=64)
                said = await node.logged("node.cut_off", count=2)
                assert "lost entries, and no node knows that they were deleted" in said["reason"]
                assert said["reason"].endswith(": shop")
                await ledger.goes_on(30)
                # As the hint says.
                other = fleet.start("n2", max_pipelines="0")
                await other.logged("node.live")
                await ledger.goes_on(10)
                await fleet.apply("shop", document(world))
                await node.logged("node.live", count=2)
                await fleet.streams("shop", on="n1")
                await ledger.goes_on(10)
                assert not node.logs("pipeline.state", state="draining")
                assert not node.logs("pipeline.freed")
            await matches_ledger(world)
        finally:
            await client.close()


@pytest.mark.long
async def test_where_the_bucket_of_the_leases_is_full_nothing_is_given_up(
    fleet: Fleet, control_plane: NatsServer, world: World
) -> None:
    async with fleet.watching():
        node = fleet.start("n1", labels='{"zone": "a"}')
        await fleet.live("n1")
        await fleet.apply("shop", document(world, placement={"labels": {"zone": "a"}}))
        await fleet.streams("shop")
        fleet.start("n2", labels='{"zone": "b"}')
        await fleet.live("n1", "n2")
        client = await nats.connect(control_plane.url)
        try:
            with Ledger(world) as ledger:
                await ledger.goes_on(10)
                await limit(client, most_bytes=64)
                await fleet.apply("shop", document(world, placement={"labels": {"zone": "b"}}))
                said = await node.logged("pipeline.not_handed_over")
                assert "ditto_assignments" in said["reason"]
                await ledger.goes_on(10)
                await world.fence()
                assert fleet.pipeline("shop").node == "n1"
                assert not node.logs("pipeline.state", state="draining")
                await limit(client, most_bytes=-1)
                await fleet.streams("shop", on="n2")
                await ledger.goes_on(10)
            await matches_ledger(world)
        finally:
            await client.close()


async def limit(client: Client, *, most_bytes: int) -> None:
    js = client.jetstream()
    config = (await js.stream_info("KV_ditto_assignments")).config
    config.max_bytes = most_bytes
    await js.update_stream(config)
