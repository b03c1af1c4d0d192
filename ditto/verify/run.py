"""The whole check, from a configuration: wait until the stream has caught up, replay it, compare."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ditto.config import Config
from ditto.errors import DittoError
from ditto.lsn import format_lsn
from ditto.monitoring.wait import NotReached, open_client, wait
from ditto.routing.router import Router
from ditto.source.sql import Control, open_control
from ditto.units import counted
from ditto.verify.catalogue import Publication, TableName, read_publication, table_keys
from ditto.verify.compare import compare
from ditto.verify.difference import Difference, Unjudged
from ditto.verify.replay import Replay, replay

LOCK_TIMEOUT: Final = "10s"
"""How long another session may lock a table before it is left out."""

Progress = Callable[[str, int, int], None]
"""Gets the name of a step, how much of it is done, and how much there is."""


@dataclass(kw_only=True)
class Report:
    """What was compared, and the differences."""

    events: int
    """Changes."""
    reads: int
    """Rows that snapshots read."""
    checkpoints: int
    tail: str
    """The position of the stream's last message."""
    tables: int
    rows: int
    """Of the real tables, each compared."""
    unjudged: list[Unjudged]
    """Tables of which the stream cannot tell whether they are right, and why."""
    differences: list[Difference]
    notes: list[str] = field(default_factory=list)
    """Possible explanations of differences."""


async def verify(config: Config, *, timeout_s: float, on_progress: Progress) -> Report:
    """Replay the stream and compare it with the tables. Raises what keeps this from reading them."""
    async with open_control(config.postgres.dsn) as control:
        notes = []
        on_progress("Waiting for the stream", 0, 1)
        try:
            await wait(config, await control.wal_lsn(), timeout_s=timeout_s)
        except NotReached as error:
            notes.append(f"{error.message}. What was committed after that counts as different")
        on_progress("Waiting for the stream", 1, 1)
        setting = "SELECT pg_catalog.set_config('lock_timeout', %s, false)"
        await control.fetch(setting, [LOCK_TIMEOUT], doing="set lock_timeout")
        publication = await read_publication(control, config.postgres.publication)
        left_out = await _left_out(config, control, publication)
        async with open_client(config) as client:
            reading = replay(
                client,
                config.nats.stream,
                keys=await table_keys(control, publication.tables),
                prefix=config.events.prefix,
                domain=config.nats.domain,
                on_progress=lambda done, total: on_progress("Reading the stream", done, total),
            )
            copy = await client.guard(reading)
        result = await compare(
            control,
            copy,
            publication=publication,
            leave_out=left_out,
            types=config.events.types,
            on_progress=lambda done, total: on_progress("Comparing", done, total),
        )
    partial = [
        Unjudged(".".join(name), "some actions are filtered out") for name, is_partial in left_out.items() if is_partial
    ]
    differences = copy.differences + result.differences
    if copy.dropped:
        notes.append(
            f"{counted(copy.dropped, 'row')} dropped at the end of a snapshot that had not found them: their DELETE is "
            "not in the stream"
        )
    if differences:
        notes += result.notes
        notes += await _explanations(config, copy)
    return Report(
        events=copy.events,
        reads=copy.reads,
        checkpoints=copy.checkpoints,
        tail=str(copy.position),
        tables=result.tables,
        rows=result.rows,
        unjudged=sorted(partial + result.unjudged),
        differences=differences,
        notes=notes,
    )


async def _left_out(config: Config, control: Control, publication: Publication) -> dict[TableName, bool]:
    """The published tables that are not compared, and whether this is because only some actions are stored."""
    router = Router(config.events, database=await control.database())
    found = {}
    for name in publication.tables:
        routes = router.routes(*name)
        if not all(routes):
            found[name] = any(routes)
    return found


async def _explanations(config: Config, copy: Replay) -> list[str]:
    notes = ["rows that were there before the slot was created have no events before a snapshot has read them"]
    notes += [f"snapshot {run} has not ended" for run in copy.open_runs]
    with suppress(DittoError):
        tail = await wait(config, copy.position.commit_lsn + 1, timeout_s=0)
        notes.append(
            f"the stream has gone on to {format_lsn(tail.commit_lsn)} meanwhile: tables that somebody writes to while "
            "they are compared differ"
        )
    return notes
