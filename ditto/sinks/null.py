"""A sink that stores nothing and acknowledges at once: for measuring what everything before it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from ditto.config import PipelineConfig
from ditto.lsn import Checkpoint
from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState


class NullSink:
    """A `Sink` (see `sinks.base`) for benchmarks. PostgreSQL gets to know that all is stored: use a slot of its own."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        del config, clock
        self.capabilities = Capabilities("sink", "null", "the slot", keeps_tail=False)
        self.waited_s = 0.0
        self.foreign_answers = 0
        self.stored_bytes = 0
        """Payloads that were given to it."""
        self._sent = 0
        self._returned = 0
        self._news = asyncio.Event()

    @property
    def checkpoints(self) -> NullSink:
        """There are none to keep."""
        return self

    @property
    def schemas(self) -> NullSink:
        """There are none to keep."""
        return self

    def lease_store(self, slot: str) -> None:
        """There is none."""
        del slot

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        del pipeline
        return SinkState(None, None)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """There is nothing to create."""
        del pipeline, routes

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> PipelineId | None:
        """There is nothing to claim."""
        del pipeline, routes
        return None

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        del pipeline
        return SinkState(None, None)

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Every route will do."""
        del routes, is_ahead

    async def send(self, batch: Batch) -> None:
        """Count."""
        self.stored_bytes += len(batch.payloads.data)
        self._take(batch.size)

    async def flush(self) -> None:
        """Nothing is kept open."""

    async def acknowledged(self) -> int:
        """Everything that was sent."""
        while self._sent == self._returned:
            self._news.clear()
            await self._news.wait()
        self._returned = self._sent
        return self._returned

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Count."""
        del checkpoint, number
        self._take(1)

    def _take(self, count: int) -> None:
        self._sent += count
        self._news.set()

    @property
    def may_lose_tail(self) -> bool:
        """There is none."""
        return False

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        """There is nowhere to save it."""
        del checkpoint

    async def save_source(self, pipeline: PipelineId) -> None:
        """There is nowhere to save it."""
        del pipeline

    async def restore(self) -> None:
        """There is nothing to restore."""

    async def last_descriptions(self, pattern: str) -> Mapping[str, bytes]:
        """None is kept."""
        del pattern
        return {}

    async def close(self) -> None:
        """There is nothing to close."""
