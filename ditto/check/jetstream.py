"""The checks of NATS, of the stream, and of both ends together."""

from __future__ import annotations

import time
from functools import partial

from ditto.check.clock import nats_clock
from ditto.check.finding import Finding, each, failed, ok, unseen
from ditto.check.nats import check_credentials, check_nats, check_sync
from ditto.check.nats_rights import check_rights
from ditto.check.row_width import check_widths
from ditto.check.snapshot import is_wanted
from ditto.check.source import Source
from ditto.check.stream import (
    check_existence,
    check_limits,
    check_place,
    check_settings,
    check_subject_count,
    check_subjects,
    check_writers,
)
from ditto.config import Config
from ditto.errors import ConfigError, DittoError, SubjectCollision
from ditto.routing.message_rule import message_subjects
from ditto.routing.router import Router, control_subjects
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.message_size import largest_message
from ditto.sinks.jetstream.stream import Stream


async def check_jetstream(
    config: Config, source: Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
) -> None:
    try:
        client = await _connect(config)
    except DittoError as error:
        found.append(failed("nats.connect", error))
        return
    try:
        found.append(ok("nats.connect", f"connected to {client.where}", "everything goes there"))
        found += [unseen("nats.servers", error) for error in client.refused]
        found.append(check_credentials(client))
        await _jetstream(config, source, client, found, monitor_url, is_running=is_running)
    except DittoError as error:
        found.append(unseen("nats.jetstream", error))
    finally:
        await servers.close(client)


async def _connect(config: Config) -> Connection:
    """To a server that Ditto can use; where there is none, to any: the checks say what it lacks."""
    try:
        return await servers.connect(config.nats, accept=partial(servers.usable, config=config.nats))
    except DittoError:
        return await servers.connect(config.nats)


async def _jetstream(
    config: Config,
    source: Source | None,
    client: Connection,
    found: list[Finding],
    monitor_url: str | None,
    *,
    is_running: bool,
) -> None:
    stream = Stream(client, config.nats, accepts_gap=config.delivery.accepts_gap)
    about_nats = await check_nats(client, config.nats, stream)
    found += about_nats
    if any(finding.level == "error" and finding.check == "nats.jetstream" for finding in about_nats):
        return
    asked_at = time.time()
    exists = await stream.look()
    found.append(nats_clock(stream.asked_at, asked_at, time.time()))
    router, needed = _subjects(config, source, found)
    found.append(check_existence(config, stream, needed))
    found += await check_subjects(config, stream, router, needed)
    found.append(check_subject_count(stream, router, needed))
    if not is_running:  # what is missing then has been said
        found += await check_rights(config, stream)
    if exists:
        found += check_settings(config, stream, says_risks=not is_running)
        found += check_limits(config, stream)
        found += await check_writers(config, stream)
    if source is not None and (exists or config.nats.create):  # otherwise it has been said that there is none
        found += await _together(config, source, stream)
        largest = largest_message(client.max_payload, stream.config)
        widths = check_widths(source.control, config.nats, source.tables, largest, oversize=config.events.oversize)
        found += await each("nats.max_payload", widths)
    found.append(await check_sync(config.delivery, stream.replicas, monitor_url))


def _subjects(config: Config, source: Source | None, found: list[Finding]) -> tuple[Router, set[str]]:
    """The router, and every subject that it gives the published tables."""
    router = Router(config.events, database=source.database if source else "")
    needed = {router.checkpoint_subject}
    if is_wanted(config):
        needed.add(control_subjects(config.events.prefix))
    try:
        needed |= message_subjects(config.events, database=source.database if source else "")
    except ConfigError as error:
        found.append(failed("stream.subjects", error))
    for table in source.tables if source else ():
        try:
            needed |= router.routes(*table).names
        except SubjectCollision as error:
            found.append(failed("stream.subjects", error))
    return router, needed


async def _together(config: Config, source: Source, stream: Stream) -> list[Finding]:
    if source.identity is None:
        return []
    return await check_place(source.control, config, stream, source.identity, source.slot)
