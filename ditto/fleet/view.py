"""The whole fleet in memory: a copy of each bucket, kept up to date by its watcher, and what follows from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog
from msgspec import Struct

from ditto.errors import ControlPlaneUnsuitable
from ditto.fleet.assignment import Candidate, Wanted, assign, can_run
from ditto.fleet.buckets import Entry
from ditto.fleet.membership import Membership
from ditto.fleet.records import (
    ASSIGNMENTS,
    NODES,
    PIPELINES,
    STATUS,
    Assignment,
    Failure,
    NodeEntry,
    Problem,
    Record,
    Running,
    Stored,
    WorkerEntry,
    decode,
)
from ditto.fleet.status import NodeSummary, PipelineSummary
from ditto.fleet.store import unknown

log = structlog.get_logger()

_PERIOD_S: Final = 0.25
"""Between two items of `changes`."""

T = TypeVar("T", bound=Struct)


class Copy(Generic[T]):
    """One bucket: values and revisions by key."""

    def __init__(self, bucket: str, kind: type[T]) -> None:
        self.bucket = bucket
        self._kind = kind
        self.values: dict[str, T] = {}
        self.revisions: dict[str, int] = {}
        self._fresh: dict[str, T] | None = {}
        """What has been listed, until all is."""

    def begin(self) -> None:
        """The bucket is about to be listed: what is known stays until that is done."""
        self._fresh = {}

    @property
    def is_complete(self) -> bool:
        """Whether it has been listed."""
        return self._fresh is None

    def complete(self) -> None:
        """The list is complete."""
        if self._fresh is not None:
            self.values = self._fresh
            self.revisions = {key: self.revisions[key] for key in self.values}
            self._fresh = None

    def written(self, key: str, value: T | None, revision: int) -> None:
        """This node has written it: known before the watcher says so."""
        into = self.values if self._fresh is None else self._fresh
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value
        self.revisions[key] = revision

    def take(self, entry: Entry) -> T | None:
        """One entry of the watcher; the value, None where it is gone or cannot be read."""
        into = self.values if self._fresh is None else self._fresh
        if self._fresh is None and entry.revision < self.revisions.get(entry.key, 0):
            return into.get(entry.key)  # this node has written it since
        self.revisions[entry.key] = entry.revision
        if entry.value is None:
            into.pop(entry.key, None)
            return None
        try:
            value = decode(entry.value, self._kind, f"{self.bucket}/{entry.key}")
            if isinstance(value, NodeEntry) and value.name != entry.key:
                raise ControlPlaneUnsuitable(f"the entry {self.bucket}/{entry.key} is that of another node")
        except ControlPlaneUnsuitable as error:
            log.warning("fleet.entry_unreadable", reason=error.message, hint=error.hint)
            return None
        into[entry.key] = value
        return value


class View:
    """A `ClusterView`, and what the node needs to decide."""

    def __init__(self, membership: Membership) -> None:
        self.membership = membership
        self.records: Copy[Record] = Copy(PIPELINES, Record)
        self.nodes_copy: Copy[NodeEntry] = Copy(NODES, NodeEntry)
        self.assignments: Copy[Assignment] = Copy(ASSIGNMENTS, Assignment)
        self.workers: Copy[WorkerEntry] = Copy(STATUS, WorkerEntry)
        self.copies: tuple[Copy[Any], ...] = (self.records, self.nodes_copy, self.assignments, self.workers)
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
                self.membership.begin(self.nodes_copy.values)
        else:
            before, value = copy.values.get(entry.key), copy.take(entry)
            if copy is self.nodes_copy and copy.is_complete:
                if isinstance(value, NodeEntry):
                    self.membership.note(value)
                    if _is_same(before, value):
                        return  # it lives: that is all
                elif entry.value is None:
                    self.membership.leave(entry.key)
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

    # ------------------------------------------------------------------------------------ deciding

    def failure(self, name: str) -> Failure | None:
        """Why it has failed, where neither its record nor its attempt has changed since."""
        assignment, record = self.assignments.values.get(name), self.records.values.get(name)
        failed = None if assignment is None else assignment.failed
        if failed is None or record is None:
            return None
        is_same = (failed.revision, failed.attempt) == (self.records.revisions[name], record.attempt)
        return failed if is_same else None

    def candidates(self) -> list[Candidate]:
        """The live nodes that take pipelines."""
        return [
            Candidate(each.name, each.labels, each.max_pipelines)
            for each in self.membership.live()
            if not each.draining
        ]

    def targets(self) -> dict[str, str]:
        """The node that is to run each pipeline that is to run and can."""
        if self._targets is None:
            wanted = [
                self._wanted(name, record)
                for name, record in self.records.values.items()
                if not record.paused and self.failure(name) is None
            ]
            holders = {name: each.node for name, each in self.assignments.values.items() if each.node is not None}
            self._targets = assign(wanted, self.candidates(), holders)
        return self._targets

    def holder(self, name: str) -> Assignment | None:
        """Who holds its lease: a node that is alive, or was."""
        assignment = self.assignments.values.get(name)
        return None if assignment is None or assignment.node is None else assignment

    @staticmethod
    def _wanted(name: str, record: Record) -> Wanted:
        return Wanted(name, labels_of(record.document))

    # ------------------------------------------------------------------------------------ being shown

    def stored(self, name: str) -> Stored:
        """See ClusterView."""
        record = self.records.values.get(name)
        if record is None:
            raise unknown(name)
        return Stored(name, self.records.revisions[name], record)

    def pipelines(self) -> list[PipelineSummary]:
        """See ClusterView."""
        return [self.pipeline(name) for name in sorted(self.records.values)]

    def pipeline(self, name: str) -> PipelineSummary:
        """See ClusterView."""
        stored = self.stored(name)
        holder = self.holder(name)
        is_held = holder is not None and self.membership.is_alive(holder.node, holder.instance)
        worker, running = self._running_of(name, holder) if is_held and holder is not None else (None, None)
        if running is not None and holder is not None:
            return _of_running(stored, holder.node, worker, running)
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
        if (failed := self.failure(name)) is not None:
            return "failed", None, failed.message, Problem(message=failed.message, hint=failed.hint, code=failed.code)
        if is_held and holder is not None:
            return "assigned", holder.node, f"node {holder.node} is about to start it", None
        target = self.targets().get(name)
        if target is not None:
            gone = f"node {holder.node} is gone, " if holder is not None else ""
            return "assigned", target, f"{gone}node {target} is about to start it", None
        live = self.candidates()
        wanted = self._wanted(name, stored.record)
        if not live:
            return "unassigned", None, "no live node takes pipelines", None
        if not any(can_run(wanted, each) for each in live):
            return "unassigned", None, "no live node has the labels of placement.labels", None
        return "unassigned", None, "the nodes that could run it are full (max_pipelines)", None

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
    return before is not None and msgspec.structs.replace(before, beat=after.beat) == after


def _of_running(stored: Stored, node: str | None, worker: str | None, running: Running) -> PipelineSummary:
    return PipelineSummary(
        name=stored.name,
        node=node,
        worker=worker,
        state=running.state,
        reason=running.reason,
        error=running.error,
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


def labels_of(document: dict[str, Any]) -> dict[str, str]:
    """`placement.labels`, as far as it is one: the document has been checked when it was stored."""
    placement = document.get("placement")
    labels = placement.get("labels") if isinstance(placement, dict) else None
    return {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}


def is_isolated(document: dict[str, Any]) -> bool:
    """`placement.isolated`."""
    placement = document.get("placement")
    return isinstance(placement, dict) and placement.get("isolated") is True
