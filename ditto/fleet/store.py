"""The pipelines that are to run, and their history: bucket `ditto_pipelines`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import msgspec

from ditto.errors import ControlPlaneUnsuitable, PipelineUnknown, PipelineUnreadable, RevisionConflict
from ditto.fleet import document
from ditto.fleet.buckets import HISTORY, Bucket, Entry
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.records import PIPELINES, Action, Record, Stored, decode
from ditto.monitoring.timestamps import rfc3339


class PipelineStore:
    """Every call raises ControlPlaneLost while the control plane is away."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._control_plane = control_plane

    @property
    def _bucket(self) -> Bucket:
        return self._control_plane.bucket(PIPELINES)

    async def get(self, name: str) -> Stored | None:
        """The newest revision, from the control plane itself; None where there is no such pipeline. Raises
        PipelineUnreadable.
        """
        document.check_name(name)
        entry = await self._bucket.get(name)
        return None if entry is None else _stored(entry)

    async def find(self, name: str) -> Stored | None:
        """As `get`, to replace or delete it, also where the entry cannot be read."""
        try:
            return await self.get(name)
        except PipelineUnreadable as error:
            return Stored(name, int(error.context["revision"]), Record(document={}), is_readable=False)

    async def put(self, name: str, record: Record, *, after: int | None) -> Stored:
        """Write it after this revision (None: there is to be none). Raises RevisionConflict, and PipelineRefused for a
        document that has a secret in it. Values are not looked at: `document.resolve` does that.
        """
        await asyncio.to_thread(document.check, name, record.document)  # a second for a large one
        revision = await self._bucket.write(name, msgspec.json.encode(record), after=after or 0)
        if revision is None:
            raise self._conflict(name, after)
        return Stored(name, revision, record)

    async def change(
        self, stored: Stored, action: Action, *, by: str, paused: bool | None = None, again: bool = False
    ) -> Stored:
        """Another revision of the same document: paused or not, `again` to count another attempt. Raises
        RevisionConflict.
        """
        before = stored.record
        record = Record(
            document=before.document,
            paused=before.paused if paused is None else paused,
            attempt=before.attempt + again,
            by=by,
            action=action,
            at=rfc3339(time.time()),
        )
        return await self.put(stored.name, record, after=stored.revision)

    async def delete(self, name: str, *, after: int) -> None:
        """The node that runs it ends it. Raises RevisionConflict."""
        document.check_name(name)
        if not await self._bucket.delete(name, after=after):
            raise self._conflict(name, after)

    async def history(self, name: str) -> list[Stored]:
        """The revisions that are kept, the oldest first, without deletions and what cannot be read. Raises
        PipelineUnknown.
        """
        document.check_name(name)
        found = []
        kept = await self._bucket.history(name)
        is_first = len(kept) < HISTORY[PIPELINES]
        for each in kept:
            if each.value is not None:
                with suppress(PipelineUnreadable):
                    found.append(msgspec.structs.replace(_stored(each), is_first=is_first))
                    is_first = False
                    continue
            is_first = True
        if not found:
            raise unknown(name)
        return found

    async def watch(self) -> AsyncGenerator[Stored | str | None, None]:
        """Each as it is, then None once, then each change; the name alone where one was deleted."""
        async for entry in self._bucket.watch():
            yield None if entry is None else entry.key if entry.value is None else _stored(entry)

    async def list(self) -> list[Stored]:
        """All, by name."""
        found = []
        async with aclosing(self._bucket.watch()) as entries:
            async for entry in entries:
                if entry is None:
                    break
                if entry.value is not None:
                    found.append(_stored(entry))
        return sorted(found, key=lambda each: each.name)

    @staticmethod
    def _conflict(name: str, after: int | None) -> RevisionConflict:
        expected = "it is there already" if not after else f"revision {after} is not the newest any more"
        return RevisionConflict(
            f"pipeline {name} has been changed by somebody else: {expected}",
            hint="read it again, look at the difference, and send the change with the new revision",
            pipeline=name,
        )


def unknown(name: str) -> PipelineUnknown:
    """The error for a name that no pipeline has."""
    return PipelineUnknown(f"there is no pipeline {name}", hint="ditto pipelines list shows all names", pipeline=name)


def _stored(entry: Entry) -> Stored:
    name, revision = entry.key, entry.revision
    try:
        return Stored(name, revision, decode(entry.value or b"", Record, f"{PIPELINES}/{name}"))
    except ControlPlaneUnsuitable as error:
        raise PipelineUnreadable(
            f"revision {revision} of pipeline {name} cannot be read: Ditto has not written it, or a later version has",
            hint=f"ditto pipelines apply -f {name}.yaml replaces it, ditto pipelines delete {name} removes it (over "
            f'HTTP PUT or DELETE with If-Match: "{revision}"); or upgrade this node',
            pipeline=name,
            revision=revision,
        ) from error
