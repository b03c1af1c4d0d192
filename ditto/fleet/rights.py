"""What the node's NATS user has to be allowed to, tried before the node takes part: at its first use, which may be
weeks later, a missing right would cut the node off while it runs pipelines.

Nothing is changed by it. What the server refuses ends the connection (`Connection.guard`), with the subject.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ditto.fleet.control_plane import ControlPlane
from ditto.fleet.records import ASSIGNMENTS, NODES, PIPELINES, READINESS, STATUS
from ditto.fleet.requests import Ask, subject

_READ: Final = (PIPELINES, NODES, ASSIGNMENTS)
"""Buckets of which single entries are read; the others are only watched."""
_WRITTEN: Final = (PIPELINES, NODES, ASSIGNMENTS, STATUS, READINESS)
_NEVER: Final = 2**53
"""No revision: what is written after it is not stored."""
_ANSWER_S: Final = 10.0


async def check_buckets(control_plane: ControlPlane, node: str) -> None:
    """Read from, and write to, each bucket. Raises ControlPlaneLost."""
    async with asyncio.TaskGroup() as group:
        for name in _READ:
            group.create_task(control_plane.bucket(name).get(node))
        for name in _WRITTEN:
            group.create_task(control_plane.bucket(name).write(node, b"", after=_NEVER))


async def check_requests(control_plane: ControlPlane, node: str) -> None:
    """Ask the node itself, which takes requests already. Raises NodeSilent and ControlPlaneLost."""
    ask = Ask(op="hello")
    await control_plane.request(subject(node, ask.op), ask, timeout_s=_ANSWER_S, whom=node)
