"""Breaks a fleet under load, one fault after the other, and compares every stream with ledger and tables.

    scripts/fleet --pipelines 30
    scripts/fleet --cases all

Three nodes, three PostgreSQL servers, one NATS for the control plane and one for the events. Each node reaches every
server through proxies of its own. How long pipelines were away is read from the log of the nodes: from the fault to the
line that says that the pipeline streams again, elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import statistics
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e.fleet.fleet import Fleet
from e2e.ledger import Ledger, matches_ledger
from e2e.proxy import LateProxy, Proxy
from e2e.world import World
from fleet_faults import CASES, PERMITTED

from ditto.testing.servers import NatsServer, PostgresServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NODES = ("n1", "n2", "n3")
SETTINGS = {"fsync": "off", "max_replication_slots": "60", "max_wal_senders": "60", "max_connections": "300"}
WAIT_S = 90.0


class Proof:
    """The servers, the nodes and the table of times."""

    def __init__(self, folder: Path, *, pipelines: int, away_s: float) -> None:
        self.folder = folder
        self.away_s = away_s
        self._count = pipelines
        self._stack = ExitStack()
        self._proxies = AsyncExitStack()
        self.worlds: dict[str, World] = {}
        self.times: dict[str, list[float]] = {}

    async def __aenter__(self) -> Proof:
        self.postgres = [
            self._stack.enter_context(PostgresServer(self.folder / f"postgres{number}", settings=SETTINGS))
            for number in range(3)
        ]
        self.events = self._stack.enter_context(NatsServer(self.folder / "events"))
        self.control_plane = self._stack.enter_context(NatsServer(self.folder / "control-plane", config=PERMITTED))
        self.fleet = Fleet(self.control_plane.url, self.folder)
        self._stack.callback(self.fleet.close)
        self.control: dict[str, LateProxy] = {}
        self.to_events: dict[str, LateProxy] = {}
        self.to_postgres: dict[str, list[Proxy]] = {}
        for name in (*NODES, "n4"):
            self.to_events[name] = await self._proxies.enter_async_context(LateProxy(self.events.port))
            self.control[name] = await self._proxies.enter_async_context(LateProxy(self.control_plane.port))
            self.to_postgres[name] = [
                await self._proxies.enter_async_context(Proxy(each.port)) for each in self.postgres
            ]
        for number in range(self._count):
            world = World(self.postgres[number % 3], self.events, name=f"f{number}", folder=self.folder)
            self.worlds[f"f{number}"] = world
        return self

    async def __aexit__(self, *_: object) -> None:
        self.fleet.close()
        await self._proxies.aclose()
        self._stack.close()

    def start(self, name: str) -> None:
        """A node that reaches everything through its own proxies."""
        ports = {f"PG{number}": str(proxy.port) for number, proxy in enumerate(self.to_postgres[name])}
        ports["EVENTS"] = str(self.to_events[name].port)
        node = self.fleet.start(
            name,
            nats_url=f"nats://127.0.0.1:{self.control[name].port}",
            environment=ports,
        )
        assert node.is_running

    def document(self, name: str) -> dict[str, Any]:
        """The ports of PostgreSQL and of the events' NATS are references: each node has others."""
        world, number = self.worlds[name], int(name[1:]) % 3
        return {
            "postgres": {
                "dsn": world.dsn.replace(f":{self.postgres[number].port}/", f":${{PG{number}}}/"),
                "slot": name,
                "publication": name,
            },
            "nats": {"url": "nats://127.0.0.1:${EVENTS}", "stream": world.stream},
            "events": {"prefix": name},
        }

    async def all_stream(self, doing: str) -> None:
        """Wait until every pipeline streams on a live node."""
        fleet = self.fleet
        live = {each.name for each in fleet.view.nodes() if each.state != "dead"}

        def missing() -> list[str]:
            fleet.view.touch()  # a node that is alive again changes nothing but that
            found = [fleet.pipeline(name) for name in self.worlds]
            return [
                f"{each.name}:{each.state}@{each.node}"
                for each in found
                if each.state != "streaming"
                or each.node not in live
                or each.node != fleet.view.targets()[each.name]
                or not all(fleet.view.placement.has_judged(node, each.name) for node in live)
            ]

        await fleet.until(lambda: not missing(), lambda: f"{doing}: {missing()[:8]}", timeout_s=WAIT_S)

    async def again(self, name: str) -> None:
        """End a node in order, and begin it again."""
        node = self.fleet.nodes[name]
        node.send(signal.SIGTERM)
        await node.ended(timeout_s=60)
        self.start(name)
        await self.fleet.nodes[name].logged("node.live", timeout_s=WAIT_S)

    async def going_on(self, ledgers: dict[str, Ledger], names: list[str]) -> None:
        """Their events arrive."""
        for name in names:
            await ledgers[name].goes_on(3)
            await self.worlds[name].fence(timeout_s=60)

    def count(self, event: str) -> int:
        """How often the nodes have logged it."""
        return sum(len(node.logs(event)) for node in self.fleet.everything)

    def homes(self, node: str) -> list[str]:
        """The pipelines that it runs."""
        return [name for name in self.worlds if self.fleet.pipeline(name).node == node]

    async def away(self, what: str, names: Iterable[str], since: float, *, of: str) -> None:
        """Wait until these pipelines stream elsewhere than on `of`, and note how long after `since` each did."""
        wanted = set(names)
        deadline = time.monotonic() + WAIT_S
        found: dict[str, float] = {}
        while wanted - found.keys():
            assert time.monotonic() < deadline, f"{what}: {sorted(wanted - found.keys())} stream nowhere"
            found = self._streaming_since(since, wanted, not_on=of)
            await asyncio.sleep(0.3)
        self.times.setdefault(what, []).extend(found[name] - since for name in wanted)

    def _streaming_since(self, since: float, names: set[str], *, not_on: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for node in self.fleet.everything:
            if node.name == not_on:
                continue
            for entry in node.logs("pipeline.streaming"):
                at = datetime.fromisoformat(entry["timestamp"]).astimezone(UTC).timestamp()
                if entry["pipeline"] in names and at > since:
                    found.setdefault(entry["pipeline"], at)
        return found

    def handed_over(self, what: str, names: Iterable[str], since: float, *, of: str) -> None:
        """For each pipeline: from the moment it was told to stop on `of` to streaming elsewhere."""
        wanted = set(names)
        stopped: dict[str, float] = {}
        for entry in self.fleet.nodes[of].logs("pipeline.state", state="draining"):
            at = datetime.fromisoformat(entry["timestamp"]).timestamp()
            if at > since:
                stopped.setdefault(entry["pipeline"], at)
        began = self._streaming_since(since, wanted, not_on=of)
        self.times.setdefault(what, []).extend(began[name] - stopped[name] for name in wanted if name in stopped)


async def prove(proof: Proof, cases: Sequence[str]) -> None:
    """The usual faults in turn where there are no `cases`, else these."""
    fleet = proof.fleet
    for name in NODES:
        proof.start(name)
    await fleet.live(*NODES)
    for name in proof.worlds:
        await fleet.apply(name, proof.document(name))
    await proof.all_stream("start")
    say({node: len(proof.homes(node)) for node in NODES})
    with ExitStack() as writers:
        ledgers = {
            name: writers.enter_context(Ledger(world, seed=number, writer_count=1, pause_s=0.4))
            for number, (name, world) in enumerate(proof.worlds.items())
        }
        if cases:
            for case in cases:
                say(await CASES[case](proof, ledgers))
        else:
            await usual(proof, ledgers)
    for name, world in proof.worlds.items():
        await matches_ledger(world)
        say(f"{name}: {ledgers[name].committed_count} transactions, stream and tables are the same")


async def usual(proof: Proof, ledgers: dict[str, Ledger]) -> None:
    """Faults of nodes and of the network, a roll of all nodes, and a control plane that is away."""
    fleet = proof.fleet
    for node in NODES:
        names, at = proof.homes(node), time.time()
        fleet.nodes[node].kill_node()
        await proof.away("kill -9 of a node", names, at, of=node)
        await proof.all_stream(f"{node} was killed")
        proof.start(node)
        await fleet.live(*NODES)
        await proof.all_stream(f"{node} is back")
        say(f"{node} was killed and is back")
    names, at = proof.homes("n1"), time.time()
    fleet.nodes["n1"].freeze()
    await proof.away("a node is frozen", names, at, of="n1")
    fleet.nodes["n1"].thaw()
    await fleet.live(*NODES)
    await proof.all_stream("n1 is thawed")
    say("n1 was frozen and is thawed")
    await cut_from_control_plane(proof, ledgers)
    await cut_from_events(proof, ledgers)
    await cut_from_all_nats(proof, ledgers)
    await cut_from_postgres(proof, ledgers)
    for node in NODES:
        names, at = proof.homes(node), time.time()
        fleet.nodes[node].send(signal.SIGTERM)
        await proof.away("roll: from SIGTERM, of all that a node has", names, at, of=node)
        assert await fleet.nodes[node].ended(timeout_s=40) == 0
        proof.handed_over("roll: from the end on the old node, of each", names, at, of=node)
        proof.start(node)
        await fleet.live(*NODES)
        await proof.all_stream(f"{node} was rolled")
    say("all nodes were rolled")
    await asyncio.to_thread(proof.control_plane.stop)
    ends_at = time.monotonic() + proof.away_s
    await proof.going_on(ledgers, list(ledgers))
    while time.monotonic() < ends_at:
        await asyncio.sleep(5)
        await proof.going_on(ledgers, list(ledgers))
    await asyncio.to_thread(proof.control_plane.start)
    await fleet.until(lambda: fleet.view.is_current, "the control plane is back", timeout_s=WAIT_S)
    await fleet.live(*NODES)
    await proof.all_stream("the control plane was restarted")
    say(f"the control plane was away for {proof.away_s:g} s, and all events arrived all the time")


async def cut_from_control_plane(proof: Proof, ledgers: dict[str, Ledger]) -> None:
    """The node's pipelines go on, although others stand by for them; afterwards they are where they belong."""
    names = proof.homes("n2")
    set_silent([proof.control["n2"]], True)
    await proof.fleet.nodes["n2"].logged("node.cut_off", timeout_s=WAIT_S)
    await asyncio.sleep(10)  # others count it as dead, and stand by
    await proof.going_on(ledgers, names[:3])
    set_silent([proof.control["n2"]], False)
    await proof.fleet.live(*NODES)
    await proof.all_stream("n2 was cut off from the control plane")
    say("n2 was cut off from the control plane")


async def cut_from_events(proof: Proof, ledgers: dict[str, Ledger]) -> None:
    """Only from the NATS that stores the events: its pipelines wait, and go on."""
    names = proof.homes("n1")
    set_silent([proof.to_events["n1"]], True)
    await asyncio.sleep(15)
    set_silent([proof.to_events["n1"]], False)
    await proof.all_stream("n1 was cut off from the events' NATS")
    await proof.going_on(ledgers, names[:3])
    say("n1 was cut off from the events' NATS")


async def cut_from_all_nats(proof: Proof, ledgers: dict[str, Ledger]) -> None:
    """From both: it can store nothing, and others take its pipelines."""
    names, at = proof.homes("n2"), time.time()
    proxies = [proof.control["n2"], proof.to_events["n2"]]
    set_silent(proxies, True)
    await proof.away("a node is cut off from all NATS", names, at, of="n2")
    await proof.going_on(ledgers, names[:3])
    set_silent(proxies, False)
    await proof.fleet.live(*NODES)
    await proof.all_stream("n2 was cut off from all NATS")
    say("n2 was cut off from all NATS")


def set_silent(proxies: Iterable[Proxy], is_silent: bool) -> None:
    """Nothing passes any more, or everything again; connections that are open end."""
    for proxy in proxies:
        proxy.is_silent = is_silent
        proxy.cut()


async def cut_from_postgres(proof: Proof, ledgers: dict[str, Ledger]) -> None:
    """Its pipelines wait, and go on."""
    set_silent(proof.to_postgres["n3"], True)
    await asyncio.sleep(15)
    set_silent(proof.to_postgres["n3"], False)
    await proof.all_stream("n3 was cut off from PostgreSQL")
    await proof.going_on(ledgers, proof.homes("n3")[:3])
    say("n3 was cut off from PostgreSQL")


def say(what: object) -> None:
    print(f"{datetime.now(UTC):%H:%M:%S} {what if isinstance(what, str) else json.dumps(what)}", flush=True)


def table(times: dict[str, list[float]]) -> str:
    """p50 and the longest, in seconds."""
    lines = ["| Pipelines are away by | count | p50 | max |", "|---|--:|--:|--:|"]
    for what, each in times.items():
        if each:
            lines.append(f"| {what} | {len(each)} | {statistics.median(each):.1f} s | {max(each):.1f} s |")
    return "\n".join(lines)


async def run(folder: Path, *, pipelines: int, away_s: float, cases: Sequence[str]) -> None:
    """Everything, with the table at the end, however it ends."""
    async with Proof(folder, pipelines=pipelines, away_s=away_s) as proof, proof.fleet.watching():
        try:
            await prove(proof, cases)
        finally:
            print(table(proof.times), flush=True)
            print(f"logs: {folder}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/fleet", description=__doc__)
    parser.add_argument("--pipelines", type=int, default=30)
    parser.add_argument("--away", type=float, default=30.0, help="how long the control plane is away, in seconds")
    parser.add_argument("--cases", default="", help=f"in place of the usual faults; all, or some of {','.join(CASES)}")
    given = parser.parse_args()
    cases = list(CASES) if given.cases == "all" else list(filter(None, given.cases.split(",")))
    folder = Path(tempfile.mkdtemp(prefix="ditto-fleet-"))
    folder.chmod(0o755)  # PostgreSQL may run as another account
    asyncio.run(run(folder, pipelines=given.pipelines, away_s=given.away, cases=cases))


if __name__ == "__main__":
    main()
