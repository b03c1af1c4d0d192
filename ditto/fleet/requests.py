"""Requests from node to node over the control plane, so that every node answers for the whole fleet.

The subject is `ditto.node.NODE.OP`; request and answer are JSON. A request about a pipeline goes to the node that runs
it, and there to the worker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct

import ditto.errors
from ditto.errors import ControlPlaneUnsuitable, DittoError, NodeSilent, NodeUnknown, NotRunning
from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.records import Problem
from ditto.fleet.status import ClusterView
from ditto.log import mask_secrets
from ditto.monitoring.status_document import Snapshots, Status
from ditto.source.snapshot_requests import Verb

Op = Literal["status", "snapshots", "snapshot", "drain", "hello", "deleted"]
T = TypeVar("T")

TIMEOUT_S: Final = 5.0
_SHORT_S: Final = 2.0
SNAPSHOT_TIMEOUT_S: Final = 12.0
"""PostgreSQL is asked, and a run that is not known yet is waited for (`check.snapshot_asking`)."""


class SnapshotRequest(Struct, frozen=True, kw_only=True):
    """To start a snapshot, or to change a run."""

    verb: Literal["start", "pause", "resume", "cancel"]
    run: str = ""
    """Of a run that is changed."""
    tables: list[str] = []
    where: str | None = None
    max_rows_per_s: int | None = None


class Ask(Struct, frozen=True, kw_only=True):
    """One request."""

    op: Op
    pipeline: str = ""
    snapshot: SnapshotRequest | None = None
    revisions: dict[str, int] = {}
    """Of pipelines that the asking node knows, and that are not there any more."""


class Fault(Struct, frozen=True):
    """A DittoError on its way."""

    kind: str
    message: str
    hint: str | None
    code: int
    is_local: bool = False
    """The cause is the node."""


class Answer(Struct, frozen=True):
    """What became of a request."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    fault: Fault | None = None


def subject(node: str, op: str) -> str:
    """Where a node takes requests."""
    return f"ditto.node.{node}.{op}"


def fault_of(error: DittoError) -> Fault:
    """Without secrets."""
    hint = mask_secrets(error.hint) if error.hint else None
    return Fault(type(error).__name__, mask_secrets(error.message), hint, error.exit_code, error.is_local)


def problem_of(error: DittoError) -> Problem:
    """Without secrets."""
    return Problem(
        message=mask_secrets(error.message), hint=mask_secrets(error.hint) if error.hint else None, code=error.exit_code
    )


def error_of(fault: Fault) -> DittoError:
    """The error that was sent, of its own class where there is one of that name."""
    kind: type[DittoError] = getattr(ditto.errors, fault.kind, DittoError)
    return kind(fault.message, hint=fault.hint)


async def answered(work: Awaitable[Any]) -> bytes:
    """The answer that `work` gives, or the DittoError that it raises."""
    try:
        value = await work
    except DittoError as error:
        return msgspec.json.encode(Answer(fault=fault_of(error)))
    return answer(value)


def answer(value: Any) -> bytes:
    """That value as the answer."""
    return msgspec.json.encode(Answer(value=msgspec.Raw(msgspec.json.encode(value))))


Local = Callable[[Ask], Awaitable[bytes]]
"""Answers what is asked of this node; the bytes are an `Answer`."""


class Requests:
    """Asks the node that can answer: this one itself, or another one over the control plane."""

    def __init__(self, node: str, control_plane: ControlPlane, view: ClusterView, local: Local) -> None:
        self._node = node
        self._control_plane = control_plane
        self._view = view
        self._local = local

    async def status(self, pipeline: str) -> Status:
        """The whole status document. Raises PipelineUnknown, NotRunning, NodeSilent, ControlPlaneLost."""
        return await self._of_pipeline(Ask(op="status", pipeline=pipeline), Status)

    async def snapshots(self, pipeline: str) -> Snapshots:
        """The runs, and what each of their tables does."""
        return await self._of_pipeline(Ask(op="snapshots", pipeline=pipeline), Snapshots)

    async def start_snapshot(
        self, pipeline: str, tables: Sequence[str] = (), *, where: str | None = None, max_rows_per_s: int | None = None
    ) -> str:
        """Returns the id of the run. Raises what the check of the request raises."""
        request = SnapshotRequest(verb="start", tables=list(tables), where=where, max_rows_per_s=max_rows_per_s)
        ask = Ask(op="snapshot", pipeline=pipeline, snapshot=request)
        return await self._of_pipeline(ask, str, timeout_s=SNAPSHOT_TIMEOUT_S)

    async def change_snapshot(self, pipeline: str, verb: Verb, run: str) -> str:
        """Pause, resume or cancel it; returns its id."""
        ask = Ask(op="snapshot", pipeline=pipeline, snapshot=SnapshotRequest(verb=verb, run=run))
        return await self._of_pipeline(ask, str, timeout_s=SNAPSHOT_TIMEOUT_S)

    async def drain(self, node: str) -> None:
        """The node hands its pipelines over, and takes none; its process goes on. Raises NodeUnknown."""
        if all(each.name != node or each.state == "dead" for each in self._view.nodes()):
            raise NodeUnknown(f"there is no live node {node}", hint="ditto nodes shows all of them", node=node)
        await self._ask(node, Ask(op="drain"), TIMEOUT_S)

    async def deleted(self, revisions: dict[str, int]) -> set[str]:
        """Of pipelines that are gone without a word, those that another live node has seen being deleted after that
        revision. Raises ControlPlaneLost.
        """
        found: set[str] = set()
        for each in self._view.nodes():
            if each.name != self._node and each.state != "dead" and len(found) < len(revisions):
                with suppress(NodeSilent, ControlPlaneUnsuitable):  # an older version does not know the question
                    value = await self._ask(each.name, Ask(op="deleted", revisions=revisions), _SHORT_S)
                    found.update(msgspec.json.decode(value, type=list[str]))
        return found

    async def _of_pipeline(self, ask: Ask, kind: type[T], *, timeout_s: float = TIMEOUT_S) -> T:
        summary = self._view.pipeline(ask.pipeline)
        is_ending = ask.op == "snapshot" and self._view.stored(ask.pipeline).record.paused
        if summary.node is None or summary.running_revision is None or is_ending:
            raise NotRunning(
                f"pipeline {ask.pipeline} does not run: it is {summary.state}"
                + (f" ({summary.reason})" if summary.reason else ""),
                hint="ditto pipelines status says more; ditto pipelines resume starts one that is paused or has failed",
                pipeline=ask.pipeline,
            )
        value = await self._ask(summary.node, ask, timeout_s)
        try:
            return msgspec.json.decode(value, type=kind)
        except msgspec.MsgspecError as error:
            raise ControlPlaneUnsuitable(
                f"the answer of node {summary.node} cannot be read: it runs another version",
                hint="ask that node itself, or finish the upgrade of all nodes",
            ) from error

    async def _ask(self, node: str, ask: Ask, timeout_s: float) -> bytes:
        if node == self._node:
            body = await self._local(ask)
        else:
            body = await self._control_plane.request(subject(node, ask.op), ask, timeout_s=timeout_s, whom=node)
        try:
            decoded = msgspec.json.decode(body, type=Answer)
        except msgspec.MsgspecError as error:
            raise NodeSilent(f"what node {node} answered cannot be read", hint="see the log of that node") from error
        if decoded.fault is not None:
            raise error_of(decoded.fault)
        return bytes(decoded.value)
