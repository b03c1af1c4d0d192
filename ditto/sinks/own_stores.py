"""The part of a sink that keeps its checkpoints and descriptions itself, and has neither lease nor object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ditto.sinks.base import CheckpointStore, SchemaStore

if TYPE_CHECKING:
    from ditto.errors import SinkError
    from ditto.lsn import Checkpoint


class OwnStores(CheckpointStore, SchemaStore):
    """Base class: both stores are one object with the sink.

    A sink adds what is its own: `save`, `save_snapshots`, `save_source` and `last_payloads`.
    """

    @property
    def checkpoints(self) -> CheckpointStore:
        """Itself."""
        return self

    @property
    def schemas(self) -> SchemaStore:
        """Itself."""
        return self

    @property
    def waited_s(self) -> float:
        """`send` never waits: the pipeline's window bounds what is under way."""
        return 0.0

    @property
    def foreign_answers(self) -> int:
        """Nobody else answers."""
        return 0

    @property
    def retries(self) -> int:
        """Nothing is sent again."""
        return 0

    @property
    def blocked(self) -> SinkError | None:
        """What stores nothing ends the session."""
        return None

    def lease_store(self, slot: str) -> None:
        """There is none: a takeover waits for PostgreSQL's own time-outs."""

    def object_store(self) -> None:
        """There is none."""

    @property
    def may_lose_tail(self) -> bool:
        """Nothing that says how far the pipeline is goes away as time goes by."""
        return False

    async def save_beside(self, checkpoint: Checkpoint) -> None:
        """What `save` stores stays."""

    async def restore(self) -> None:
        """What was removed ends the session: the next one decides."""
