"""A sink that stores nothing and acknowledges at once: for measuring what everything before it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from ditto.config import PipelineConfig
from ditto.decoding.messages import Block, Encoded
from ditto.lsn import Checkpoint, Transaction
from ditto.sinks.base import Holding, Owner


class NullSink:
    """A sink (see `base.Sink`) for benchmarks. PostgreSQL is told that all is stored: use a slot of its own."""

    def __init__(
        self,
        config: PipelineConfig,
        *,
        checkpoint_subject: str,
        wildcard: str | None,
        on_stored: Callable[[int], None],
        on_foreign_answer: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        del config, checkpoint_subject, wildcard, on_foreign_answer, clock
        self._on_stored = on_stored
        self._sequence = 0
        self.stored_bytes = 0

    @property
    def sent_sequence(self) -> int:
        """How many messages there were."""
        return self._sequence

    @property
    def outstanding_count(self) -> int:
        """Nothing is ever outstanding."""
        return 0

    @property
    def outstanding_bytes(self) -> int:
        """Nothing is ever outstanding."""
        return 0

    @property
    def waited_s(self) -> float:
        """There is always room."""
        return 0.0

    @property
    def max_size(self) -> int:
        """There is no limit."""
        return 0

    async def connect(self) -> None:
        """There is nothing to connect to."""

    def lease_place(self, slot: str) -> None:
        """There is none."""

    async def inspect(self, claimant: Owner) -> Holding:
        """Always empty, so that every start is a first one."""
        del claimant
        return Holding(None, None)

    async def prepare(self, claimant: Owner, subjects: Iterable[str]) -> None:
        """Nothing is needed."""

    async def open(self, owner: Owner, subjects: Iterable[str]) -> Holding:
        """Still empty, and claimed."""
        del subjects
        return Holding(owner, None)

    async def last_payloads(self, pattern: str) -> dict[str, bytes]:
        """None."""
        del pattern
        return {}

    @property
    def may_lose_tail(self) -> bool:
        """There is none."""
        return False

    async def set_source(self, owner: Owner) -> None:
        """There is nothing to remember it with."""

    async def keep_place(self, lsn: int, last: Transaction | None) -> None:
        """There is nothing to remember it with."""

    async def keep_metadata(self) -> None:
        """There is none."""

    async def cover(self, subjects: Iterable[str], *, is_ahead: bool = False) -> None:
        """Every subject will do."""
        del subjects, is_ahead

    async def publish(self, block: Block, encoded: Encoded) -> None:
        """Count."""
        del block
        self.stored_bytes += len(encoded.data)
        self._store(len(encoded.ends))

    async def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Count."""
        del checkpoint
        self._store(1)

    def _store(self, count: int) -> None:
        self._sequence += count
        self._on_stored(self._sequence)

    async def settle(self) -> None:
        """Nothing is ever outstanding."""

    async def watch(self) -> None:
        """Nothing ever goes wrong."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """There is nothing to close."""
