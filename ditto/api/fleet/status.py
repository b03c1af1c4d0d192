"""The route that tells all about one pipeline."""

from __future__ import annotations

from typing import Any

from litestar import get

from ditto.api.fleet.access import ROLE
from ditto.api.fleet.documents import PipelineStatus
from ditto.api.fleet.responses import Name, fails
from ditto.errors import NodeSilent, NotRunning
from ditto.fleet.interface import FleetNode
from ditto.log import mask_secrets


def status_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""

    @get(
        "/v1/pipelines/{name:str}/status",
        summary="How a pipeline is",
        opt={ROLE: "read"},
        responses=fails(404, 503),
    )
    async def status(name: Name) -> PipelineStatus:
        """What the list has, and all that the node knows that runs it: both servers, sessions, snapshots."""
        await node.catch_up()
        summary = node.view.pipeline(name)
        try:
            return PipelineStatus(summary=summary, status=await node.requests.status(name))
        except (NotRunning, NodeSilent) as error:
            return PipelineStatus(summary=summary, status=None, reason=mask_secrets(error.message))

    return [status]
