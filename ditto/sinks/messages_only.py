"""The part of a sink that keeps messages, or not even those, and nothing beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ditto.lsn import Checkpoint
    from ditto.sinks.base import PipelineId


class MessagesOnly:
    """Base class: no owner's record, no descriptions that can be found again, no lease, nothing to prepare for a route.

    Stores for checkpoints and for descriptions are one object with the sink: only `save` is the sink's own.
    """

    @property
    def waited_s(self) -> float:
        """`send` never waits."""
        return 0.0

    @property
    def foreign_answers(self) -> int:
        """Nobody else answers."""
        return 0

    def lease_store(self, slot: str) -> None:
        """There is none: a takeover waits for PostgreSQL's own time-outs."""

    def object_store(self) -> None:
        """A message can be of any size."""

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Every route will do."""

    @property
    def may_lose_tail(self) -> bool:
        """Nothing is deleted as time goes by."""
        return False

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        """Nothing is kept beside the messages."""

    async def save_snapshots(self, control: bytes) -> None:
        """Nothing is kept beside the messages."""

    async def save_source(self, pipeline: PipelineId) -> None:
        """Nothing is kept beside the messages."""

    async def restore(self) -> None:
        """Nothing is kept beside the messages."""

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """None can be found again: each session stores them anew, before a table's first event."""
        del pattern
        return {}
