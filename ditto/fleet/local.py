"""One pipeline on this node: for as long as it is to run here, or still does. Lease, worker, changes, and the end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from ditto.errors import ControlPlaneLost, DittoError
from ditto.fleet.channel import Reload, Start, Stop
from ditto.fleet.crashes import pipeline_crashed, where
from ditto.fleet.document import difference, is_isolated
from ditto.fleet.leases import Leases, Taken
from ditto.fleet.records import Failure, Stored
from ditto.fleet.requests import Fault, fault_of
from ditto.fleet.suspects import STEADY_S
from ditto.fleet.workers import Run, Worker, WorkerGone, Workers
from ditto.monitoring.timestamps import rfc3339
from ditto.pipeline.supervisor import backoff_s
from ditto.tasks import end

log = structlog.get_logger()

_LOOK_S: Final = 0.5
"""How often a lease is tried that could not be taken: the node wakes it sooner when it is free."""
_PATIENCE_S: Final = 2.0


class LocalPipeline:
    """`want` is set by the node: the record that it is to run with; None where it is not to run here."""

    def __init__(
        self,
        name: str,
        *,
        node: str,
        leases: Leases,
        workers: Workers,
        connected: Callable[[], Awaitable[None]],
        is_closing: Callable[[], bool],
        refuse: Callable[[Stored, Fault], None],
    ) -> None:
        """`connected` waits for the control plane. `is_closing`: the node ends, and waits for nothing. `refuse` is
        called with an error whose cause is this node: another one may run the pipeline.
        """
        self.name = name
        self._node = node
        self._leases = leases
        self._workers = workers
        self._connected = connected
        self._is_closing = is_closing
        self._refuse = refuse
        self._is_refused = False
        self._want: Stored | None = None
        self._wake = asyncio.Event()
        self._taken: Taken | None = None
        self._crashes = 0
        self._failure: Failure | None = None
        self.ended_by: Failure | None = None
        """The error that has ended it here, also before the control plane has heard of it."""
        self._told: tuple[str, str] | None = None
        self._fallback: Stored | None = None
        """What it goes on with here, where it cannot be handed over."""

    @property
    def is_lost(self) -> bool:
        """Whether another node has taken the lease that this one had."""
        return self._taken is not None and self._leases.is_lost(self.name, self._taken)

    @property
    def _is_gone(self) -> bool:
        """Whether the lease that this node had was deleted."""
        return self._taken is not None and self._leases.is_gone(self.name, self._taken)

    def set(self, want: Stored | None, *, is_handed_over: bool = False) -> None:
        """What it is to be from now on. `is_handed_over`: another node is to run it, in place of this one."""
        before, self._want = self._want, want
        self._fallback = before or self._fallback if is_handed_over else None
        is_other = before != want  # in a bucket that was made anew, the same revision may be of another document
        may_take = want is not None and self._taken is None and not self._leases.is_held_elsewhere(self.name)
        if is_other or may_take or self.is_lost or self._is_gone:
            self._wake.set()

    async def run(self) -> None:
        """Until it is not to run here any more, or has failed."""
        try:
            while True:
                await self._keep_running()
                if await self._free():
                    return
                # Without the control plane nobody can take it over: it goes on here.
                self._want = self._fallback
        except Exception as error:
            if isinstance(error, DittoError) or (stored := self._want) is None:
                await self._free()
                raise
            log.error("pipeline.crashed", pipeline=self.name, kind=type(error).__name__, where=where(error))
            self._failure = self.ended_by = failure_of(stored, fault_of(pipeline_crashed(error)), node=self._node)
            await self._free()
        except BaseException:
            await self._free()
            raise

    async def _keep_running(self) -> None:
        while self._want is not None and self._failure is None and not self._is_refused:
            if self._taken is None:
                await self._take()
            elif self.is_lost:
                self._taken = None
            else:
                await self._run()
                if self._taken is not None:
                    self._taken = msgspec.structs.replace(self._taken, from_dead=False)

    async def _take(self) -> None:
        await self._until_woken(self._connected())
        if self._want is None:
            return
        if not self._leases.is_held_elsewhere(self.name):
            try:
                self._taken = await self._leases.take(self.name)
            except ControlPlaneLost as error:
                self._tell("pipeline.not_taken", error)
        if self._taken is None:
            await self._until_woken(asyncio.sleep(_LOOK_S))
        else:
            log.info("pipeline.taken", pipeline=self.name, from_dead=self._taken.from_dead)

    async def _take_again(self) -> None:
        """The pipeline goes on meanwhile. Where another node was faster, the lease is lost, and it ends here."""
        try:
            taken = await self._leases.take(self.name)
        except ControlPlaneLost:
            return  # the next beat wakes
        if taken is not None:
            log.info("pipeline.taken_again", pipeline=self.name, reason="its entry in ditto_assignments was deleted")
            self._taken = msgspec.structs.replace(taken, from_dead=False)

    async def _is_to_stay(self) -> bool:
        """Where another node is to run it: whether that could not take it over once it has ended here. The control
        plane has to take the lease now. Or it is wanted here again by now.
        """
        if self._taken is not None and self._fallback is not None:
            try:
                self._taken = await self._leases.renew(self.name, self._taken) or self._taken
            except ControlPlaneLost as error:
                self._tell("pipeline.not_handed_over", error)
                self._want = self._want or self._fallback  # until the node asks again
        return self._want is not None

    def _tell(self, event: str, error: ControlPlaneLost) -> None:
        """Once for each reason."""
        if (event, error.message) != self._told:
            self._told = (event, error.message)
            log.warning(event, pipeline=self.name, reason=error.message, hint=error.hint)

    async def _free(self) -> bool:
        """So that another node can take it, or, with a failure, none does; False where that cannot be, and another node
        was to have it.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + _PATIENCE_S
        while (taken := self._taken) is not None and not self.is_lost:
            try:
                await self._leases.free(self.name, taken, failure=self._failure)
            except ControlPlaneLost:
                if self._is_closing():
                    return True  # this node counts as dead soon, and its leases with it
                if self._fallback is not None and self._failure is None and clock() > deadline:
                    return False
                await asyncio.sleep(_LOOK_S)
            else:
                log.info("pipeline.freed", pipeline=self.name, failed=self._failure is not None)
                return True
        return True

    async def _run(self) -> None:
        """In a worker, until it has ended there."""
        want = self._want
        if want is None:
            return
        record, began_at = want.record, time.monotonic()
        start = Start(
            self.name,
            record.document,
            want.revision,
            record.attempt,
            suspects_holder=self._taken is not None and self._taken.from_dead,
        )
        worker, run = await self._workers.start(start, is_isolated=is_isolated(record.document))
        try:
            await self._accompany(want, worker, run)
        except WorkerGone:
            if time.monotonic() - began_at > STEADY_S:
                self._crashes = 0
            self._crashes += 1
            await self._until_woken(asyncio.sleep(backoff_s(self._crashes)))
            await self._until_woken(self._connected())
        finally:
            self._workers.release(worker, self.name)

    async def _accompany(self, stored: Stored, worker: Worker, run: Run) -> None:
        """Pass changes on, and wait for the end. Raises WorkerGone."""
        try:
            while True:
                await self._woken_or(run)
                if run.done():
                    break
                want = self._want
                if want is not None and self._is_gone and not self.is_lost:
                    await self._take_again()
                if want is None and not self.is_lost and await self._is_to_stay():
                    continue
                if want is None or self.is_lost:
                    worker.tell(Stop(self.name))
                    break
                if want == stored:
                    continue
                if await asyncio.to_thread(_needs_restart, stored, want):  # seconds for large documents
                    worker.tell(Stop(self.name))
                    break
                worker.tell(Reload(self.name, want.record.document, want.revision, want.record.attempt))
                stored = want
            fault = await asyncio.shield(run)
        except asyncio.CancelledError:
            worker.tell(Stop(self.name))
            raise
        self._crashes = 0
        if fault is None:
            return
        self.ended_by = failure_of(stored, fault, node=self._node)
        if fault.is_local:
            self._refuse(stored, fault)
            self._is_refused = True
        else:
            self._failure = self.ended_by

    async def _woken_or(self, other: asyncio.Future[Any]) -> None:
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait([waking, other], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(waking)
        self._wake.clear()

    async def _until_woken(self, work: Awaitable[Any]) -> None:
        """Wait for that, or until something has changed."""
        doing = asyncio.ensure_future(work)
        try:
            await self._woken_or(doing)
        finally:
            await end(doing)


def _needs_restart(before: Stored, after: Stored) -> bool:
    old, new = before.record, after.record
    if old.attempt != new.attempt or is_isolated(old.document) != is_isolated(new.document):
        return True
    return difference(old.document, new.document, os.environ).effect in {"restart", "new slot"}


def failure_of(stored: Stored, fault: Fault, *, node: str) -> Failure:
    """What is kept of an error."""
    return Failure(
        revision=stored.revision,
        attempt=stored.record.attempt,
        kind=fault.kind,
        message=fault.message,
        hint=fault.hint,
        code=fault.code,
        at=rfc3339(time.time()),
        node=node,
        record_at=stored.record.at,
    )
