"""A preview from its configuration to its verdicts."""

from __future__ import annotations

import difflib
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

from ditto.config import Config
from ditto.decoding.event_id import event_key
from ditto.errors import ConfigError, PublicationMissing
from ditto.preview.changes import coming, make_slot, there
from ditto.preview.fitting import DEFAULT_MAX_BYTES
from ditto.preview.judge import Judge
from ditto.preview.sample import sample
from ditto.preview.verdict import Verdict
from ditto.routing.patterns import TablePattern
from ditto.routing.type_settings import interval_style
from ditto.sinks.choose import capabilities
from ditto.source.publication import plan_publication
from ditto.source.published_tables import look_at_publication, look_at_tables
from ditto.source.replication import Replication
from ditto.source.sql import Control, open_control


class Previewed:
    """What is known beside the verdicts."""

    source = ""
    """Where the changes come from, for people."""


async def preview_changes(
    config: Config,
    about: Previewed,
    *,
    since: datetime | None,
    wait_s: float,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> AsyncIterator[Verdict | None]:
    """Changes that wait in the pipeline's slot; and where there are none, or a Ditto reads it, those that come from now
    on. None where changes are waited for. `max_bytes` is what nats-server takes. Raises DittoError.
    """
    publication, slot = config.postgres.publication, config.postgres.slot
    async with open_control(config.postgres.dsn) as control:
        await _check_publication(control, config)
        judge = await _judge(control, config, max_bytes)
        copied = await make_slot(control, slot, wait_s=wait_s)
        shown = False
        if copied.is_copy:
            about.source = f"changes that slot {slot} has not confirmed"
            async for messages in there(control, copied, publication):
                async for each in _judged(judge, messages, since=since):
                    shown = True
                    yield each
            if since is not None or (shown and not copied.is_read):
                return
        about.source = f"{about.source}, and those from now on" if shown else "changes from now on"
        yield None
        async for messages in coming(control, copied, publication, wait_s=wait_s):
            async for each in _judged(judge, messages, since=None):
                yield each


async def _judged(judge: Judge, messages: list[bytes], *, since: datetime | None) -> AsyncIterator[Verdict]:
    for message in messages:
        for each in await judge.take(message):
            if _is_since(each, since):
                yield each
    for each in judge.rest():
        if _is_since(each, since):
            yield each


async def preview_rows(
    config: Config, about: Previewed, *, table: str, count: int, max_bytes: int = DEFAULT_MAX_BYTES
) -> list[Verdict]:
    """Rows that are in a table, as READ. Raises DittoError."""
    async with open_control(config.postgres.dsn) as control:
        await _check_publication(control, config)
        schema, name = await _resolve(control, config, table)
        about.source = f"rows of {schema}.{name}, as a snapshot would store them"
        judge = await _judge(control, config, max_bytes)
        described, rows = await sample(
            config.postgres.dsn,
            config.postgres.publication,
            schema,
            name,
            count=count,
            interval_style=interval_style(config.events.types),
        )
        now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return await judge.take_rows(described.relation, rows, commit_time=now)


async def _judge(control: Control, config: Config, max_bytes: int) -> Judge:
    replication = Replication(config.postgres.dsn, clock=time.monotonic, max_events=1, max_bytes=1)
    try:
        await replication.connect()
        system = await replication.identify()
    finally:
        await replication.close()
    key = event_key(system.identifier, config.postgres.slot)
    database = await control.database()
    return Judge(
        config.events,
        control,
        database=database,
        system_identifier=system.identifier,
        id_key=key,
        sink=capabilities(config),
        max_bytes=max_bytes if config.file is None else 0,
        bucket=config.nats.object_store.bucket,
    )


async def _check_publication(control: Control, config: Config) -> None:
    """Raise PublicationMissing where there is none: a preview creates nothing."""
    publication = config.postgres.publication
    plan = await plan_publication(control, publication, tables=None, may_create=True, allow_missing_identity=True)
    if plan.statement is not None:
        raise PublicationMissing(
            f"publication {publication} does not exist, and a preview creates nothing",
            hint=f"ditto run creates it at its first start; or by hand: {plan.statement}",
        )


async def _resolve(control: Control, config: Config, name: str) -> tuple[str, str]:
    """The published table of that name. Raises ConfigError."""
    pattern = TablePattern(name)
    publication = await look_at_publication(control, config.postgres.publication)
    found = [table for table in publication.tables if pattern.matches(*table)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"--table {name} stands for {len(found):,} tables", hint="give schema.table")
    known = [table for table in (await look_at_tables(control)).all if pattern.matches(*table)]
    if known:
        raise ConfigError(
            f"{name} is not in publication {publication.name}",
            hint="ditto check compares the publication with events.tables",
        )
    raise ConfigError(f"there is no table {name}", hint=_nearest(name, publication.tables))


def _nearest(name: str, tables: Iterable[tuple[str, str]]) -> str:
    """What is meant, as far as it can be guessed."""
    names: dict[str, str] = {}
    for schema, table in tables:
        escaped = f"{schema}.{table.replace('.', '?')}"
        names |= {table: escaped, f"{schema}.{table}": escaped}
    close = difflib.get_close_matches(name, names, 1)
    if not close:
        return "ditto check compares the publication with events.tables"
    return f"is {names[close[0]]} meant?" + (
        " A dot in the name of a table is written ?" if "?" in names[close[0]] else ""
    )


def _is_since(verdict: Verdict, since: datetime | None) -> bool:
    if since is None or not verdict.commit_time:
        return True
    try:
        return datetime.fromisoformat(verdict.commit_time) >= since
    except ValueError:  # a time that no calendar of Python's has
        return True
