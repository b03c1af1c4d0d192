"""Three nodes with a copy each of a stream, or of the queue of an exchange: nodes are killed, and cut off."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ditto.testing.rabbitmq_cluster import RabbitMQCluster
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.sinks.rabbitmq_world import exchange_world_on, rabbitmq_world_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ditto.testing.rabbitmq_server import RabbitMQServer
    from ditto.testing.servers import PostgresServer
    from e2e.sinks.rabbitmq_world import ExchangeWorld, RabbitMQWorld


def is_whole(cluster: RabbitMQCluster, streams: Iterable[str], asked: RabbitMQServer) -> bool:
    """Each stream has three copies."""
    return all(cluster.online_count(stream, asked=asked) == 3 for stream in streams)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RabbitMQCluster]:
    """A node without the majority pauses; one that is silent for 5 s is cut off by the others."""
    with RabbitMQCluster(tmp_path / "cluster", settings={"cluster_partition_handling": "pause_minority"}) as cluster:
        for node in cluster.nodes:
            node.tool("eval", "net_kernel:set_net_ticktime(4, 0).")
        yield cluster


@pytest.fixture
def stream_world(shared_postgres: PostgresServer, cluster: RabbitMQCluster, tmp_path: Path) -> Iterator[RabbitMQWorld]:
    with rabbitmq_world_on(shared_postgres, cluster.nodes[0], tmp_path) as world:
        world.settings["DITTO_RABBITMQ_URL"] = ",".join(node.url for node in cluster.nodes)
        yield world


@pytest.fixture
def queue_world(shared_postgres: PostgresServer, cluster: RabbitMQCluster, tmp_path: Path) -> Iterator[ExchangeWorld]:
    """The queue has a copy on each node."""
    with exchange_world_on(shared_postgres, cluster.nodes[0], tmp_path) as world:
        world.settings["DITTO_RABBITMQ_URL"] = ",".join(node.amqp_url for node in cluster.nodes)
        yield world


@pytest.mark.long
@pytest.mark.timeout(580)
async def test_the_node_of_an_exchange_is_killed(queue_world: ExchangeWorld, cluster: RabbitMQCluster) -> None:
    """The one that Ditto is connected to, and the one that leads the queue: at least once, first copies in order."""
    world = queue_world
    ditto = await world.streaming(rabbitmq_ack_timeout="5s")
    with Ledger(world, seed=25, pause_s=0.05) as ledger:
        for is_connected in (True, False):
            await ledger.goes_on(20)
            asked = world.server
            await eventually(partial(is_whole, cluster, [world.name], asked), "every copy is there", timeout_s=90)
            killed = cluster.nodes[0] if is_connected else cluster.leader(world.name, asked=asked)
            assert killed is not None
            killed.kill()
            world.server = next(node for node in cluster.nodes if node is not killed)
            await ledger.goes_on(20)
            await world.catches_up(timeout_s=90)
            await asyncio.to_thread(killed.start)
    await matches_ledger(world)
    assert ditto.logs("session.failed")
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(580)
async def test_a_node_is_cut_off(stream_world: RabbitMQWorld, cluster: RabbitMQCluster) -> None:
    """The leader stands still until the others have elected another one, and comes back with what it had. Each event is
    in the stream once.
    """
    world = stream_world
    ditto = await world.streaming(rabbitmq_stream_replicas=3, rabbitmq_ack_timeout="5s")
    streams = (world.stream, f"{world.stream}.ditto")
    with Ledger(world, seed=27, pause_s=0.05) as ledger:
        await ledger.goes_on(20)
        await eventually(partial(is_whole, cluster, streams, world.server), "every copy is there", timeout_s=90)
        frozen = cluster.leader(world.stream, asked=world.server)
        assert frozen is not None
        frozen.pause()
        try:
            world.server = next(node for node in cluster.nodes if node is not frozen)
            await ledger.goes_on(20)
            await world.catches_up(timeout_s=120)
            assert cluster.leader(world.stream, asked=world.server) not in {None, frozen}
            log = world.server.folder / "rabbitmq.log"
            await eventually(lambda: "net_tick_timeout" in log.read_text(), "the others have cut it off", timeout_s=60)
        finally:
            frozen.resume()
        await eventually(partial(is_whole, cluster, streams, world.server), "every copy is there", timeout_s=120)
        await ledger.goes_on(20)
    await matches_ledger(world)
    assert ditto.logs("session.failed")
    assert await ditto.stop() == 0


@pytest.mark.long
@pytest.mark.timeout(580)
async def test_the_leader_is_killed(shared_postgres: PostgresServer, tmp_path: Path) -> None:
    """That of the events, that of Ditto's own stream, and the node that Ditto is connected to; each node comes back."""
    with (
        RabbitMQCluster(tmp_path / "cluster") as cluster,
        rabbitmq_world_on(shared_postgres, cluster.nodes[0], tmp_path) as world,
    ):
        world.settings["DITTO_RABBITMQ_URL"] = ",".join(node.url for node in cluster.nodes)
        ditto = await world.streaming(rabbitmq_stream_replicas=3, rabbitmq_ack_timeout="5s")
        streams = (world.stream, f"{world.stream}.ditto")
        with Ledger(world, seed=23, pause_s=0.05) as ledger:
            for led in (*streams, None):
                await ledger.goes_on(20)
                asked = world.server
                await eventually(partial(is_whole, cluster, streams, asked), "every copy is there", timeout_s=90)
                killed = cluster.nodes[0] if led is None else cluster.leader(led, asked=asked)
                assert killed is not None
                killed.kill()
                world.server = next(node for node in cluster.nodes if node is not killed)
                await ledger.goes_on(20)
                await world.catches_up(timeout_s=90)
                for stream in streams:
                    assert cluster.leader(stream, asked=world.server) not in {None, killed}
                await asyncio.to_thread(killed.start)
        await matches_ledger(world)
        assert ditto.logs("session.failed")
        assert await ditto.stop() == 0
