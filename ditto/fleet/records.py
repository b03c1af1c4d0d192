"""What is kept in the buckets of the control plane: one struct a bucket, as JSON."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

from ditto.errors import ControlPlaneUnsuitable
from ditto.monitoring.status_document import SnapshotSummary

PIPELINES: Final = "ditto_pipelines"
"""What is to run: a pipeline a key, `Record`. Each change is a revision; the last 64 are kept."""
NODES: Final = "ditto_nodes"
"""A node a key, `NodeEntry`, written every second."""
ASSIGNMENTS: Final = "ditto_assignments"
"""Who runs what: a pipeline a key, `Assignment`."""
STATUS: Final = "ditto_status"
"""How what runs is: a worker a key (`NODE.WORKER`), `WorkerEntry`."""

READINESS: Final = "ditto_readiness"
"""What each node cannot run, and why: a node a key, `Readiness`."""

Action = Literal["apply", "pause", "resume", "restart", "rollback"]

T = TypeVar("T", bound=Struct)


class Record(Struct, frozen=True, kw_only=True):
    """What a pipeline is to be."""

    document: dict[str, Any]
    """Its configuration, as in a file, with references in place of secrets."""
    paused: bool = False
    attempt: int = 0
    """Goes up with each `resume` and `restart`: a failed pipeline is tried again, one that runs is started anew."""
    by: str = ""
    """Who made this revision: the name of the token, `loopback`."""
    action: Action = "apply"
    at: str = ""
    """When that was, RFC 3339 in UTC."""


class Stored(Struct, frozen=True):
    """A record in its place."""

    name: str
    revision: int
    record: Record
    is_readable: bool = True
    """False: something else is there, and the record is an empty one (`PipelineStore.find`)."""
    is_first: bool = False
    """In a history: there was no pipeline before it, or none that could be read."""


class NodeEntry(Struct, frozen=True, kw_only=True):
    """What a node says of itself."""

    name: str
    instance: str
    """Of this run of its process."""
    api_url: str
    labels: dict[str, str] = {}
    max_pipelines: int = 100
    draining: bool = False
    version: str = ""
    started: str = ""
    beat: int = 0
    """Counts up."""
    silent_s: float = 4.0
    """So long it may be silent: more than the default where the control plane takes long to answer it."""


class Failure(Struct, frozen=True, kw_only=True):
    """The error that ended a pipeline, and that is not retried until its revision or its attempt changes.

    In an assignment it holds for the whole fleet, in a node's readiness for that node.
    """

    revision: int
    attempt: int
    kind: str
    """The class of the error."""
    message: str
    hint: str | None
    code: int
    """The exit code that `ditto run` would have ended with."""
    at: str
    node: str = ""
    """On which that was."""
    record_at: str = ""
    """`at` of the record: a bucket that was made anew counts its revisions from 1 again. Empty from older versions."""


class Readiness(Struct, frozen=True, kw_only=True):
    """Which pipelines a node can run, as far as it has looked."""

    instance: str
    judged: int = 0
    """It has looked at every record of a revision up to this one."""
    refused: dict[str, Failure] = {}
    """By pipeline: what the node does not have for it. All others it can run."""


class Assignment(Struct, frozen=True, kw_only=True):
    """Who runs a pipeline: written before it runs there, freed after it has ended."""

    node: str | None = None
    """None: free."""
    instance: str = ""
    since: str = ""
    failed: Failure | None = None


class Problem(Struct, frozen=True, kw_only=True):
    """Why a pipeline does not work, in the words of the command line."""

    message: str
    hint: str | None = None
    code: int = 1


class Running(Struct, frozen=True, kw_only=True):
    """How a pipeline is, as the worker that runs it sees it."""

    name: str
    state: str
    reason: str
    revision: int
    """Of the record that it runs."""
    attempt: int = 0
    error: Problem | None = None
    """The fault that it waits after, or why a change was refused."""
    lag_s: float | None = None
    events: int = 0
    events_per_s: float | None = None
    retained_bytes: int | None = None
    safe_bytes: int | None = None
    snapshots: list[SnapshotSummary] = []
    sink: str = ""
    updated: str = ""


class WorkerEntry(Struct, frozen=True, kw_only=True):
    """The pipelines of one worker of a node."""

    instance: str
    pipelines: list[Running] = []


def decode(value: bytes, kind: type[T], where: str) -> T:
    """Raises ControlPlaneUnsuitable for what Ditto did not write."""
    try:
        return msgspec.json.decode(value, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ControlPlaneUnsuitable(
            f"the entry {where} cannot be read: it is not one of Ditto's, or of a later version",
            hint="upgrade this node; or look at the entry with: nats kv get",
        ) from error
