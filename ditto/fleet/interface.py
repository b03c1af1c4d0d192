"""What the API, the console and the process have of the node that they are part of."""

from __future__ import annotations

from typing import Protocol

from ditto.config import ServerConfig
from ditto.fleet.records import Problem
from ditto.fleet.requests import Requests
from ditto.fleet.status import ClusterView
from ditto.fleet.store import PipelineStore


class FleetNode(Protocol):
    """This node of the fleet. Made by `ditto.fleet.node.Node`; the HTTP server is given one."""

    @property
    def config(self) -> ServerConfig: ...

    @property
    def store(self) -> PipelineStore:
        """To read and change what is to run; asks the control plane each time."""

    @property
    def view(self) -> ClusterView:
        """The whole fleet, from memory."""

    @property
    def requests(self) -> Requests:
        """To the node that runs a pipeline, whichever it is."""

    @property
    def name(self) -> str:
        """Its name in the fleet."""

    @property
    def state(self) -> str:
        """Connecting (to the control plane for the first time), live, draining, or cut off (from the control plane)."""

    @property
    def reason(self) -> str:
        """Why it is in this state."""

    @property
    def cut_off_by(self) -> Problem | None:
        """What keeps it from the control plane; None where nothing does. Without secrets."""

    @property
    def is_ready(self) -> bool:
        """Whether it is part of the fleet: live. One that was, and is cut off, goes on with its pipelines."""

    async def catch_up(self) -> None:
        """Wait until `view` has what was stored before this was called; not while the control plane is away."""

    async def metrics(self) -> bytes:
        """Those of all pipelines that it runs, and of its processes, in Prometheus' text format."""
