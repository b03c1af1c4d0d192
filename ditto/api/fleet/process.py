"""Probes and metrics of the node itself."""

from __future__ import annotations

from typing import Annotated, Any, Final

from litestar import MediaType, Response, get
from msgspec import Meta, Struct

from ditto.api.fleet.access import ROLE
from ditto.fleet.interface import FleetNode

_TEXT: Final = "text/plain; version=0.0.4"
"""Litestar adds the encoding."""


class NodeHealth(Struct, frozen=True, kw_only=True):
    """The answer of a probe."""

    node: str
    state: Annotated[str, Meta(description="`connecting`, `live`, `draining`, or `cut off` from the control plane.")]


def process_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""

    def health() -> NodeHealth:
        return NodeHealth(node=node.name, state=node.state)

    @get("/healthz", summary="Whether the process is alive", sync_to_thread=False)
    def healthz() -> NodeHealth:
        """Always 200: an answer proves that the node's event loop runs. Needs no token."""
        return health()

    @get("/readyz", summary="Whether the node takes part", sync_to_thread=False)
    def readyz() -> Response[NodeHealth]:
        """200 while it is part of the fleet, otherwise 503. How its pipelines are, and how far behind, does not count:
        a long catch-up is no reason to end the process. Needs no token.
        """
        return Response(health(), status_code=200 if node.is_ready else 503)

    @get("/metrics", summary="Metrics for Prometheus", media_type=MediaType.TEXT, opt={ROLE: "read"})
    async def metrics() -> Response[bytes]:
        """Of the node and of all pipelines that it runs, each with the label `pipeline`; text format 0.0.4."""
        return Response(await node.metrics(), media_type=_TEXT)

    return [healthz, readyz, metrics]
