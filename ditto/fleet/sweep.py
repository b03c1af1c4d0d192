"""Deletes what nodes and pipelines that are gone have left in the buckets. Each node does, from time to time."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.leases import Leases
from ditto.fleet.records import NODES, READINESS, STATUS
from ditto.fleet.view import View

_PERIOD_S: Final = 30.0


async def sweep(control_plane: ControlPlane, view: View, leases: Leases) -> None:
    """Until cancelled. Raises ControlPlaneLost."""
    while True:
        await asyncio.sleep(_PERIOD_S * random.uniform(1, 2))  # noqa: S311  not all at once
        await leases.sweep()
        for name in view.membership.forgotten():
            if (revision := view.nodes_copy.revisions.get(name)) is None:
                view.membership.leave(name)
            else:
                await control_plane.bucket(NODES).delete(name, after=revision)
        nodes = {each.name for each in view.membership.all()}
        for key in list(view.workers.values):
            if key.rpartition(".")[0] not in nodes:
                await control_plane.bucket(STATUS).delete(key, after=view.workers.revisions[key])
        for name in [each for each in view.readiness.values if each not in nodes]:
            await control_plane.bucket(READINESS).delete(name, after=view.readiness.revisions[name])
