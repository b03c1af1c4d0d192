"""A sink that stores nothing and acknowledges at once: for measuring what everything before it costs."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from ditto.sinks.base import Batch, Capabilities, Clock, PipelineId, SinkState
from ditto.sinks.messages_only import MessagesOnly
from ditto.sinks.progress import Progress

if TYPE_CHECKING:
    from ditto.config import PipelineConfig
    from ditto.lsn import Checkpoint

_CAPABILITIES: Final = Capabilities("sink", "null", "the slot", keeps_tail=False)


class NullSink(MessagesOnly):
    """A sink (see `base.Sink`) for benchmarks. PostgreSQL gets to know that all is stored: use a slot of its own."""

    def __init__(self, config: PipelineConfig, *, clock: Clock) -> None:
        del config, clock
        self._progress = Progress()
        self.stored_bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        """No limits, and nothing is found again."""
        return _CAPABILITIES

    async def inspect(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        del pipeline
        return SinkState(None, None)

    async def prepare(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """Nothing is needed."""

    async def claim(self, pipeline: PipelineId, routes: Collection[str]) -> None:
        """There is nothing to claim."""

    async def open(self, pipeline: PipelineId) -> SinkState:
        """Always empty."""
        return await self.inspect(pipeline)

    async def send(self, batch: Batch) -> None:
        """Count."""
        self.stored_bytes += len(batch.payloads.data)
        self._progress.move(batch.first + batch.size - 1)

    async def save(self, checkpoint: Checkpoint, *, number: int) -> None:
        """Count."""
        del checkpoint
        self._progress.move(number)

    async def flush(self) -> None:
        """Nothing is ever outstanding."""

    async def acknowledged(self) -> int:
        """What was sent."""
        return await self._progress.acknowledged()

    async def close(self) -> None:
        """There is nothing to close."""
