"""Pipelines that this node knows, and of which the bucket has nothing any more.

They were deleted while this node was away, and the deletion forgotten since (`nats kv compact`): then another node may
have heard of it. Or the bucket was purged or deleted, or NATS has lost it: that it is empty says nothing about what is
to run.
"""

from __future__ import annotations

from typing import Final

import structlog

from ditto.errors import ControlPlaneUnsuitable
from ditto.fleet.records import PIPELINES
from ditto.fleet.requests import Requests
from ditto.fleet.view import View

log = structlog.get_logger()

_MOST_NAMES: Final = 5


async def account_for_lost(view: View, requests: Requests) -> None:
    """To be called before the list of the pipelines is taken. Raises ControlPlaneUnsuitable for those of which no node
    knows that they were deleted: they go on, and the node asks again after its next connection.
    """
    if not (lost := view.records.lost()):
        return
    await view.until(lambda: view.nodes_copy.is_complete)  # who can be asked
    deleted = await requests.deleted(lost)
    if unexplained := sorted(lost.keys() - deleted):
        raise _entries_lost(unexplained)
    log.info("fleet.deletions_heard", pipelines=sorted(deleted))


def _entries_lost(names: list[str]) -> ControlPlaneUnsuitable:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ControlPlaneUnsuitable(
        f"bucket {PIPELINES} has lost entries, and no node knows that they were deleted (it was purged or deleted, or "
        f"NATS has lost data): {', '.join(names[:_MOST_NAMES])}{more}",
        hint="pipelines that run go on; start another node, or restart one, and apply these pipelines there: then this "
        "node is live again by itself; where they are not to run any more, restart this node",
    )
