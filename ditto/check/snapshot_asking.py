"""Asks a pipeline of this process for a snapshot, or changes a run: looks whether that can be, and sends the request to
PostgreSQL, as everybody does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ditto.check.snapshot_request import check_request
from ditto.config import PipelineConfig
from ditto.errors import ConnectionLost, NotPossibleNow, SnapshotUnknown
from ditto.monitoring.snapshot_changes import GRACE_S, why_not
from ditto.monitoring.status_document import Snapshots
from ditto.source.snapshot_requests import Verb, new_run, open_writable, send, start_body, verb_body
from ditto.source.sql import Control

ASK_S: Final = 8.0
"""For what PostgreSQL is asked: less than a connection may take in all (`connection_limits`)."""
_POLL_S: Final = 0.1


async def start_snapshot(
    config: PipelineConfig, tables: Sequence[str], *, where: str | None = None, max_rows_per_s: int | None = None
) -> str:
    """Returns the id of the run. Raises what `check_request` raises, SourceError, and ConnectionLost where it is not
    known whether the request was sent.
    """
    run = new_run()
    async with _asking(config, run) as control:
        checked = await check_request(control, config, tables, where=where)
        body = start_body(checked.names, slot=config.postgres.slot, run=run, where=where, max_rows_per_s=max_rows_per_s)
        await send(control, body)
    return run


async def change_snapshot(config: PipelineConfig, known: Callable[[], Snapshots], verb: Verb, run: str) -> None:
    """Pause, resume or cancel a run, of those that are `known`. Raises SnapshotUnknown, NotPossibleNow, SourceError."""
    deadline = time.monotonic() + GRACE_S
    while (objection := why_not(known(), verb, run)) is not None:
        if not objection.is_unknown:
            raise NotPossibleNow(objection.what)
        if time.monotonic() > deadline:
            raise SnapshotUnknown(objection.what)
        await asyncio.sleep(_POLL_S)
    async with _asking(config, run) as control:
        await send(control, verb_body(verb, run, slot=config.postgres.slot))


@asynccontextmanager
async def _asking(config: PipelineConfig, run: str) -> AsyncIterator[Control]:
    """A connection of its own, for some time."""
    try:
        async with asyncio.timeout(ASK_S), open_writable(config.postgres.dsn) as control:
            yield control
    except TimeoutError as error:
        raise ConnectionLost(
            f"PostgreSQL has not answered within {ASK_S:g} s: whether it has got the request of run {run} is not known",
            hint="look at the snapshots of the pipeline before asking again",
        ) from error
