"""Three nats-servers as one JetStream cluster, whose routes can be cut."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

import nats
import psutil
from nats.errors import Error as NatsError

from ditto.testing.process import free_port
from ditto.testing.servers import NatsServer
from e2e.proxy import Proxy

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3
NOWHERE = "127.0.0.1:1"
"""What a server tells the others about where it is reached: they would go around the proxies otherwise."""


class Cluster:
    """Each server reaches each other one through a proxy of its own; clients reach them directly."""

    def __init__(self, folder: Path) -> None:
        self.servers = [NatsServer(folder / f"nats{index}") for index in range(SIZE)]
        self._route_ports = [free_port() for _ in range(SIZE)]
        self._proxies: dict[tuple[int, int], Proxy] = {}
        self._by_fault = list(range(SIZE))
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for index, server in enumerate(self.servers):
            routes = []
            for other in sorted({*range(SIZE)} - {index}):
                proxy = await self._stack.enter_async_context(Proxy(self._route_ports[other]))
                self._proxies[index, other] = proxy
                routes.append(f"nats://127.0.0.1:{proxy.port}")
            cluster = {
                "name": "test",
                "listen": f"127.0.0.1:{self._route_ports[index]}",
                "advertise": NOWHERE,
                "no_advertise": True,
                "routes": routes,
            }
            server.config = f"cluster: {json.dumps(cluster)}"
        try:
            # None of them is ready before a majority is.
            await asyncio.gather(*(asyncio.to_thread(server.start) for server in self.servers))
            await self.complete()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(asyncio.to_thread(server.stop) for server in self.servers))
        await self._stack.aclose()

    @property
    def url(self) -> str:
        """All servers, in order."""
        return ",".join(server.url for server in self.servers)

    # ------------------------------------------------------------------------------------ faults

    def kill(self, index: int) -> None:
        self._note_fault(index)
        self.servers[index].kill()

    async def stop(self, index: int) -> None:
        self._note_fault(index)
        await asyncio.to_thread(self.servers[index].stop)

    async def start(self, index: int) -> None:
        await asyncio.to_thread(self.servers[index].start)

    def pause(self, index: int) -> None:
        self._note_fault(index)
        self.servers[index].pause()

    def resume(self, index: int) -> None:
        self.servers[index].resume()

    def isolate(self, index: int) -> None:
        """From the other two: what they say to each other is swallowed. Clients still reach it."""
        self._note_fault(index)
        for pair, proxy in self._proxies.items():
            if index in pair:
                proxy.is_silent = True

    def rejoin(self, index: int) -> None:
        for pair, proxy in self._proxies.items():
            if index in pair:
                proxy.cut()  # what was swallowed would be missing in the middle of a route
                proxy.is_silent = False

    # ------------------------------------------------------------------------------------ questions

    @property
    def witness(self) -> int:
        """The server to which nothing was done, or longest ago: the one to ask."""
        return self._by_fault[0]

    def _note_fault(self, index: int) -> None:
        self._by_fault.remove(index)
        self._by_fault.append(index)

    def server_of(self, pid: int) -> int:
        """Which server that process is connected to."""
        ports = {server.port: index for index, server in enumerate(self.servers)}
        remote = {connection.raddr.port for connection in psutil.Process(pid).net_connections() if connection.raddr}
        (index,) = {ports[port] for port in remote & ports.keys()}
        return index

    async def leader(self, stream: str) -> int | None:
        """Who leads the stream, as the witness sees it."""
        name = (await self._info(stream))["cluster"].get("leader")
        return self._index(name) if name else None

    async def led(self, stream: str, *, timeout_s: float = 60) -> None:
        """Wait until the stream has a leader."""
        deadline = time.monotonic() + timeout_s
        while await self._attempt(self.leader(stream)) is None:
            assert time.monotonic() < deadline, f"no leader after {timeout_s:g} s"
            await asyncio.sleep(0.1)

    async def replaced(self, stream: str, leader: int, *, timeout_s: float = 60) -> int:
        """Wait until another one than `leader` leads; returns which."""
        deadline = time.monotonic() + timeout_s
        while True:
            now = await self._attempt(self.leader(stream))
            if now not in {None, leader}:
                return int(now)
            assert time.monotonic() < deadline, f"n{leader} is still the leader after {timeout_s:g} s"
            await asyncio.sleep(0.1)

    async def lead(self, stream: str, index: int, *, timeout_s: float = 60) -> None:
        """Make that server the stream's leader."""
        deadline = time.monotonic() + timeout_s
        while await self._attempt(self.leader(stream)) != index:
            assert time.monotonic() < deadline, f"n{index} does not become the leader within {timeout_s:g} s"
            wanted = {"placement": {"preferred": self._name(index)}}
            await self._attempt(self._ask(f"STREAM.LEADER.STEPDOWN.{stream}", wanted))
            await asyncio.sleep(0.2)

    async def step_down(self, stream: str) -> None:
        """The leader gives up; an election follows."""
        answer = await self._ask(f"STREAM.LEADER.STEPDOWN.{stream}", {})
        assert answer.get("success"), answer

    async def whole(self, stream: str, *, timeout_s: float = 60) -> None:
        """Wait until the stream has a leader, and every replica everything."""
        deadline = time.monotonic() + timeout_s
        while True:
            info = await self._attempt(self._info(stream))
            replicas = info["cluster"].get("replicas", []) if info else []
            if len(replicas) == SIZE - 1 and all(
                each.get("current") and not each.get("offline") and not each.get("lag") for each in replicas
            ):
                return
            assert time.monotonic() < deadline, f"not whole after {timeout_s:g} s: {info and info['cluster']}"
            await asyncio.sleep(0.1)

    async def complete(self, *, timeout_s: float = 60) -> None:
        """Wait until streams with a replica on each server can be made."""
        probe = {"name": "PROBE", "num_replicas": SIZE, "storage": "memory"}
        deadline = time.monotonic() + timeout_s
        while not (answer := await self._attempt(self._ask("STREAM.CREATE.PROBE", probe))) or "error" in answer:
            assert time.monotonic() < deadline, f"the cluster is not complete after {timeout_s:g} s: {answer}"
            await asyncio.sleep(0.05)
        await self._attempt(self._ask("STREAM.DELETE.PROBE", {}))

    async def _info(self, stream: str) -> dict[str, Any]:
        return await self._ask(f"STREAM.INFO.{stream}", {})

    async def _attempt(self, asking: Any) -> Any:
        """None where nobody answers at the moment."""
        try:
            return await asking
        except (NatsError, OSError, TimeoutError, KeyError):
            return None

    async def _ask(self, subject: str, body: dict[str, Any]) -> dict[str, Any]:
        client = await nats.connect(self.servers[self.witness].url, allow_reconnect=False, connect_timeout=5)
        try:
            reply = await client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=1)
        finally:
            await client.close()
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    def _name(self, index: int) -> str:
        # The line that NatsServer writes into its configuration file.
        lines = (self.servers[index].folder / "nats.conf").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("server_name: "))

    def _index(self, name: str) -> int:
        return [self._name(index) for index in range(SIZE)].index(name)
