"""The fleet as API, command line and console show it: put together from the buckets, in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from msgspec import Struct

from ditto.fleet.document import Document
from ditto.fleet.records import Problem, Stored
from ditto.monitoring.status_document import SnapshotSummary


class PipelineSummary(Struct, frozen=True, kw_only=True):
    """One pipeline. Times are RFC 3339 in UTC."""

    name: str
    node: str | None
    """Which runs it, or is to; null where none can."""
    worker: str | None
    """Which process of the node."""
    state: str
    """Of one that runs with the newest revision: starting, connecting, standby, streaming, draining, waiting; with an
    earlier one, and nothing keeps it from taking the newest: `changing`; otherwise `paused`, `failed`, `assigned` (the
    node is about to start it) or `unassigned`."""
    reason: str
    error: Problem | None
    """Why it has failed, what it waits after, why no node can run it, or why the newest revision was refused by what
    runs."""
    revision: int
    """The newest."""
    running_revision: int | None
    """Which it runs with; null where it does not run."""
    lag_s: float | None = None
    events: int = 0
    """Since it was started there."""
    events_per_s: float | None = None
    retained_bytes: int | None = None
    """WAL that PostgreSQL keeps for its slot."""
    safe_bytes: int | None = None
    """How much more WAL may be written before the slot can be lost; null without a limit."""
    snapshots: list[SnapshotSummary] = []
    """Those that have not ended."""
    sink: str = ""
    labels: dict[str, str] = {}
    """`placement.labels` of its document."""
    updated: str = ""
    """When the worker said this."""


class NodeSummary(Struct, frozen=True, kw_only=True):
    """One node."""

    name: str
    state: str
    """`live`, `draining` or `dead` (gone without a word)."""
    api_url: str
    labels: dict[str, str]
    pipelines: int
    """How many it runs, or is to."""
    max_pipelines: int
    version: str
    started: str
    workers: int
    """How many of its processes run pipelines."""


class ClusterView(Protocol):
    """What this node knows of the whole fleet. No call waits for anything."""

    @property
    def is_current(self) -> bool:
        """Whether the control plane is there; without it, all is as of when it was lost."""

    def names(self) -> list[str]:
        """Of all pipelines."""

    def pipelines(self) -> list[PipelineSummary]:
        """All, by name."""

    def pipeline(self, name: str) -> PipelineSummary:
        """Raises PipelineUnknown."""

    def stored(self, name: str) -> Stored:
        """The newest revision of its record. Raises PipelineUnknown."""

    def nodes(self) -> list[NodeSummary]:
        """All, by name; a dead one for ten minutes."""

    def unplaced_without(self, node: str) -> list[str]:
        """The pipelines that would run nowhere without that node: no other one has their labels, or room."""

    def obstacle(self, name: str, document: Document) -> Problem | None:
        """Why no live node would run that pipeline with that document; None where one would, or nobody knows."""

    def changes(self) -> AsyncIterator[None]:
        """An item when something has changed since the one before; never more than a few a second."""
