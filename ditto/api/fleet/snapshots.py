"""The routes of snapshots: whichever node is asked, the one that runs the pipeline answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import Request, get, post
from litestar.params import Body, PathParameter
from msgspec import Meta, Struct

from ditto.api.fleet.access import ROLE, audit, identity_of
from ditto.api.fleet.pipelines import known
from ditto.api.fleet.responses import Name, fails
from ditto.errors import NotRunning, SnapshotUnknown
from ditto.fleet.interface import FleetNode
from ditto.fleet.records import Stored
from ditto.monitoring.status_document import Snapshots
from ditto.source.snapshot_requests import Verb

_MAX_BODY_BYTES: Final = 64 * 1024

Run = Annotated[str, PathParameter(description="The id of a run.")]


class StartSnapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a request for a snapshot."""

    tables: Annotated[
        list[str], Meta(description="Tables, as `schema.table`, `table` or a glob of either; empty for every one.")
    ] = []
    where: Annotated[str | None, Meta(description="A condition on the rows, in SQL, of exactly one table.")] = None
    # Not ge=0: Litestar leaves a limit of 0 out of the OpenAPI document.
    max_rows_per_s: (
        Annotated[int, Meta(gt=-1, le=2**31 - 1, description="The most rows a second; 0 for no limit.")] | None
    ) = None


StartBody = Annotated[StartSnapshot, Body()]


class SnapshotAccepted(Struct, frozen=True, kw_only=True):
    """The request is in the WAL: the pipeline does what it asks for when it comes to it."""

    run: str


def snapshot_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""

    @get(
        "/v1/pipelines/{name:str}/snapshots",
        summary="The snapshots, and what each table of theirs does",
        opt={ROLE: "read"},
        responses=fails(404, 409, 503),
    )
    async def snapshots(request: Request[Any, Any, Any], name: Name) -> Snapshots:
        """Those that have not ended, and the last ones that have, as the node knows them that runs the pipeline. With
        the role `read` without their conditions, in which there may be values.
        """
        await known(node, name)
        await node.catch_up()
        found = await node.requests.snapshots(name)
        if not identity_of(request).may("operate"):
            for each in found.runs:
                each.where = None
        return found

    @post(
        "/v1/pipelines/{name:str}/snapshots",
        summary="Start a snapshot",
        opt={ROLE: "operate"},
        status_code=202,
        request_max_body_size=_MAX_BODY_BYTES,
        responses=fails(404, 409, 422, 503),
    )
    async def start(request: Request[Any, Any, Any], name: Name, data: StartBody) -> SnapshotAccepted:
        """The tables have to exist, to be published and to be selected by `events.tables`; `{}` asks for all."""
        _check_runs(await known(node, name))
        await node.catch_up()
        run = await node.requests.start_snapshot(
            name, data.tables, where=data.where, max_rows_per_s=data.max_rows_per_s
        )
        audit(request, "snapshot.start", pipeline=name, run=run, tables=data.tables)
        return SnapshotAccepted(run=run)

    async def change(request: Request[Any, Any, Any], name: str, verb: Verb, run: str) -> SnapshotAccepted:
        _check_runs(await known(node, name))
        await node.catch_up()
        try:
            await node.requests.change_snapshot(name, verb, run)
        except SnapshotUnknown as error:
            hint = f"GET /v1/pipelines/{name}/snapshots lists all runs"
            raise SnapshotUnknown(error.message, hint=hint) from error
        audit(request, f"snapshot.{verb}", pipeline=name, run=run)
        return SnapshotAccepted(run=run)

    common: dict[str, Any] = {
        "opt": {ROLE: "operate"},
        "status_code": 202,
        "responses": fails(404, 409, 503),
    }

    @post("/v1/pipelines/{name:str}/snapshots/{run:str}/pause", summary="Pause a snapshot", **common)
    async def pause(request: Request[Any, Any, Any], name: Name, run: Run) -> SnapshotAccepted:
        """The run keeps its place until it is resumed, also over restarts."""
        return await change(request, name, "pause", run)

    @post("/v1/pipelines/{name:str}/snapshots/{run:str}/resume", summary="Resume a snapshot", **common)
    async def resume(request: Request[Any, Any, Any], name: Name, run: Run) -> SnapshotAccepted:
        """The run goes on after the last row that is stored."""
        return await change(request, name, "resume", run)

    @post("/v1/pipelines/{name:str}/snapshots/{run:str}/cancel", summary="End a snapshot", **common)
    async def cancel(request: Request[Any, Any, Any], name: Name, run: Run) -> SnapshotAccepted:
        """Rows that are stored stay in the stream."""
        return await change(request, name, "cancel", run)

    return [snapshots, start, pause, resume, cancel]


def _check_runs(stored: Stored) -> None:
    """A node may still run it that has not heard of the pause yet. Raises NotRunning."""
    if stored.record.paused:
        raise NotRunning(
            f"pipeline {stored.name} does not run: it is paused, and takes requests for snapshots while it runs",
            hint=f"ditto pipelines resume {stored.name} lets it go on; then ask again",
        )
