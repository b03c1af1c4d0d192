"""The part of a sink that keeps messages, or not even those, and nothing beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ditto.sinks.own_stores import OwnStores

if TYPE_CHECKING:
    from ditto.sinks.base import PipelineId


class MessagesOnly(OwnStores):
    """Base class: no owner's record, no descriptions that can be found again, nothing to prepare for a route.

    Only `save` is the sink's own.
    """

    async def connect(self) -> None:
        """There is nothing to connect to."""

    async def ensure_routes(self, routes: Collection[str], *, is_ahead: bool = False) -> None:
        """Every route will do."""

    async def save_snapshots(self, control: bytes) -> None:
        """Nothing is kept beside the messages."""

    async def save_source(self, pipeline: PipelineId) -> None:
        """Nothing is kept beside the messages."""

    async def last_payloads(self, pattern: str) -> Mapping[str, bytes]:
        """None can be found again: each session stores them anew, before a table's first event."""
        del pattern
        return {}
