"""The routes of nodes."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import PathParameter, QueryParameter

from ditto.api.fleet.access import ROLE, audit
from ditto.api.fleet.documents import Draining, Nodes
from ditto.api.fleet.responses import fails
from ditto.errors import ControlPlaneLost, NodeUnknown
from ditto.fleet.interface import FleetNode


def node_handlers(node: FleetNode) -> list[Any]:
    """The handlers."""

    @get(
        "/v1/nodes",
        summary="All nodes of the fleet",
        opt={ROLE: "read"},
        sync_to_thread=False,
        responses=fails(503),
    )
    def nodes() -> Nodes:
        """Each with its state, labels and number of pipelines."""
        view = node.view
        return Nodes(nodes=view.nodes(), answered_by=node.name, is_current=view.is_current, cut_off_by=node.cut_off_by)

    @post(
        "/v1/nodes/{name:str}/drain",
        summary="Let a node hand over what it runs",
        opt={ROLE: "operate"},
        status_code=202,
        responses=fails(404, 503),
    )
    async def drain(
        request: Request[Any, Any, Any],
        name: Annotated[str, PathParameter(description="Name of the node.")],
        dry_run: Annotated[
            bool, QueryParameter(name="dry_run", description="Say what would become of its pipelines, and do nothing.")
        ] = False,
    ) -> Draining:
        """Its pipelines go to other nodes, one after the other. The node takes no more until it is started again."""
        view = node.view
        if not view.is_current:
            raise ControlPlaneLost(
                f"node {node.name} has lost the control plane, without which nothing can be handed over",
                hint="pipelines that run go on; drain the node when NATS is back",
            )
        found = next((each for each in view.nodes() if each.name == name and each.state != "dead"), None)
        if found is None:
            raise NodeUnknown(f"there is no live node {name[:63]!r}", hint="ditto nodes shows all of them")
        unplaced = view.unplaced_without(name)
        if not dry_run:
            await node.requests.drain(name)
            audit(request, "drain", node=name, unplaced=unplaced)
        return Draining(node=name, pipelines=found.pipelines, unplaced=unplaced, dry_run=dry_run)

    return [nodes, drain]
