"""Writes how the pipelines of this node are: a worker a key of `ditto_status`, where something has changed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import msgspec

from ditto.fleet.buckets import Bucket
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.records import STATUS, WorkerEntry
from ditto.fleet.view import View
from ditto.fleet.workers import Worker, Workers

_PERIOD_S: Final = 2.0
_SETTLE_S: Final = 0.1


class StatusWriter:
    """For one connection to the control plane."""

    def __init__(self, control_plane: ControlPlane, view: View, workers: Workers, *, node: str, instance: str) -> None:
        self._control_plane = control_plane
        self._view = view
        self._workers = workers
        self._node = node
        self._instance = instance
        self._written: dict[str, bytes] = {}

    @property
    def _bucket(self) -> Bucket:
        return self._control_plane.bucket(STATUS)

    async def run(self) -> None:
        """Until cancelled. Raises ControlPlaneLost."""
        while True:
            await self.write()
            await self.clear(keep={self._key(worker) for worker in self._workers})
            with suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._workers.news.wait()
                    await asyncio.sleep(_SETTLE_S)
            self._workers.news.clear()

    async def write(self) -> None:
        """What is not written yet. Raises ControlPlaneLost."""
        for worker in self._workers:
            await self._write(worker)

    def show(self) -> None:
        """In this node's view alone, for which nothing comes from the control plane now."""
        own = {self._key(each): WorkerEntry(instance=self._instance, pipelines=each.reported) for each in self._workers}
        for key in [each for each in self._view.workers.values if each.rpartition(".")[0] == self._node]:
            del self._view.workers.values[key]
        self._view.workers.values.update(own)
        self._view.touch(is_decisive=False)

    async def clear(self, keep: set[str] | None = None) -> None:
        """Delete the entries of workers of this node that are gone."""
        for key in list(self._view.workers.values):
            if key.rpartition(".")[0] == self._node and key not in (keep or set()):
                await self._bucket.delete(key, after=0)
                self._view.workers.values.pop(key, None)

    async def _write(self, worker: Worker) -> None:
        # Without the time of the report, which is another one each time.
        compared = msgspec.json.encode([msgspec.structs.replace(each, updated="") for each in worker.reported])
        key = self._key(worker)
        if self._written.get(key) != compared:
            entry = WorkerEntry(instance=self._instance, pipelines=worker.reported)
            await self._bucket.put(key, msgspec.json.encode(entry))
            self._written[key] = compared

    def _key(self, worker: Worker) -> str:
        return f"{self._node}.{worker.number}"
