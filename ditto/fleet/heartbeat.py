"""The entry of this node in `ditto_nodes`, and the right to its name."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import msgspec
import structlog

from ditto import __version__
from ditto.config import ServerConfig
from ditto.errors import ControlPlaneUnsuitable, NodeNameTaken
from ditto.fleet.buckets import Bucket, Entry
from ditto.fleet.membership import BEAT_S, DEAD_S, silence_s, silent_s
from ditto.fleet.records import NODES, NodeEntry, decode
from ditto.monitoring.timestamps import rfc3339

log = structlog.get_logger()

_LOOK_S: Final = 0.5


class Heartbeat:
    """Of one run of the node's process. Calls raise ControlPlaneLost, and NodeNameTaken."""

    def __init__(self, config: ServerConfig, *, instance: str, api_url: str) -> None:
        self._entry = NodeEntry(
            name=config.name,
            instance=instance,
            api_url=api_url,
            labels=config.labels,
            max_pipelines=config.max_pipelines,
            version=__version__,
            started=rfc3339(time.time()),
        )
        self._revision = 0
        self._answer_s = 0.0
        """How long the last entry took to be stored."""
        self._has_left = False
        self._turn = asyncio.Lock()

    @property
    def is_draining(self) -> bool:
        """Whether it takes no pipelines."""
        return self._entry.draining

    def drain(self) -> None:
        """The next beat says so."""
        self._entry = msgspec.structs.replace(self._entry, draining=True)

    async def join(self, bucket: Bucket) -> None:
        """Write the entry, once no other process writes one under this name."""
        found = await bucket.get(self._entry.name)
        if found is not None and self._instance_of(found) != self._entry.instance:
            log.info("node.waiting", node=self._entry.name, reason="a process of this name was there before")
            found = await self._wait_until_silent(bucket, found)
        self._revision = 0 if found is None else found.revision
        await self.beat(bucket)

    async def beat(self, bucket: Bucket) -> None:
        """Write it again, unless the node has left."""
        async with self._turn:
            if not self._has_left:
                await self._beat(bucket)

    async def leave(self, bucket: Bucket) -> bool:
        """Delete it: nobody has to wait until this node counts as dead. No beat follows. False where it is not this
        node's: it was still waiting for the name, or has lost it.
        """
        async with self._turn:
            self._has_left = True
            return self._revision > 0 and await bucket.delete(self._entry.name, after=self._revision)

    async def withdraw(self, bucket: Bucket) -> None:
        """As `leave`, on a connection that has failed: it may still do this. Nothing where this node has no entry."""
        if self._revision:
            self._has_left = True
            await bucket.remove(self._entry.name, is_own=lambda each: self._instance_of(each) == self._entry.instance)

    async def _beat(self, bucket: Bucket) -> None:
        self._entry = msgspec.structs.replace(
            self._entry, beat=self._entry.beat + 1, silent_s=round(silence_s(self._answer_s), 1)
        )
        value = msgspec.json.encode(self._entry)
        began_at = time.monotonic()
        revision = await bucket.write(self._entry.name, value, after=self._revision)
        self._answer_s = time.monotonic() - began_at
        if revision is None:
            # Another process's; or an earlier one of this process, whose answer was lost.
            found = await bucket.get(self._entry.name)
            if found is not None and self._instance_of(found) not in {self._entry.instance, None}:
                raise self._taken()
            revision = await bucket.write(self._entry.name, value, after=0 if found is None else found.revision)
            if revision is None:
                raise self._taken()
        self._revision = revision

    async def _wait_until_silent(self, bucket: Bucket, found: Entry) -> Entry | None:
        deadline = time.monotonic() + self._silent_s(found)
        while time.monotonic() < deadline:
            await asyncio.sleep(min(_LOOK_S, BEAT_S))
            now = await bucket.get(self._entry.name)
            if now is None:
                return None
            if now.revision != found.revision:
                raise self._taken()
        return found

    @staticmethod
    def _silent_s(entry: Entry) -> float:
        """For how long it counts as alive."""
        try:
            return silent_s(decode(entry.value or b"", NodeEntry, f"{NODES}/{entry.key}"))
        except ControlPlaneUnsuitable:
            return DEAD_S

    @staticmethod
    def _instance_of(entry: Entry) -> str | None:
        """None for what no node has written: it is overwritten."""
        try:
            return decode(entry.value or b"", NodeEntry, f"{NODES}/{entry.key}").instance
        except ControlPlaneUnsuitable as error:
            log.warning("fleet.entry_replaced", reason=error.message)
            return None

    def _taken(self) -> NodeNameTaken:
        return NodeNameTaken(
            f"another live node has the name {self._entry.name}",
            hint="give each node a name of its own: node in its configuration (by default the host name)",
            node=self._entry.name,
        )
