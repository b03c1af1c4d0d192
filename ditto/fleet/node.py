"""A node of the fleet: watches what is to run and who is there, runs its part, and says how that is.

Losing the control plane never stops a pipeline. It goes on, and nothing is started until the control plane is back;
what another node has taken meanwhile is stopped here then.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from contextlib import suppress
from typing import Any, Final

import structlog

from ditto.config import ServerConfig
from ditto.config.fleet_values import is_name
from ditto.errors import ConfigError, ControlPlaneLost, DittoError, NodeCrashed, NodeNameTaken
from ditto.fleet.answers import Answers
from ditto.fleet.bucket_copy import Copy
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.crashes import Crashes, where
from ditto.fleet.handover import Handover
from ditto.fleet.heartbeat import Heartbeat
from ditto.fleet.leases import Leases
from ditto.fleet.local import LocalPipeline
from ditto.fleet.lost_entries import account_for_lost
from ditto.fleet.membership import BEAT_S, Membership
from ditto.fleet.metrics import merge
from ditto.fleet.node_metrics import NodeMetrics
from ditto.fleet.readiness import Judge
from ditto.fleet.records import NODES, PIPELINES, READINESS, Failure, Problem
from ditto.fleet.requests import Requests, problem_of, subject
from ditto.fleet.rights import check_buckets, check_requests
from ditto.fleet.status_writer import StatusWriter
from ditto.fleet.store import PipelineStore
from ditto.fleet.sweep import sweep
from ditto.fleet.view import View
from ditto.fleet.workers import Workers
from ditto.pipeline.supervisor import backoff_s
from ditto.sinks.jetstream.connection import Connection
from ditto.tasks import deciding_error, end

log = structlog.get_logger()

_RETRY_S: Final = 1.0
_CHECK_S: Final = 5.0
_HAND_OVER_S: Final = 25.0
"""How long pipelines may go on here, where the process is to end, until other nodes have taken them one by one."""
_DRAIN_S: Final = 15.0
"""How long the end of the process waits for pipelines that drain."""
_LOOK_S: Final = 0.25
_CATCH_UP_S: Final = 2.0
_SETTLE_S: Final = 3.0
"""For so long after its start a node takes nothing that another one holds: the others connect again within 2 s."""


class Node:
    """A `FleetNode`. `run` does everything; `drain` and `stop` can be called at any time."""

    def __init__(self, config: ServerConfig, *, api_url: str) -> None:
        if not is_name(config.name):
            raise ConfigError(
                f"the host name {config.name!r} cannot be the name of a node", hint="give one in node", key="node"
            )
        self.config = config
        self.instance = uuid.uuid4().hex
        self.control_plane = ControlPlane(config.nats, replicas=config.replicas)
        self.membership = Membership(config.name)
        self.view: View = View(self.membership)
        self.store = PipelineStore(self.control_plane)
        self._leases = Leases(self.control_plane, self.view, node=config.name, instance=self.instance)
        self._workers = Workers(config.name, config.log, count=config.workers)
        self._answers = Answers(config.name, self.view, self._workers, drain=self.drain)
        self.requests = Requests(config.name, self.control_plane, self.view, self._answers.to)
        self._heartbeat = Heartbeat(config, instance=self.instance, api_url=api_url)
        self._readiness = Judge(self.view, node=config.name, instance=self.instance, has_news=self._reconcile)
        self._locals: dict[str, LocalPipeline] = {}
        self.view.ended_here = self._ended_by
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._handover = Handover(self.view, node=config.name)
        self._bucket_created = ""
        """When the bucket of the pipelines was that this node has last listed."""
        self._is_due = asyncio.Event()
        """The next heartbeat says something new."""
        self._connected = asyncio.Event()
        self._stop = asyncio.Event()
        self._is_closing = False
        self._was_live = False
        self._first_live_at = 0.0
        self._reason = "it connects to the control plane"
        self._problem: Problem | None = None
        """What the last connection to the control plane ended by."""
        self._metrics = NodeMetrics(self)

    # ------------------------------------------------------------------------------------ how it is

    @property
    def name(self) -> str:
        """See FleetNode."""
        return self.config.name

    @property
    def state(self) -> str:
        """See FleetNode."""
        if self._stop.is_set() or self._heartbeat.is_draining:
            return "draining"
        if self.view.is_current:
            return "live"
        return "cut off" if self._was_live else "connecting"

    @property
    def reason(self) -> str:
        """See FleetNode."""
        return self._reason

    @property
    def cut_off_by(self) -> Problem | None:
        """See FleetNode."""
        return None if self.view.is_current else self._problem

    @property
    def is_ready(self) -> bool:
        """See FleetNode."""
        return self.state == "live"

    @property
    def workers(self) -> Workers:
        """Its processes."""
        return self._workers

    async def catch_up(self) -> None:
        """See FleetNode."""
        with suppress(DittoError, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_S):
                newest = (await self.control_plane.bucket(PIPELINES).state()).newest
            await self.view.reach(newest, timeout_s=_CATCH_UP_S)

    async def metrics(self) -> bytes:
        """See FleetNode."""
        return merge({"node": self._metrics.render(), **await self._workers.metrics()})

    # ------------------------------------------------------------------------------------ its life

    def drain(self) -> None:
        """Hand all pipelines over, and take none; the process goes on."""
        if not self._heartbeat.is_draining:
            log.info("node.draining", node=self.name, pipelines=len(self._locals))
        self._heartbeat.drain()
        self._is_due.set()

    def stop(self) -> None:
        """Drain, and end."""
        self.drain()
        self._stop.set()

    async def run(self) -> None:
        """Until `stop`. Raises NodeNameTaken, and what is wrong with the control plane at the first connection."""
        self._workers.begin(is_warm=self.config.max_pipelines > 0)
        periods = asyncio.create_task(self._periods())
        stopping = asyncio.create_task(self._stop.wait())
        showing = asyncio.create_task(self._show_own())
        try:
            await asyncio.wait([periods, stopping], return_when=asyncio.FIRST_COMPLETED)
            await self._hand_over(periods)
            self._is_closing = True
            for each in self._locals.values():
                each.set(None)
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=_DRAIN_S)
            if periods.done():
                periods.result()
            await self._leave()
        finally:
            self._is_closing = True
            await end(periods, stopping, showing, *self._tasks.values())
            await self._workers.close()

    async def _hand_over(self, periods: asyncio.Task[None]) -> None:
        """Until all pipelines are elsewhere, as long as there is somewhere, and for some time."""
        deadline = time.monotonic() + _HAND_OVER_S
        while self._locals and self.view.is_current and not periods.done() and time.monotonic() < deadline:
            await asyncio.wait(self._tasks.values(), timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            self._reconcile()

    async def _leave(self) -> None:
        """Nobody has to wait for this node to count as dead."""
        try:
            if await self._heartbeat.leave(self.control_plane.bucket(NODES)):
                await self._status_writer().clear()
                await self.control_plane.bucket(READINESS).delete(self.name, after=0)
        except DittoError as error:
            log.debug("node.not_left", reason=error.message)

    async def _periods(self) -> None:
        """One connection to the control plane after the other."""
        crashes = Crashes()
        while True:
            delay_s = _RETRY_S * random.uniform(0.5, 1)  # noqa: S311  no secret
            try:
                async with self.control_plane.connected() as connection:
                    try:
                        await self._period(connection)
                    except Exception as error:
                        if self._is_final(_deciding(error)):
                            await self._heartbeat.withdraw(self.control_plane.bucket(NODES))
                        raise
            except Exception as error:  # noqa: BLE001  all of them are looked at
                deciding = _deciding(error)
                if isinstance(deciding, DittoError):
                    self._judge(deciding)
                else:
                    crashes.note()
                    self._crashed(deciding, crashes)
                    delay_s = max(delay_s, backoff_s(crashes.count))
            finally:
                self._connected.clear()
                self.view.is_connected = False
                self.view.touch()
            await asyncio.sleep(delay_s)

    def _crashed(self, error: BaseException, crashes: Crashes) -> None:
        """Raise where it has happened too often: it would happen for ever."""
        log.error("node.crashed", node=self.name, kind=type(error).__name__, where=where(error), in_a_row=crashes.count)
        self._reason = f"an unexpected {type(error).__name__} has ended its connection to the control plane"
        self._problem = Problem(message=self._reason)
        if crashes.are_too_many:
            raise NodeCrashed(
                f"an unexpected {type(error).__name__} has ended the node's connection to the control plane "
                f"{crashes.count} times in a row",
                hint="please report it, with the lines node.crashed in the node's log; other nodes take the pipelines",
            ) from error

    def _judge(self, error: DittoError) -> None:
        """Raise it where it is final."""
        if self._is_final(error):
            raise error
        if self._reason != error.message:
            self._reason = error.message
            self._problem = problem_of(error)
            log.warning("node.cut_off", node=self.name, reason=error.message, hint=error.hint)

    def _is_final(self, error: BaseException) -> bool:
        """At the first connection, and where another node has the name."""
        if not isinstance(error, DittoError) or isinstance(error, NodeNameTaken):
            return isinstance(error, NodeNameTaken)
        return not self._was_live and not isinstance(error, ControlPlaneLost) and not error.is_retryable

    async def _show_own(self) -> None:
        """Without the control plane, how this node's pipelines are is still known here."""
        while True:
            await asyncio.sleep(_RETRY_S)
            if not self.view.is_connected:
                self._status_writer().show()

    async def _period(self, connection: Connection) -> None:
        # Guarded, as all that follows: what the user may not do is said at once, in place of a time-out.
        await connection.guard(check_buckets(self.control_plane, self.name))
        await connection.guard(self._heartbeat.join(self.control_plane.bucket(NODES)))
        await connection.subscribe(subject(self.name, "*"), cb=self._answers.on_request)
        await connection.guard(check_requests(self.control_plane, self.name))
        # Written before the node is live: in a bucket that takes nothing it would be so for a moment every second.
        await connection.guard(self._readiness.announce(self.control_plane.bucket(READINESS)))
        status_writer = self._status_writer()
        await connection.guard(status_writer.write())
        if self.control_plane.created(PIPELINES) != self._bucket_created:
            self.view.deleted.clear()  # revisions of another bucket
        self.view.begin()
        self.view.is_connected = True
        async with asyncio.TaskGroup() as group:
            for copy in self.view.copies:
                group.create_task(self._watch(copy))
            group.create_task(self._beat())
            group.create_task(self._follow_changes())
            group.create_task(status_writer.run())
            group.create_task(self._readiness.run(self.control_plane.bucket(READINESS)))
            group.create_task(sweep(self.control_plane, self.view, self._leases))
            group.create_task(self._check())
            group.create_task(connection.guard(asyncio.Event().wait()))

    async def _watch(self, copy: Copy[Any]) -> None:
        async for entry in self.control_plane.bucket(copy.bucket).watch():
            if entry is None and copy is self.view.records:
                await account_for_lost(self.view, self.requests)
                if (created := self.control_plane.created(PIPELINES)) != self._bucket_created:
                    self._bucket_created = created
                    self._readiness.forget()
            self.view.take(copy, entry)
            if self.view.is_current and not self._connected.is_set():
                self._connected.set()
                self._was_live, self._reason = True, "it is part of the fleet"
                self._first_live_at = self._first_live_at or time.monotonic()
                log.info(
                    "node.live",
                    node=self.name,
                    nodes=len(self.membership.live()),
                    pipelines=len(self.view.records.values),
                )

    async def _beat(self) -> None:
        live = ""
        while True:
            await self._heartbeat.beat(self.control_plane.bucket(NODES))
            self.membership.tick()
            now_live = ",".join(f"{each.name}/{each.instance}" for each in self.membership.live())
            if now_live != live:
                live = now_live
                self.view.touch()
            self._reconcile()
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._is_due.wait()
            self._is_due.clear()

    async def _follow_changes(self) -> None:
        async for _ in self.view.changes():
            self._reconcile()

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_S)
            await self.control_plane.check({each.bucket: each.oldest for each in self.view.copies})

    # ------------------------------------------------------------------------------------ what runs here

    def _reconcile(self) -> None:
        """Begin, change and end pipelines, as everything is now."""
        if not self.view.is_current or self._is_closing:
            return
        targets = self.view.targets()  # without this node, once the others can see that it drains
        mine = {name for name, node in targets.items() if node == self.name}
        if not self._heartbeat.is_draining:
            for name in mine - self._locals.keys():
                if self._readiness.accepts(name) and self._is_due_here(name):
                    self._begin(name)
        elsewhere = sorted(name for name in self._locals if targets.get(name, self.name) != self.name)
        given_up = self._handover.begin(elsewhere)
        for name, local in self._locals.items():
            if name in mine:
                if self._readiness.accepts(name):  # otherwise it goes on with what it has
                    local.set(self.view.stored(name))
            elif name in given_up or name not in elsewhere:
                local.set(None, is_handed_over=name in elsewhere)

    def _is_due_here(self, name: str) -> bool:
        """Not yet what another node holds, where this one has just started and that one counts as dead: after NATS was
        away, all entries are old, and the other one is on its way back.
        """
        holder = self.view.holder(name)
        is_new = time.monotonic() < self._first_live_at + _SETTLE_S
        return not is_new or holder is None or holder.node == self.name

    def _begin(self, name: str) -> None:
        local = LocalPipeline(
            name,
            node=self.name,
            leases=self._leases,
            workers=self._workers,
            connected=self._wait_for_connection,
            is_closing=lambda: self._is_closing,
            refuse=self._readiness.refuse,
        )
        local.set(self.view.stored(name))
        self._locals[name] = local
        self._tasks[name] = task = asyncio.create_task(local.run())
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended_by(self, name: str) -> Failure | None:
        local = self._locals.get(name)
        return None if local is None else local.ended_by

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        del self._locals[name], self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            reason = error.message if isinstance(error, DittoError) else type(error).__name__
            log.error("pipeline.not_kept", pipeline=name, reason=reason)
            return  # the next beat begins it again
        self.view.touch()

    async def _wait_for_connection(self) -> None:
        await self._connected.wait()

    def _status_writer(self) -> StatusWriter:
        return StatusWriter(self.control_plane, self.view, self._workers, node=self.name, instance=self.instance)


def _deciding(error: BaseException) -> BaseException:
    return deciding_error(error) if isinstance(error, BaseExceptionGroup) else error
