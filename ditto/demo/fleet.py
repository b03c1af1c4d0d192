"""The demonstration of a fleet: two nodes, three databases, a node that is killed, and the comparison at the end."""

from __future__ import annotations

import asyncio
import shlex
import sys
import textwrap
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import psycopg
import uvloop
import yaml

from ditto.api.fleet.documents import Listing, Nodes
from ditto.api_client.client import FleetClient
from ditto.demo.followed import Followed, Names, Outcome, open_followed
from ditto.demo.node import Node, ask_fleet
from ditto.demo.screen import Status
from ditto.demo.stage import (
    TICK_S,
    Stage,
    connect_to_nats,
    end_with_sigterm,
    open_stage,
    raise_cancellation,
    result_of,
    show_differences,
    until_signal,
)
from ditto.errors import DittoError, FleetError
from ditto.source.connection import connect
from ditto.units import counted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

NODES = ("n1", "n2")
DATABASES = ("london", "paris", "tokyo")
SLOW_ROWS_PER_S = 20
START_TIMEOUT_S = 60
TAKEOVER_TIMEOUT_S = 60
CATCH_UP_TIMEOUT_S = 120


def run_fleet(*, seconds: float, rows_per_s: int, keep: bool) -> bool:
    """The whole demonstration, and with `keep` what comes after it, until SIGINT or SIGTERM.

    Returns whether every stream equals its tables. Raises DittoError, and KeyboardInterrupt or CancelledError when
    interrupted. In every case no process and no folder is left.
    """
    with open_stage() as stage:
        return uvloop.run(_Demo(stage).run(seconds=seconds, rows_per_s=rows_per_s, keep=keep))


class _Demo:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._screen = stage.screen
        self._nodes = [Node(name, stage.folder, nats_url=stage.server.url) for name in NODES]
        self._fleet = FleetClient([node.url for node in self._nodes])
        self._followed: dict[str, Followed] = {}
        self._killed_at = 0.0
        self._taken_over_s: float | None = None
        self._started = 0.0
        self._seconds: float | None = None

    async def run(self, *, seconds: float, rows_per_s: int, keep: bool) -> bool:
        end_with_sigterm()
        async with AsyncExitStack() as stack:
            stack.enter_context(self._fleet)
            await self._create_databases(stack)
            self._screen.step("Starting two nodes: ditto serve --config n1.yaml, and the same with n2.yaml …")
            for node in self._nodes:
                stack.callback(node.kill)
                node.start()
            await self._until(self._is_serving, timeout_s=START_TIMEOUT_S, what="the nodes did not start")
            await self._show_command("nodes")

            self._screen.step("Giving the fleet three pipelines, a file each, as ditto run would take them …")
            self._write_pipelines()
            await self._show_command("pipelines", "apply", "-f", "pipelines")
            await self._until(self._all_streaming, timeout_s=START_TIMEOUT_S, what="the pipelines did not start")
            await self._show_command("pipelines", "list")

            for followed in self._followed.values():
                followed.workload.rows_per_s = max(1, rows_per_s // len(DATABASES))
            is_equal = await self._write_kill_and_check(seconds)
            if keep:
                await self._keep_on()
            return is_equal

    # ------------------------------------------------------------------------------------ the steps

    async def _create_databases(self, stack: AsyncExitStack) -> None:
        self._screen.step(f"Creating three databases, with some rows in each: {', '.join(DATABASES)} …")
        client = await connect_to_nats(self._stage.server.url)
        stack.push_async_callback(client.close)
        async with await connect(self._stage.postgres.dsn, is_read_only=False) as admin:
            for name in DATABASES:
                await admin.execute(f"CREATE DATABASE {name}".encode())
                names = Names(slot=name, publication=name, stream=name.upper(), prefix=name)
                self._followed[name] = await stack.enter_async_context(open_followed(self._dsn(name), names, client))
                await self._followed[name].create()

    def _write_pipelines(self) -> None:
        folder = self._stage.folder / "pipelines"
        folder.mkdir()
        for name, followed in self._followed.items():
            names = followed.names
            document = {
                "postgres": {"dsn": self._dsn(name), "slot": names.slot, "publication": names.publication},
                "nats": {"url": self._stage.server.url, "stream": names.stream},
                "events": {"prefix": names.prefix},
                "snapshot": {"mode": "initial"},
            }
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))

    async def _write_kill_and_check(self, seconds: float) -> bool:
        screen = self._screen
        screen.step(f"Writing to all three for {seconds:g} s …")
        self._started, self._seconds = time.monotonic(), seconds
        await self._during(self._write(seconds), self._kill_a_node(after_s=seconds / 3))
        for followed in self._followed.values():
            await followed.finish()
        await self._until(self._have_stored_all, timeout_s=CATCH_UP_TIMEOUT_S, what="the pipelines did not catch up")
        elapsed_s = self._elapsed()
        await self._show_command("nodes")
        await self._show_command("pipelines", "list")
        screen.step("Stopping the other node …")
        for node in self._nodes:
            node.stop()

        screen.step("Replaying the three streams, and comparing each with its tables row by row …")
        outcomes = {name: await self._compare(name, followed) for name, followed in self._followed.items()}
        for name, outcome in outcomes.items():
            show_differences(screen, outcome, where=f"{name}: ")
        screen.table(self._summary(outcomes, elapsed_s))
        return not any(outcome.differences for outcome in outcomes.values())

    async def _write(self, seconds: float | None = None) -> None:
        async with asyncio.TaskGroup() as group:
            for followed in self._followed.values():
                group.create_task(followed.workload.run(seconds=seconds))

    async def _kill_a_node(self, *, after_s: float) -> None:
        """The one that runs the most pipelines; then wait until the other one runs them."""
        await asyncio.sleep(after_s)
        placed = await self._placed()
        victim = max(self._nodes, key=lambda node: sum(each == node.name for each in placed.values()))
        (survivor,) = [node for node in self._nodes if node is not victim]
        orphans = [name for name, node in placed.items() if node == victim.name]
        self._screen.step(
            f"kill -9 of node {victim.name} (process {victim.pid}), which runs {', '.join(orphans)}: "
            f"node {survivor.name} has to notice, and to go on where each stream ends …"
        )
        self._killed_at = time.monotonic()
        victim.kill()

        async def are_taken_over() -> bool:
            now = await self._placed()
            return all(now.get(name) == survivor.name for name in orphans) and await self._all_streaming()

        what = f"node {survivor.name} did not take over"
        await self._until(are_taken_over, timeout_s=TAKEOVER_TIMEOUT_S, what=what, is_shown=False)
        self._taken_over_s = time.monotonic() - self._killed_at
        self._screen.step(f"{', '.join(orphans)}: on node {survivor.name} after {self._taken_over_s:.1f} s")

    async def _compare(self, name: str, followed: Followed) -> Outcome:
        outcome = await followed.compare(
            on_replayed=lambda done, total: self._screen.progress(f"Reading {name}", done, total),
            on_compared=lambda done, total: self._screen.progress(f"Comparing {name}", done, total),
        )
        raise_cancellation()
        return outcome

    async def _keep_on(self) -> None:
        """Both nodes again, and slow writing, until a signal asks to end."""
        for node in self._nodes:
            node.start()
        await self._until(self._all_streaming, timeout_s=START_TIMEOUT_S, what="the nodes did not start again")
        self._screen.step("Everything goes on, slowly, with both nodes, until you press Ctrl-C.")
        self._screen.table([(f"node {node.name}", f"{node.url}  process {node.pid}") for node in self._nodes])
        self._screen.step("In another terminal: look at the fleet, and kill a node.\n")
        watch = shlex.join([sys.executable, "-m", "ditto", "pipelines", "status", "--watch"])
        self._screen.step(f"DITTO_SERVER={','.join(node.url for node in self._nodes)} {watch}\n")
        self._screen.step(f"kill -9 {self._nodes[0].pid}\n")
        for followed in self._followed.values():
            followed.workload.rows_per_s = SLOW_ROWS_PER_S
        self._started, self._seconds = time.monotonic(), None
        with until_signal() as end:
            await self._during(self._write(), end=end)
        self._screen.step("Stopping …")
        for node in self._nodes:
            if node.is_running:
                node.stop()

    # ------------------------------------------------------------------------------------ looking

    async def _placed(self) -> dict[str, str | None]:
        """The node of each pipeline that streams."""
        try:
            listing = await asyncio.to_thread(self._fleet.get, "/v1/pipelines", Listing)
        except FleetError:
            return {}
        return {each.name: each.node for each in listing.pipelines if each.state == "streaming"}

    async def _is_serving(self) -> bool:
        for node in self._nodes:
            with FleetClient([node.url]) as client:
                try:
                    nodes = await asyncio.to_thread(client.get, "/v1/nodes", Nodes)
                except FleetError:
                    return False
                if sum(each.state == "live" for each in nodes.nodes) < len(self._nodes):
                    return False
        return True

    async def _all_streaming(self) -> bool:
        placed = await self._placed()
        is_read = [await followed.is_streaming() for followed in self._followed.values()]
        return set(placed) == set(DATABASES) and all(is_read)

    async def _have_stored_all(self) -> bool:
        return all([await followed.has_stored_all() for followed in self._followed.values()])

    async def _show(self) -> None:
        every = self._followed.values()
        self._screen.status(
            Status(
                seconds=self._elapsed(),
                total_seconds=self._seconds,
                transactions=sum(each.workload.transactions for each in every),
                rows=sum(each.workload.rows for each in every),
                events=sum([await each.stored_count() or 0 for each in every]),
                lag_bytes=sum([await each.lag_bytes() for each in every]),
            )
        )

    async def _show_command(self, *command: str) -> None:
        self._screen.step(f"$ ditto {' '.join(command)}")
        output = await ask_fleet(command, nodes=self._nodes, folder=self._stage.folder)
        self._screen.step(textwrap.indent(output, "    "))

    def _summary(self, outcomes: dict[str, Outcome], elapsed_s: float) -> list[tuple[str, str]]:
        events = sum(each.copy.events for each in outcomes.values())
        reads = sum(each.copy.reads for each in outcomes.values())
        rows = sum(each.comparison.rows for each in outcomes.values())
        return [
            ("events stored", f"{events:,}, and {counted(reads, 'row')} that were there before"),
            ("rate", f"{(events + reads) / elapsed_s:,.0f} events/s"),
            ("takeover", f"{self._taken_over_s or 0:.1f} s after kill -9"),
            ("compared", f"{counted(rows, 'row')} of {counted(len(outcomes), 'database')}"),
            *((name, result_of(outcome)) for name, outcome in outcomes.items()),
        ]

    # ------------------------------------------------------------------------------------ waiting

    async def _during(self, *work: Coroutine[Any, Any, None], end: asyncio.Event | None = None) -> None:
        """Show what happens until all of it is done, or `end` is set. With `end` it is the reader who kills nodes."""
        tasks = [asyncio.create_task(each) for each in work]
        try:
            while not (all(task.done() for task in tasks) or (end and end.is_set())):
                if end is None:
                    self._check()
                await self._show()
                raise_cancellation()
                await asyncio.wait(tasks, timeout=TICK_S, return_when=asyncio.FIRST_EXCEPTION)
                for task in tasks:
                    if task.done():
                        await task
        except* psycopg.Error as group:
            raise DittoError(f"the workload failed: {group.exceptions[0]}") from group
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _until(
        self, is_reached: Callable[[], Awaitable[bool]], *, timeout_s: float, what: str, is_shown: bool = True
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not await is_reached():
            self._check()
            if time.monotonic() > deadline:
                raise DittoError(f"{what} within {timeout_s:.0f} s")
            if is_shown and self._started:
                await self._show()
            raise_cancellation()
            await asyncio.sleep(0.05)

    def _check(self) -> None:
        for node in self._nodes:
            node.check()

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _dsn(self, database: str) -> str:
        return self._stage.postgres.dsn.removesuffix("/postgres") + f"/{database}"
