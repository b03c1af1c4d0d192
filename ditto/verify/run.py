"""The whole check, from a configuration: wait until the sink has caught up, replay it, compare."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from ditto.config import Config
from ditto.config.format_rules import DEBEZIUM
from ditto.errors import DittoError
from ditto.formats.choose import readable_types
from ditto.lsn import ORIGIN, Position, format_lsn
from ditto.monitoring.wait import NotReached, wait
from ditto.routing.router import Router
from ditto.routing.type_settings import interval_style
from ditto.sinks.choose import choose_reader, open_reader
from ditto.source.slot import find_slot
from ditto.source.sql import open_control
from ditto.units import counted
from ditto.verify.catalogue import Publication, TableName, publication_xid, read_publication, table_keys
from ditto.verify.compare import compare
from ditto.verify.difference import Difference, Unjudged
from ditto.verify.replay import Replay, replay
from ditto.verify.ruled_tables import PARTLY, ruled_tables

LOCK_TIMEOUT: Final = "10s"
"""How long another session may lock a table before it is left out."""

_OTHER_VALUES: Final = "its events have Debezium's values, which do not tell PostgreSQL's text"
_OF_TRUNCATE: Final = frozenset({"extra row", "inserted twice", "updated to the key of another row"})
"""The differences that a TRUNCATE leaves which is no event."""

Progress = Callable[[str, int, int], None]
"""Gets the name of a step, how much of it is done, and how much there is."""


@dataclass(kw_only=True)
class Report:
    """What was compared, and the differences."""

    sink: str
    """The kind of what was read: stream, file."""
    events: int
    """Changes."""
    reads: int
    """Rows that snapshots read."""
    messages: int
    """Logical messages, and rows of an outbox: they are not compared."""
    checkpoints: int
    tail: str
    """The position of the last message."""
    tables: int
    rows: int
    """Of the real tables, each compared."""
    unjudged: list[Unjudged]
    """Tables of which what is stored cannot tell whether they are right, and why."""
    differences: list[Difference]
    notes: list[str] = field(default_factory=list)
    """Possible explanations of differences."""


async def verify(config: Config, *, timeout_s: float, on_progress: Progress) -> Report:
    """Replay what the sink holds and compare it with the tables. Raises what keeps this from reading them."""
    kind = choose_reader(config).kind
    waiting = f"Waiting for the {kind}"
    async with open_control(config.postgres.dsn) as control:
        notes = []
        await publication_xid(control, config.postgres.publication)  # one that is missing is not worth a wait
        if await find_slot(control, config.postgres.slot) is None:
            timeout_s = 0  # nobody streams, or is about to
        on_progress(waiting, 0, 1)
        try:
            await wait(config, await control.wal_lsn(), timeout_s=timeout_s)
        except NotReached as error:
            notes.append(f"{error.message}. What was committed after that counts as different")
        on_progress(waiting, 1, 1)
        setting = "SELECT pg_catalog.set_config('lock_timeout', %s, false)"
        await control.fetch(setting, [LOCK_TIMEOUT], doing="set lock_timeout")
        # Masks are made of the text that the walsender writes.
        setting = "SELECT pg_catalog.set_config('intervalstyle', %s, false)"
        await control.fetch(setting, [interval_style(config.events.types)], doing="set intervalstyle")
        publication = await read_publication(control, config.postgres.publication)
        router = Router(config.events, database=await control.database())
        keys = await table_keys(control, publication.tables)
        ruled = await ruled_tables(config, control, router, publication, keys)
        left_out = {**_left_out(router, publication), **ruled.left_out}
        left_out |= dict.fromkeys(
            (name for name in publication.tables if _format_of(router, config, name).startswith(DEBEZIUM)),
            _OTHER_VALUES,
        )
        if (outbox := config.events.outbox) is not None and outbox.name in left_out:
            left_out[outbox.name] = "its rows are messages (events.outbox)"
        async with open_reader(config) as reader:
            before = (await reader.look()).tail or ORIGIN  # a place beside the messages may be after the last of them
            copy = await replay(
                reader,
                keys={name: key for name, key in keys.items() if name not in ruled.keyless},
                conditional=ruled.conditions,
                on_progress=lambda done, total: on_progress(f"Reading the {kind}", done, total),
            )
        result = await compare(
            control,
            copy,
            publication=publication,
            leave_out=left_out,
            types=lambda name: readable_types(_format_of(router, config, name), config.events.types),
            ruled=ruled,
            on_progress=lambda done, total: on_progress("Comparing", done, total),
        )
    partial = [Unjudged(".".join(name), reason) for name, reason in left_out.items() if reason]
    partial += [Unjudged(".".join(name), PARTLY) for name in ruled.conditions if name not in left_out]
    differences, may_be_truncated = _without_truncated(copy.differences + result.differences, router, publication)
    partial += may_be_truncated
    if copy.dropped:
        notes.append(
            f"{counted(copy.dropped, 'row')} dropped at the end of a snapshot that had not found them: their DELETE is "
            "not in the stream"
        )
    if differences:
        notes += result.notes
        if ruled.columns:
            notes.append("events that were stored before a rule of events.tables was changed are as it was then")
        notes += await _explanations(config, copy, kind, after=max(before, copy.position))
    return Report(
        sink=kind,
        events=copy.events,
        reads=copy.reads,
        messages=copy.messages,
        checkpoints=copy.checkpoints,
        tail=str(copy.position),
        tables=result.tables,
        rows=result.rows,
        unjudged=sorted(partial + result.unjudged),
        differences=differences,
        notes=notes,
    )


def _format_of(router: Router, config: Config, name: TableName) -> str:
    """The format of a table's events."""
    found = router.rules(*name)
    return config.events.format if found is None or found[1].format is None else found[1].format


def _left_out(router: Router, publication: Publication) -> dict[TableName, str]:
    """The published tables that are not compared, and why where only some of their actions are stored."""
    routes = {name: router.routes(*name) for name in publication.tables}
    return {
        name: "some actions are filtered out" if any(each) else ""
        for name, each in routes.items()
        if not (each.insert and each.update and each.delete)
    }


def _without_truncated(
    differences: list[Difference], router: Router, publication: Publication
) -> tuple[list[Difference], list[Unjudged]]:
    """Rows that only the stream has tell nothing where a TRUNCATE is no event."""
    unsure = {".".join(name) for name in publication.tables if router.routes(*name).truncate is None}
    told = [each for each in differences if each.kind not in _OF_TRUNCATE or each.table not in unsure]
    tables = {each.table: None for each in differences if each not in told}
    return told, [Unjudged(table, "its TRUNCATEs are filtered out, and there may have been one") for table in tables]


async def _explanations(config: Config, copy: Replay, kind: str, *, after: Position) -> list[str]:
    notes = ["rows that were there before the slot was created have no events before a snapshot has read them"]
    notes += [f"snapshot {run} has not ended" for run in copy.open_runs]
    with suppress(DittoError):
        tail = await wait(config, after.commit_lsn + 1, timeout_s=0)
        notes.append(
            f"the {kind} has gone on to {format_lsn(tail.commit_lsn)} meanwhile: tables that somebody writes to while "
            "they are compared differ"
        )
    return notes
