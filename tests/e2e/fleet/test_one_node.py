"""One node: what it runs, what a change does, what an error does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.fleet.fleet import Fleet, document

if TYPE_CHECKING:
    from e2e.conftest import OpenWorld
    from e2e.world import World


async def test_a_pipeline_from_its_first_revision_to_its_end(fleet: Fleet, world: World) -> None:
    world.sql("CREATE TABLE orders (id int PRIMARY KEY, note text)")
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop", on="n1")
        world.sql("INSERT INTO orders VALUES (1, 'a')")
        assert [each.change for each in await world.events()] == [("orders", "INSERT", 1)]
        # Pause: the slot is free, and nothing arrives.
        stored = await fleet.store.get("shop")
        assert stored is not None
        paused = await fleet.store.change(stored, "pause", by="test", paused=True)
        await fleet.is_in("shop", "paused")
        await world.slot_is_free()
        world.sql("INSERT INTO orders VALUES (2, 'b')")
        await fleet.store.change(paused, "resume", by="test", paused=False, again=True)
        await fleet.streams("shop")
        assert [each.change[2] for each in await world.events()] == [1, 2]
        # A change of events is a reload: the same worker, another revision.
        await fleet.apply("shop", document(world, events={"tables": {"orders": ["insert"], "fence": ["insert"]}}))
        await fleet.streams("shop")
        world.sql("UPDATE orders SET note = 'c'", "INSERT INTO orders VALUES (3, 'c')")
        assert [each.change[2] for each in await world.events()] == [1, 2, 3]
        await node.logged("reload.applied")
        status = await fleet.requests.status("shop")
        assert status.process is not None
        assert status.process.state == "streaming"
        stored = await fleet.store.get("shop")
        assert stored is not None
        await fleet.store.delete("shop", after=stored.revision)
        await world.slot_is_free()
        await fleet.until(lambda: not fleet.view.assignments.values, "the assignment is gone")
        assert await node.stop() == 0
        await fleet.until(lambda: not fleet.view.nodes(), "the node has left")


async def test_an_error_ends_one_pipeline_and_no_other(fleet: Fleet, open_world: OpenWorld) -> None:
    good, bad = open_world(""), open_world("")
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("good", document(good))
        await fleet.apply("bad", document(bad, postgres={"dsn": bad.dsn + "_missing"}))
        failed = await fleet.is_in("bad", "failed")
        assert failed.error is not None
        assert failed.error.code == 3
        assert failed.error.hint
        assert (failed.node, failed.running_revision) == ("n1", None)
        await fleet.streams("good")
        await fleet.apply("bad", document(bad))
        await fleet.streams("bad")
        assert good.is_slot_active
        await node.logged("pipeline.streaming", pipeline="good")
        assert len(node.logs("pipeline.streaming", pipeline="good")) == 1


@pytest.mark.long
async def test_what_has_failed_is_not_tried_again_by_a_node_that_begins(fleet: Fleet, world: World) -> None:
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        stored = await fleet.apply("bad", document(world, postgres={"dsn": world.dsn + "_missing"}))
        await fleet.is_in("bad", "failed")
        assert await node.stop() == 0
        again = fleet.start("n1")
        await fleet.live("n1")
        assert fleet.pipeline("bad").state == "failed"
        assert not again.logs("pipeline.taken")
        await fleet.store.change(stored, "resume", by="test", again=True)
        await again.logged("pipeline.failed")
        assert (await fleet.is_in("bad", "failed")).revision == stored.revision + 1


@pytest.mark.long
async def test_a_worker_that_dies_is_replaced(fleet: Fleet, world: World) -> None:
    async with fleet.watching():
        node = fleet.start("n1")
        await fleet.live("n1")
        await fleet.apply("shop", document(world))
        await fleet.streams("shop")
        _, worker = node.processes()
        worker.kill()
        await node.logged("worker.ended")
        await node.logged("pipeline.streaming", count=2)
        await fleet.streams("shop")
        _, again = node.processes()
        assert again.pid != worker.pid
        assert await world.events() == []
