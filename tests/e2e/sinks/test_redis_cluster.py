"""A Redis Cluster of three masters: which node has the keys, and what happens when they move to another one."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import redis

from ditto.testing.process import free_port
from ditto.testing.redis_server import RedisServer
from e2e.ledger import Ledger, matches_ledger
from e2e.process import POLL_S
from e2e.sinks.redis_world import redis_world_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ditto.testing.servers import PostgresServer

PREFIX = "{shop}:"
SLOTS = 16_384
TIMEOUT_S = 60


class Cluster:
    """Nodes that share the slots in equal parts."""

    def __init__(self, nodes: list[RedisServer]) -> None:
        self.nodes = nodes
        for number, node in enumerate(nodes):
            first, end = SLOTS * number // len(nodes), SLOTS * (number + 1) // len(nodes)
            self.ask(node, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
            self.ask(node, "CONFIG", "SET", "cluster-allow-replica-migration", "no")
            bus = node.settings["cluster-port"]
            for other in nodes[:number]:
                self.ask(other, "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        self._wait(lambda node: b"cluster_state:ok" in self.ask(node, "CLUSTER", "INFO"))
        self._wait(lambda node: len(self.ask(node, "CLUSTER", "NODES").splitlines()) == len(nodes))

    def _wait(self, is_so: Any) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not all(map(is_so, self.nodes)):
            assert time.monotonic() < deadline
            time.sleep(POLL_S)

    @staticmethod
    def ask(node: RedisServer, *command: object) -> Any:
        with redis.Redis.from_url(node.url) as client:
            found = client.execute_command(*command)
            return found.encode() if isinstance(found, str) else found

    def slot(self) -> int:
        """Of all keys that begin with `PREFIX`."""
        return int(self.ask(self.nodes[0], "CLUSTER", "KEYSLOT", PREFIX))

    def owner(self) -> RedisServer:
        """The node that has that slot."""
        return self.nodes[self.slot() * len(self.nodes) // SLOTS]

    def begin_move(self, source: RedisServer, target: RedisServer) -> None:
        """From now on keys of the slot may be at either node."""
        identifiers = [self.ask(node, "CLUSTER", "MYID").decode() for node in (source, target)]
        self.ask(target, "CLUSTER", "SETSLOT", self.slot(), "IMPORTING", identifiers[0])
        self.ask(source, "CLUSTER", "SETSLOT", self.slot(), "MIGRATING", identifiers[1])

    def move_keys(self, source: RedisServer, target: RedisServer, count: int) -> int:
        """As many keys at most; returns how many there were."""
        keys = self.ask(source, "CLUSTER", "GETKEYSINSLOT", self.slot(), count)
        if keys:
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, target: RedisServer) -> None:
        """The target has the slot."""
        identifier = self.ask(target, "CLUSTER", "MYID").decode()
        for node in (target, *(each for each in self.nodes if each is not target)):
            self.ask(node, "CLUSTER", "SETSLOT", self.slot(), "NODE", identifier)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        nodes = []
        for number in range(3):
            settings = {"cluster-enabled": "yes", "cluster-port": str(free_port()), "cluster-node-timeout": "5000"}
            nodes.append(stack.enter_context(RedisServer(tmp_path / f"node{number}", settings=settings)))
        yield Cluster(nodes)


@pytest.mark.timeout(240)
async def test_the_keys_are_found_and_followed(
    shared_postgres: PostgresServer, cluster: Cluster, tmp_path: Path
) -> None:
    """MOVED at the start, ASK, TRYAGAIN and MOVED while it streams: each event once, in order."""
    source = cluster.owner()
    target, named = (node for node in cluster.nodes if node is not source)
    with redis_world_on(shared_postgres, named, tmp_path) as world:
        world.settings["DITTO_REDIS_KEY_PREFIX"] = world.key_prefix = PREFIX
        world.server = source
        ditto = await world.streaming()
        with Ledger(world, seed=17, pause_s=0.02) as ledger:
            await ledger.goes_on(30)
            cluster.begin_move(source, target)
            await ledger.goes_on(10)
            while cluster.move_keys(source, target, 1):
                await ledger.goes_on(10)  # the keys are at two nodes
            await ditto.logged("session.failed", timeout_s=TIMEOUT_S)
            await ledger.goes_on(10)
            cluster.end_move(target)
            world.server = target
            await ledger.goes_on(30)
            await world.fence(timeout_s=TIMEOUT_S)
        await matches_ledger(world)
        assert cluster.ask(source, "CLUSTER", "COUNTKEYSINSLOT", cluster.slot()) == 0
        errors = {entry["error"] for entry in ditto.logs("session.failed")}
        assert all("the keys' slot is" in error for error in errors), errors
        assert await ditto.stop() == 0
