"""The whole check, from a configuration: wait until the stream has caught up, replay it, compare."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from ditto.config import Config
from ditto.errors import DittoError
from ditto.events.route import Router
from ditto.lsn import format_lsn, parse_lsn
from ditto.source.connect import connect
from ditto.source.failures import Answer, command_error
from ditto.verify.compare import Connection, Published, compare, published_tables, table_keys
from ditto.verify.difference import Difference
from ditto.verify.replay import replay
from ditto.wait import NotReached, open_client, wait

_WAL_LSN = """
    SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END)::text"""

Progress = Callable[[str, int, int], None]
"""Is told the name of a step, how much of it is done, and how much there is."""


@dataclass(kw_only=True)
class Report:
    """What was looked at, and what is not as it should be."""

    events: int
    checkpoints: int
    tail: str
    """The position of the stream's last message."""
    tables: int
    rows: int
    """Of the real tables, each compared."""
    skipped: list[str]
    """Tables of which some actions are filtered out: nothing to compare them with."""
    differences: list[Difference]
    notes: list[str] = field(default_factory=list)
    """What may explain differences."""


async def verify(config: Config, *, timeout_s: float, on_progress: Progress) -> Report:
    """Replay the stream and compare it with the tables. Raises what keeps this from reading them."""
    connection = await connect(config.postgres.dsn, is_read_only=False)  # it fills temporary tables
    try:
        async with connection:
            return await _verify(config, connection, timeout_s=timeout_s, on_progress=on_progress)
    except psycopg.Error as error:
        raise command_error(Answer.of(error), doing="compare the tables") from error


async def _verify(config: Config, connection: Connection, *, timeout_s: float, on_progress: Progress) -> Report:
    notes = []
    on_progress("Waiting for the stream", 0, 1)
    end_lsn = await _wal_lsn(connection)
    try:
        await wait(config, end_lsn, timeout_s=timeout_s)
    except NotReached as error:
        notes.append(f"{error.message}: what was committed after that counts as different")
    on_progress("Waiting for the stream", 1, 1)
    complete, partial = await _tables(config, connection)
    async with open_client(config) as client:
        reading = replay(
            client,
            config.nats.stream,
            keys=await table_keys(connection),
            prefix=config.events.prefix,
            on_progress=lambda done, total: on_progress("Reading the stream", done, total),
        )
        copy = await client.guard(reading)
        for name in partial:
            copy.tables.pop(name, None)
        result = await compare(
            connection,
            copy,
            tables=complete,
            types=config.events.types,
            on_progress=lambda done, total: on_progress("Comparing", done, total),
        )
        skipped = sorted(".".join(name) for name in partial)
        differences = [each for each in copy.differences if each.table not in skipped] + result.differences
        if differences:
            notes += await _explanations(config, connection, copy.position.commit_lsn)
    return Report(
        events=copy.events,
        checkpoints=copy.checkpoints,
        tail=str(copy.position),
        tables=result.tables,
        rows=result.rows,
        skipped=skipped,
        differences=differences,
        notes=notes,
    )


async def _tables(
    config: Config, connection: Connection
) -> tuple[dict[tuple[str, str], Published], list[tuple[str, str]]]:
    """The published tables of which all actions are stored, and those of which only some are."""
    router = Router(config.events, database=connection.info.dbname)
    complete, partial = {}, []
    for name, published in (await published_tables(connection, config.postgres.publication)).items():
        targets = router.targets(*name)[:4]
        if all(targets):
            complete[name] = published
        elif any(targets):
            partial.append(name)
    return complete, partial


async def _explanations(config: Config, connection: Connection, tail_lsn: int) -> list[str]:
    notes = ["rows that were there before the slot was created have no events"]
    with suppress(DittoError):
        tail = await wait(config, tail_lsn + 1, timeout_s=0)
        notes.append(
            f"the stream has gone on to {format_lsn(tail.commit_lsn)} meanwhile: tables that somebody writes to while "
            "they are compared differ"
        )
    return notes


async def _wal_lsn(connection: Connection) -> int:
    row = await (await connection.execute(_WAL_LSN)).fetchone()
    return parse_lsn(row[0]) if row else 0
