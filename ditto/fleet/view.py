"""The whole fleet in memory: a copy of each bucket, kept up to date by its watcher, and what follows from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import msgspec

from ditto.fleet.assignment import Wanted
from ditto.fleet.bucket_copy import Copy
from ditto.fleet.buckets import Entry
from ditto.fleet.document import Document, labels_of
from ditto.fleet.membership import Membership
from ditto.fleet.placement import Placement
from ditto.fleet.records import (
    ASSIGNMENTS,
    NODES,
    PIPELINES,
    READINESS,
    STATUS,
    Assignment,
    Failure,
    NodeEntry,
    Problem,
    Readiness,
    Record,
    Running,
    Stored,
    WorkerEntry,
)
from ditto.fleet.status import NodeSummary, PipelineSummary
from ditto.fleet.store import unknown

_PERIOD_S: Final = 0.25
"""Between two items of `changes`."""


class View:
    """A `ClusterView`, and what the node needs to decide."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.records: Copy[Record] = Copy(PIPELINES, Record)
        self.nodes_copy: Copy[NodeEntry] = Copy(NODES, NodeEntry)
        self.assignments: Copy[Assignment] = Copy(ASSIGNMENTS, Assignment)
        self.workers: Copy[WorkerEntry] = Copy(STATUS, WorkerEntry)
        self.readiness: Copy[Readiness] = Copy(READINESS, Readiness)
        self.copies: tuple[Copy[Any], ...] = (
            self.records,
            self.nodes_copy,
            self.assignments,
            self.workers,
            self.readiness,
        )
        self.placement = Placement(
            membership, records=self.records, assignments=self.assignments, readiness=self.readiness
        )
        self.deleted: dict[str, int] = {}
        """Pipelines of which this node has heard that they were deleted, with the revision of that."""
        self.ended_here: Callable[[str], Failure | None] = lambda _: None
        """The error that has ended a pipeline on this node, of which the control plane has not heard yet."""
        self.is_connected = False
        self._changed: set[asyncio.Event] = set()
        self._targets: dict[str, str] | None = None
        self._running: dict[str, tuple[str, str, Running]] | None = None

    # ------------------------------------------------------------------------------------ being fed

    def begin(self) -> None:
        """A connection has been made: everything is about to be listed."""
        for each in self.copies:
            each.begin()

    @property
    def is_current(self) -> bool:
        """Whether the control plane is there, and everything has been listed."""
        return self.is_connected and all(each.is_complete for each in self.copies)

    def take(self, copy: Copy[Any], entry: Entry | None) -> None:
        """One item of a bucket's watcher."""
        if entry is None:
            copy.complete()
            if copy is self.nodes_copy:
                self.membership.begin(self.nodes_copy.values, self.nodes_copy.written_at)
        else:
            before, value = copy.values.get(entry.key), copy.take(entry)
            if copy is self.nodes_copy and copy.is_complete:
                if isinstance(value, NodeEntry):
                    if not self.membership.note(value) and _is_same(before, value):
                        return  # it lives still: that is all
                elif entry.value is None:
                    self.membership.leave(entry.key)
            elif copy is self.records:
                if entry.value is None:
                    self.deleted[entry.key] = entry.revision
                else:
                    self.deleted.pop(entry.key, None)
        self.touch(is_decisive=copy is not self.workers)

    def touch(self, *, is_decisive: bool = True) -> None:
        """Something has changed; what is not decisive has no influence on which node runs what."""
        self._running = None
        if is_decisive:
            self._targets = None
        for event in self._changed:
            event.set()

    async def changes(self) -> AsyncIterator[None]:
        """See ClusterView."""
        event = asyncio.Event()
        self._changed.add(event)
        try:
            while True:
                await event.wait()
                event.clear()
                yield None
                await asyncio.sleep(_PERIOD_S)
        finally:
            self._changed.discard(event)

    async def reach(self, revision: int, *, timeout_s: float) -> None:
        """Wait until this revision of the pipelines has been heard of, or the control plane is lost."""
        records = self.records
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(lambda: not self.is_connected or (records.is_complete and records.newest >= revision))
        except TimeoutError:
            records.newest = max(records.newest, revision)  # somebody has purged it: nobody will hear of it

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until it is; looked at when something has changed."""
        event = asyncio.Event()
        self._changed.add(event)
        try:
            while not is_so():
                await event.wait()
                event.clear()
        finally:
            self._changed.discard(event)

    # ------------------------------------------------------------------------------------ deciding

    def targets(self) -> dict[str, str]:
        """The node that is to run each pipeline that is to run and can."""
        if self._targets is None:
            self._targets = self.placement.targets()
        return self._targets

    def unplaced_without(self, node: str) -> list[str]:
        """See ClusterView."""
        placed = self.placement.targets(without=node)
        runs = {
            name
            for name, each in self.assignments.values.items()
            if each.node == node and name in self.records.values and not self.records.values[name].paused
        }
        return sorted((self.targets().keys() | runs) - placed.keys())

    def obstacle(self, name: str, document: Document) -> Problem | None:
        """See ClusterView."""
        return self.placement.obstacle(name, document) if self.is_current else None

    def deleted_since(self, revisions: Mapping[str, int]) -> list[str]:
        """Those of these pipelines of which this node has heard that they were deleted after that revision."""
        return [name for name, after in revisions.items() if self.deleted.get(name, 0) > after]

    def holder(self, name: str) -> Assignment | None:
        """Who holds its lease: a node that is alive, or was."""
        return self.placement.holder(name)

    # ------------------------------------------------------------------------------------ being shown

    def stored(self, name: str) -> Stored:
        """See ClusterView."""
        record = self.records.values.get(name)
        if record is None:
            raise unknown(name)
        return Stored(name, self.records.revisions[name], record)

    def names(self) -> list[str]:
        """See ClusterView."""
        return sorted(self.records.values)

    def pipelines(self) -> list[PipelineSummary]:
        """See ClusterView."""
        return [self.pipeline(name) for name in self.names()]

    def pipeline(self, name: str) -> PipelineSummary:
        """See ClusterView."""
        stored = self.stored(name)
        holder = self.holder(name)
        is_held = holder is not None and self.membership.is_alive(holder.node, holder.instance)
        worker, running = self._running_of(name, holder) if is_held and holder is not None else (None, None)
        if running is not None and holder is not None:
            return _of_running(stored, holder.node, worker, running, self._not_taken(stored, running))
        state, node, reason, problem = self._of_idle(stored, holder, is_held=is_held)
        return PipelineSummary(
            name=name,
            node=node,
            worker=None,
            state=state,
            reason=reason,
            error=problem,
            revision=stored.revision,
            running_revision=None,
            labels=labels_of(stored.record.document),
            updated=stored.record.at,
        )

    def nodes(self) -> list[NodeSummary]:
        """See ClusterView."""
        counts: dict[str, int] = {}
        targets = self.targets()
        for name in self.records.values:
            holder = self.holder(name)
            node = targets.get(name) if holder is None else holder.node
            if node is not None:
                counts[node] = counts.get(node, 0) + 1
        live = {each.name for each in self.membership.live()}
        return [
            NodeSummary(
                name=each.name,
                state="dead" if each.name not in live else "draining" if each.draining else "live",
                api_url=each.api_url,
                labels=each.labels,
                pipelines=counts.get(each.name, 0),
                max_pipelines=each.max_pipelines,
                version=each.version,
                started=each.started,
                workers=sum(
                    key.rpartition(".")[0] == each.name and worker.instance == each.instance
                    for key, worker in self.workers.values.items()
                ),
            )
            for each in self.membership.all()
        ]

    def _of_idle(
        self, stored: Stored, holder: Assignment | None, *, is_held: bool
    ) -> tuple[str, str | None, str, Problem | None]:
        name = stored.name
        if stored.record.paused:
            by = f" by {stored.record.by}" if stored.record.by else ""
            return "paused", None, f"it was paused{by}", None
        if (failed := self.placement.failure(name)) is not None:
            return "failed", failed.node or None, failed.message, _problem(failed)
        if is_held and holder is not None:
            ended = self.ended_here(name)
            if ended is not None and ended.node == holder.node and self.placement.is_of_now(name, ended):
                return "failed", holder.node, ended.message, _problem(ended)
            return "assigned", holder.node, f"node {holder.node} is about to start it", None
        target = self.targets().get(name)
        if target is not None:
            if holder is not None and holder.node == target:
                return "assigned", target, f"node {target} has ended and is there again; it is about to start it", None
            gone = f"node {holder.node} is gone, " if holder is not None else ""
            return "assigned", target, f"{gone}node {target} is about to start it", None
        wanted = Wanted(name, labels_of(stored.record.document))
        problem = self.placement.lacking(name) or self.placement.unlabelled(wanted) or self.placement.full(wanted)
        return "unassigned", None, problem.message, problem

    def _not_taken(self, stored: Stored, running: Running) -> Problem | None:
        """Why the newest revision is not what runs."""
        if running.revision >= stored.revision or stored.record.paused:
            return None
        lacking = self.placement.lacking(stored.name)
        if lacking is None:
            return None
        message = f"revision {stored.revision} is refused: {lacking.message}"
        return Problem(message=message, hint=lacking.hint, code=lacking.code)

    def _running_of(self, name: str, holder: Assignment) -> tuple[str | None, Running | None]:
        if self._running is None:
            self._running = {
                each.name: (key, entry.instance, each)
                for key, entry in self.workers.values.items()
                for each in entry.pipelines
                if self._is_holder(each.name, key, entry.instance)
            }
        key, instance, running = self._running.get(name, (None, None, None))
        return (None, None) if key is None or instance != holder.instance else (key.rpartition(".")[2], running)

    def _is_holder(self, name: str, key: str, instance: str) -> bool:
        holder = self.holder(name)
        return holder is not None and holder.instance == instance and key.rpartition(".")[0] == holder.node


def _is_same(before: NodeEntry | None, after: NodeEntry) -> bool:
    return before is not None and msgspec.structs.replace(before, beat=after.beat, silent_s=after.silent_s) == after


def _problem(failed: Failure) -> Problem:
    return Problem(message=failed.message, hint=failed.hint, code=failed.code)


def _of_running(
    stored: Stored, node: str | None, worker: str | None, running: Running, not_taken: Problem | None
) -> PipelineSummary:
    state, reason, error = running.state, running.reason, running.error or not_taken
    if running.revision < stored.revision and (stored.record.paused or error is None):
        change = (
            "it is about to be paused" if stored.record.paused else f"revision {stored.revision} is about to be taken"
        )
        state, reason = "changing", f"{change}; revision {running.revision} is {running.state}"
    return PipelineSummary(
        name=stored.name,
        node=node,
        worker=worker,
        state=state,
        reason=reason,
        error=error,
        revision=stored.revision,
        running_revision=running.revision,
        lag_s=running.lag_s,
        events=running.events,
        events_per_s=running.events_per_s,
        retained_bytes=running.retained_bytes,
        safe_bytes=running.safe_bytes,
        snapshots=running.snapshots,
        sink=running.sink,
        labels=labels_of(stored.record.document),
        updated=running.updated,
    )
