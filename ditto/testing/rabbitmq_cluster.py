"""Three RabbitMQ nodes that are one cluster, on free loopback ports of this machine."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

from ditto.errors import DittoError
from ditto.testing.process import free_port
from ditto.testing.rabbitmq_server import RabbitMQServer, epmd_process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class RabbitMQCluster:
    """A context manager. Each of `nodes` may be killed and started again. `settings` are those of each."""

    def __init__(self, folder: Path, *, size: int = 3, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        epmd_port = free_port()
        self._epmd_port = epmd_port
        self.nodes = [
            RabbitMQServer(folder / f"node{number}", settings=settings, epmd_port=epmd_port) for number in range(size)
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            epmd = epmd_process(self._epmd_port, self._folder)
            stack.callback(epmd.end, signal.SIGKILL)
            first, *others = [stack.enter_context(node) for node in self.nodes]
            for node in others:
                node.tool("stop_app")
                node.tool("join_cluster", first.node)
                node.tool("start_app")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def leader(self, queue: str, *, asked: RabbitMQServer) -> RabbitMQServer | None:
        """The node that leads it, as another one sees it; None where nobody does."""
        name = _facts(queue, asked).get("leader")
        return next((node for node in self.nodes if node.node == name), None)

    def online_count(self, queue: str, *, asked: RabbitMQServer) -> int:
        """How many of its copies are there."""
        return len(_facts(queue, asked).get("online", []))


def _facts(queue: str, asked: RabbitMQServer) -> dict[str, Any]:
    try:
        printed = asked.tool("list_queues", "name", "leader", "online", "--formatter", "json", "--quiet")
    except DittoError:  # while another node is being cut off
        return {}
    return next((each for each in json.loads(printed) if each["name"] == queue), {})
