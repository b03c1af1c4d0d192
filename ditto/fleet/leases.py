"""Who runs what: bucket `ditto_assignments`. A node writes the entry before it runs a pipeline, and frees it after.

The lease of an assignment keeps two live nodes from running one pipeline for no purpose. Correctness never rests on it:
the slot and the sink's fence decide.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from ditto.errors import ControlPlaneLost, ControlPlaneUnsuitable
from ditto.fleet.buckets import Bucket, Entry
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.records import ASSIGNMENTS, Assignment, Failure, decode
from ditto.fleet.view import View
from ditto.monitoring.timestamps import rfc3339

log = structlog.get_logger()

_ROOM: Final = b" " * 256
"""So much longer the lease of another node may be: names have 63 characters at most."""


class Taken(Struct, frozen=True):
    """The lease is this node's."""

    revision: int
    from_dead: bool
    """The node that had it is dead."""
    bucket: str = ""
    """When the bucket was created in which the lease is."""


class Leases:
    """Of one run of a node's process (`instance`)."""

    def __init__(self, control_plane: ControlPlane, view: View, *, node: str, instance: str) -> None:
        self._control_plane = control_plane
        self._view = view
        self._node = node
        self._instance = instance

    @property
    def _created(self) -> str:
        return self._control_plane.created(ASSIGNMENTS)

    @property
    def _bucket(self) -> Bucket:
        return self._control_plane.bucket(ASSIGNMENTS)

    async def take(self, pipeline: str) -> Taken | None:
        """None where a live node has it. Raises ControlPlaneLost."""
        bucket = self._bucket
        entry = await bucket.get(pipeline)
        before = Assignment()
        if entry is not None:
            before = _read(entry)
        is_other = before.node is not None and before.instance != self._instance
        if is_other and self._view.membership.is_alive(before.node, before.instance):
            return None
        after = 0 if entry is None else entry.revision
        value = Assignment(node=self._node, instance=self._instance, since=rfc3339(time.time()))
        revision = await bucket.write(pipeline, msgspec.json.encode(value), after=after)
        if revision is None:
            return None
        self._written(pipeline, value, revision)
        return Taken(revision, from_dead=is_other, bucket=self._created)

    def is_held_elsewhere(self, pipeline: str) -> bool:
        """Whether another live node has it, as far as this one has heard."""
        holder = self._view.holder(pipeline)
        if holder is None or holder.instance == self._instance:
            return False
        return self._view.membership.is_alive(holder.node, holder.instance)

    async def renew(self, pipeline: str, taken: Taken) -> Taken | None:
        """Write it again, to see whether another node could write its own. None where another node has taken it. Raises
        ControlPlaneLost, also where the bucket is full.
        """
        value = Assignment(node=self._node, instance=self._instance, since=rfc3339(time.time()))
        # A full bucket takes an entry that is shorter than the one before, and so that of a lease that is freed.
        revision = await self._bucket.write(pipeline, msgspec.json.encode(value) + _ROOM, after=taken.revision)
        if revision is None:
            return None
        self._written(pipeline, value, revision)
        return msgspec.structs.replace(taken, revision=revision)

    def is_lost(self, pipeline: str, taken: Taken) -> bool:
        """Whether another node has taken it since."""
        found = self._view.assignments.values.get(pipeline)
        return found is not None and found.instance != self._instance and self._is_newer(pipeline, taken)

    def is_gone(self, pipeline: str, taken: Taken) -> bool:
        """Whether the entry has been deleted, or the whole bucket: it has to be taken again."""
        if taken.bucket != self._created:
            return True
        found = self._view.assignments
        is_unlisted = pipeline not in found.revisions
        return pipeline not in found.values and (is_unlisted or self._is_newer(pipeline, taken))

    def _is_newer(self, pipeline: str, taken: Taken) -> bool:
        if taken.bucket != self._created:
            return self._view.is_current
        return self._view.assignments.revisions.get(pipeline, 0) > taken.revision

    async def free(self, pipeline: str, taken: Taken, *, failure: Failure | None = None) -> None:
        """It runs here no longer; nothing happens where another node has taken it. Raises ControlPlaneLost."""
        if taken.bucket != self._created:
            return
        if pipeline in self._view.records.values:
            value = Assignment(failed=failure, since=rfc3339(time.time()))
            revision = await self._bucket.write(pipeline, msgspec.json.encode(value), after=taken.revision)
            if revision is not None:
                self._written(pipeline, value, revision)
        elif await self._bucket.delete(pipeline, after=taken.revision):
            self._written(pipeline, None, taken.revision + 1)

    async def sweep(self) -> None:
        """Delete entries that nobody holds, of pipelines that are gone."""
        for name, assignment in list(self._view.assignments.values.items()):
            is_held = self._view.membership.is_alive(assignment.node, assignment.instance)
            if name not in self._view.records.values and not is_held:
                try:
                    await self._bucket.delete(name, after=self._view.assignments.revisions[name])
                except ControlPlaneLost:
                    return

    def _written(self, pipeline: str, value: Assignment | None, revision: int) -> None:
        self._view.assignments.written(pipeline, value, revision)
        self._view.touch()


def _read(entry: Entry) -> Assignment:
    """One that cannot be read is nobody's: otherwise the pipeline would run nowhere until somebody deletes it."""
    try:
        return decode(entry.value or b"", Assignment, f"{ASSIGNMENTS}/{entry.key}")
    except ControlPlaneUnsuitable as error:
        log.warning("fleet.entry_replaced", reason=error.message)
        return Assignment()
