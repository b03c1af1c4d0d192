"""A stream with a copy on each of three nodes: the one that leads it is killed, and another one leads."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from ditto.testing.rabbitmq_cluster import RabbitMQCluster
from e2e.ledger import Ledger, matches_ledger
from e2e.process import eventually
from e2e.sinks.rabbitmq_world import rabbitmq_world_on

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ditto.testing.rabbitmq_server import RabbitMQServer
    from ditto.testing.servers import PostgresServer


def is_whole(cluster: RabbitMQCluster, streams: Iterable[str], asked: RabbitMQServer) -> bool:
    """Each stream has three copies."""
    return all(cluster.online_count(stream, asked=asked) == 3 for stream in streams)


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
