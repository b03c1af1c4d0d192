"""Nodes as processes, the control plane as tests see it, and worlds whose pipelines the fleet runs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil

from ditto.config import NatsConnection
from ditto.errors import ControlPlaneLost
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.membership import Membership
from ditto.fleet.records import Record, Stored
from ditto.fleet.requests import Requests
from ditto.fleet.store import PipelineStore
from ditto.fleet.view import View
from ditto.tasks import end
from ditto.testing.process import free_port
from e2e.process import POLL_S, DittoProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from ditto.fleet.status import NodeSummary, PipelineSummary
    from e2e.world import World


def document(world: World, **sections: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a world's pipeline, as the fleet keeps it."""
    made: dict[str, Any] = {
        "postgres": {"dsn": world.dsn, "slot": world.name, "publication": world.name},
        "nats": {"url": world.nats_server.url, "stream": world.stream},
        "events": {"prefix": world.name},
    }
    for name, keys in sections.items():
        made[name] = {**made.get(name, {}), **keys}
    return made


class NodeProcess(DittoProcess):
    """One `ditto serve`."""

    def __init__(self, name: str, log_path: Path, settings: dict[str, str]) -> None:
        self.name = name
        super().__init__(log_path, {"DITTO_NODE": name, **settings}, command="serve")

    def processes(self) -> list[psutil.Process]:
        """Its own, and those of its workers."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def kill_node(self) -> None:
        """SIGKILL of the node's process alone: its workers find out."""
        os.kill(self.pid, signal.SIGKILL)

    def freeze(self, *, workers: bool = True, node: bool = True) -> None:
        """The node's process, its workers, or all."""
        own, *others = self.processes()
        for each in ([own] if node else []) + (others if workers else []):
            each.suspend()

    def thaw(self) -> None:
        for each in self.processes():
            with suppress(psutil.NoSuchProcess):  # a worker whose node was frozen has ended by itself
                each.resume()


class Fleet:
    """Nodes with one control plane. `store` and `view` are a connection of the test's own to it."""

    def __init__(self, nats_url: str, folder: Path, *, connection: NatsConnection | None = None) -> None:
        self.nats_url = nats_url
        self.folder = folder
        self.nodes: dict[str, NodeProcess] = {}
        self.everything: list[NodeProcess] = []
        self.control_plane = ControlPlane(connection or NatsConnection(url=nats_url))
        self.store = PipelineStore(self.control_plane)
        self.view = View(Membership("test"))
        self.requests = Requests("test", self.control_plane, self.view, self._not_here)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look at the control plane while the body runs, also after it was away."""
        watching = asyncio.create_task(self._watch())
        try:
            await self.until(lambda: self.view.is_current, "the control plane has been looked at")
            yield
        finally:
            await end(watching)

    def close(self) -> None:
        """Kill every process that was started."""
        for each in self.everything:
            each.kill()

    def start(
        self, name: str, *, nats_url: str | None = None, environment: dict[str, str] | None = None, **settings: str
    ) -> NodeProcess:
        """Begin a node; `nats_url` is another way to the control plane."""
        given = {f"DITTO_{key.upper()}": value for key, value in settings.items()}
        node = NodeProcess(
            name,
            self.folder / f"{name}-{len(self.everything)}.log",
            {
                "DITTO_NATS_URL": nats_url or self.nats_url,
                "DITTO_HTTP_LISTEN": f"127.0.0.1:{free_port()}",
                "DITTO_AUTH_ALLOW_LOOPBACK": "true",
                "DITTO_WORKERS": "1",
                **given,
                **(environment or {}),
            },
        )
        self.nodes[name] = node
        self.everything.append(node)
        return node

    async def live(self, *names: str) -> None:
        """Wait until these are the live nodes."""
        await self.until(
            lambda: {each.name for each in self.view.nodes() if each.state == "live"} == set(names),
            f"{names} are the live nodes",
        )
        # A node writes its first heartbeat before it knows the fleet, and answers 503 until then.
        await self.until(
            lambda: all(self.nodes[each].logs("node.live") for each in names if each in self.nodes),
            f"{names} know the fleet",
        )

    async def apply(self, name: str, made: dict[str, Any], **more: Any) -> Stored:
        """Write the document, whatever is there."""
        before = await self.store.get(name)
        record = Record(document=made, by="test", **{"attempt": 0 if before is None else before.record.attempt, **more})
        return await self.store.put(name, record, after=None if before is None else before.revision)

    def pipeline(self, name: str) -> PipelineSummary:
        return self.view.pipeline(name)

    def node(self, name: str) -> NodeSummary:
        return next(each for each in self.view.nodes() if each.name == name)

    async def streams(self, name: str, *, on: str | None = None, timeout_s: float = 30) -> float:
        """Wait until it streams with its newest revision, on that node; returns how long that took."""
        began_at = time.monotonic()
        newest = await self._newest(name)
        await self.until(
            lambda: (
                self.view.records.revisions.get(name, 0) >= newest
                and self.pipeline(name).state == "streaming"
                and self.pipeline(name).revision == self.pipeline(name).running_revision
                and on in {None, self.pipeline(name).node}
            ),
            lambda: f"{name} streams on {on or 'a node'}: {self.pipeline(name)}",
            timeout_s=timeout_s,
        )
        return time.monotonic() - began_at

    async def is_in(self, name: str, state: str, *, timeout_s: float = 30) -> PipelineSummary:
        """Wait until its newest revision is in that state."""
        newest = await self._newest(name)
        await self.until(
            lambda: self.view.records.revisions.get(name, 0) >= newest and self.pipeline(name).state == state,
            lambda: f"{name} is {state}: {self.view.records.values.get(name) and self.pipeline(name)}",
            timeout_s=timeout_s,
        )
        return self.pipeline(name)

    async def _newest(self, name: str) -> int:
        """The revision that the control plane has: the test's own view follows it a moment later.

        Where it was away, the test's connection may come back later than a node's.
        """
        deadline = time.monotonic() + 30
        while True:
            try:
                stored = await self.store.get(name)
            except ControlPlaneLost:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                assert stored is not None
                return stored.revision

    async def until(self, is_so: Callable[[], bool], what: str | Callable[[], str], *, timeout_s: float = 30) -> None:
        """Poll; fails with the logs of all nodes after the deadline."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            if time.monotonic() > deadline:
                said = what if isinstance(what, str) else what()
                logs = [f"---- {node.name}\n{node.output[-6000:]}" for node in self.nodes.values()]
                raise AssertionError("\n".join([f"not within {timeout_s:g} s: {said}", *logs]))
            await asyncio.sleep(POLL_S)

    async def _watch(self) -> None:
        while True:
            try:
                async with self.control_plane.connected():
                    self.view.begin()
                    self.view.is_connected = True
                    async with asyncio.TaskGroup() as group:
                        for copy in self.view.copies:
                            group.create_task(self._copy(copy))
                        group.create_task(self._tick())
                        group.create_task(self._check())
            except Exception:  # noqa: BLE001  the control plane is away: again
                self.view.is_connected = False
                await asyncio.sleep(0.2)

    async def _copy(self, copy: Any) -> None:
        async for entry in self.control_plane.bucket(copy.bucket).watch():
            self.view.take(copy, entry)

    async def _tick(self) -> None:
        while True:
            self.view.membership.tick()
            self.view.touch()
            await asyncio.sleep(0.5)

    async def _check(self) -> None:
        """A watcher of a bucket that was deleted hears of nothing."""
        while True:
            await asyncio.sleep(1)
            for copy in self.view.copies:
                state = await self.control_plane.bucket(copy.bucket).state()
                assert state.created == self.control_plane.created(copy.bucket), "it is another one: connect again"

    async def _not_here(self, ask: object) -> bytes:
        raise AssertionError(f"asked the test itself for {ask}")
