"""The routes that pause, resume and restart a pipeline."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, post

from ditto.api.fleet.access import ROLE, audit, identity_of
from ditto.api.fleet.documents import Done
from ditto.api.fleet.pipelines import known
from ditto.api.fleet.preconditions import IfMatch, Precondition, etag
from ditto.api.fleet.responses import ETAG, Name, fails
from ditto.fleet.interface import FleetNode
from ditto.fleet.records import Action, Stored


def action_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""
    common: dict[str, Any] = {
        "opt": {ROLE: "operate"},
        "status_code": 200,
        "response_headers": ETAG,
        "responses": fails(404, 409, 412, 503),
    }

    async def change(
        request: Request[Any, Any, Any], name: str, if_match: str | None, action: Action
    ) -> Response[Done]:
        found = await known(node, name)
        Precondition(if_match).check(name, found, is_required=False)
        is_wanted = _is_wanted(node, found, action)
        if is_wanted:
            found = await node.store.change(
                found,
                action,
                by=identity_of(request).name,
                paused=None if action == "restart" else action == "pause",
                again=action != "pause",
            )
            audit(request, action, pipeline=name, revision=found.revision)
        done = Done(
            name=name,
            revision=found.revision,
            changed=is_wanted,
            paused=found.record.paused,
            unassigned=None if found.record.paused else node.view.obstacle(name, found.record.document),
        )
        return Response(done, headers=etag(found.revision))

    @post("/v1/pipelines/{name:str}/pause", summary="Pause a pipeline", **common)
    async def pause(request: Request[Any, Any, Any], name: Name, if_match: IfMatch = None) -> Response[Done]:
        """Its node stores what it has read, and lets go of the slot, for which PostgreSQL keeps the WAL meanwhile."""
        return await change(request, name, if_match, "pause")

    @post("/v1/pipelines/{name:str}/resume", summary="Let a pipeline go on", **common)
    async def resume(request: Request[Any, Any, Any], name: Name, if_match: IfMatch = None) -> Response[Done]:
        """One that is paused, or that has failed. One that runs is left alone."""
        return await change(request, name, if_match, "resume")

    @post("/v1/pipelines/{name:str}/restart", summary="Restart a pipeline", **common)
    async def restart(request: Request[Any, Any, Any], name: Name, if_match: IfMatch = None) -> Response[Done]:
        """Its session ends, and the next one begins with what the references say now. One that is paused stays so."""
        return await change(request, name, if_match, "restart")

    return [pause, resume, restart]


def _is_wanted(node: FleetNode, found: Stored, action: Action) -> bool:
    """Whether that changes anything."""
    if action == "pause":
        return not found.record.paused
    if action == "resume" and not found.record.paused:
        return any(each.name == found.name and each.state == "failed" for each in node.view.pipelines())
    return True
