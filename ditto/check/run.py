"""All checks of one configuration, in an order in which one reads."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from functools import partial
from typing import TypeVar

from msgspec import Struct

from ditto.advice import identifier
from ditto.check.clock import nats_clock, postgres_clock
from ditto.check.finding import Finding, failed, ok, unseen
from ditto.check.http import check_http
from ditto.check.nats import check_credentials, check_nats, check_sync
from ditto.check.publication import check_publication, publication_to_be
from ditto.check.role import Identity, check_replication
from ditto.check.rows import check_widths
from ditto.check.server import check_server, check_spilling, look_at_server
from ditto.check.slot import check_the_slot
from ditto.check.stream import (
    check_existence,
    check_limits,
    check_place,
    check_settings,
    check_subject_count,
    check_subjects,
    check_writers,
)
from ditto.check.synchronous import check_synchronous
from ditto.check.transactions import check_transactions
from ditto.config import Config
from ditto.errors import DittoError, SubjectCollision
from ditto.routing.router import Router
from ditto.sinks.jetstream import servers
from ditto.sinks.jetstream.connection import Connection
from ditto.sinks.jetstream.message_size import largest_message
from ditto.sinks.jetstream.stream import Stream
from ditto.source.failures import describe
from ditto.source.published import Table, look_at_tables
from ditto.source.slot import Slot, find_slot
from ditto.source.sql import Control, open_control

T = TypeVar("T")


class _Source(Struct, frozen=True, kw_only=True):
    """What the checks of NATS want to know about PostgreSQL."""

    control: Control
    database: str
    tables: list[Table]
    slot: Slot | None
    identity: Identity | None


async def run_checks(config: Config, *, monitor_url: str | None = None, is_running: bool = False) -> list[Finding]:
    """Look at both ends, and change nothing. An end that cannot be reached is a finding of level error.

    `monitor_url` is nats-server's monitoring endpoint. With `is_running` a Ditto streams already: what its start has
    proved is not tried again, and what every attempt says, the stream's risks, not said again.
    """
    found: list[Finding] = [] if is_running else check_http(config.http)  # a running one has said it already
    try:
        async with open_control(config.postgres.dsn) as control:
            found.append(
                ok("role.connect", f"connected to {describe(config.postgres.dsn)}", "everything comes from there")
            )
            source = await _postgres(config, control, found, is_running=is_running)
            await _nats(config, source, found, monitor_url, is_running=is_running)
    except DittoError as error:
        found.append(failed("role.connect", error))
        await _nats(config, None, found, monitor_url, is_running=is_running)
    return found


async def _postgres(config: Config, control: Control, found: list[Finding], *, is_running: bool) -> _Source | None:
    name = config.postgres.slot
    try:
        server = await look_at_server(control)
        database = await control.database()
        slot = await find_slot(control, name)
        tables = await look_at_tables(control)
        publication = await publication_to_be(control, config, tables)
    except DittoError as error:
        found.append(unseen("server.settings", error))
        return None
    is_active = slot is not None and slot.active_pid is not None
    found += check_server(server, has_slot=slot is not None, is_slot_active=is_active)
    found += await _each("server.synchronous_standby_names", check_synchronous(control))
    found += await _each(
        "server.logical_decoding_work_mem", check_spilling(control, server, name, identifier(server.role))
    )
    identity = None
    if not is_running:
        finding, identity = await check_replication(config, server.role)
        found.append(finding)
    try:
        found += await check_publication(
            control, config, publication, tables, role=server.role, has_slot=slot is not None
        )
    except DittoError as error:
        found.append(unseen("publication.tables", error))
    found += check_the_slot(config, server, database, slot)
    if slot is not None:
        found += await _each("slot.oldest_transaction", check_transactions(control, slot.retained_bytes))
    found += await _each("clock.postgres", postgres_clock(control))
    return _Source(control=control, database=database, tables=publication.tables, slot=slot, identity=identity)


async def _nats(
    config: Config, source: _Source | None, found: list[Finding], monitor_url: str | None, *, is_running: bool
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
    source: _Source | None,
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
    if exists:
        found += check_settings(config, stream, says_risks=not is_running)
        found += check_limits(config, stream)
        found += await check_writers(config, stream)
    if source is not None:
        found += await _together(config, source, stream)
        largest = largest_message(client.max_payload, stream.config)
        found += await _each("nats.max_payload", check_widths(source.control, config.nats, source.tables, largest))
    found.append(await check_sync(config.delivery, stream.replicas, monitor_url))


def _subjects(config: Config, source: _Source | None, found: list[Finding]) -> tuple[Router, set[str]]:
    """The router, and every subject that it gives the published tables."""
    router = Router(config.events, database=source.database if source else "")
    needed = {router.checkpoint_subject}
    for table in source.tables if source else ():
        try:
            needed |= router.routes(*table).names
        except SubjectCollision as error:
            found.append(failed("stream.subjects", error))
    return router, needed


async def _together(config: Config, source: _Source, stream: Stream) -> list[Finding]:
    if source.identity is None:
        return []
    return await check_place(source.control, config, stream, source.identity, source.slot)


async def _each(check: str, looking: Awaitable[Finding]) -> list[Finding]:
    """One finding, or that it could not be looked at."""
    try:
        return [await looking]
    except DittoError as error:
        return [unseen(check, error)]
