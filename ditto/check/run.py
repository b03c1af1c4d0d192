"""All checks of one configuration, in an order in which one reads."""

from __future__ import annotations

from ditto.check.choose import choose_checks
from ditto.check.clock import postgres_clock
from ditto.check.finding import Finding, each, failed, ok, unseen
from ditto.check.http import check_http
from ditto.check.postgres import check_server, check_spilling, look_at_server
from ditto.check.publication import check_publication, publication_to_be
from ditto.check.role import check_replication
from ditto.check.rules import check_rules
from ditto.check.slot import check_the_slot
from ditto.check.snapshot import check_snapshot
from ditto.check.source import Source
from ditto.check.synchronous_commit import check_synchronous
from ditto.check.transactions import check_transactions
from ditto.config import Config
from ditto.errors import DittoError
from ditto.hints import identifier
from ditto.source.command_errors import describe
from ditto.source.published_tables import look_at_tables
from ditto.source.slot import find_slot
from ditto.source.sql import Control, open_control


async def run_checks(config: Config, *, monitor_url: str | None = None, is_running: bool = False) -> list[Finding]:
    """Look at both ends, and change nothing. An end that cannot be reached is a finding of level error.

    `monitor_url` is where the sink's server is monitored (see `choose.usual_monitor`). With `is_running` a Ditto
    streams already: what its start has proved is not tried again, and what every session says, the stream's risks,
    not said again.
    """
    check_sink = choose_checks(config)
    found: list[Finding] = [] if is_running else check_http(config.http)  # a running one has said it already
    try:
        async with open_control(config.postgres.dsn) as control:
            found.append(
                ok("role.connect", f"connected to {describe(config.postgres.dsn)}", "everything comes from there")
            )
            source = await _postgres(config, control, found, is_running=is_running)
            await check_sink(config, source, found, monitor_url, is_running=is_running)
    except DittoError as error:
        found.append(failed("role.connect", error))
        await check_sink(config, None, found, monitor_url, is_running=is_running)
    return found


async def _postgres(config: Config, control: Control, found: list[Finding], *, is_running: bool) -> Source | None:
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
    found += await each("server.synchronous_standby_names", check_synchronous(control))
    found += await each(
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
    try:
        found += await check_rules(control, config, publication, database)
    except DittoError as error:
        found.append(unseen("rules.tables", error))
    found += check_the_slot(config, server, database, slot)
    if slot is not None:
        found += await each("slot.oldest_transaction", check_transactions(control, slot.retained_bytes))
    try:
        found += await check_snapshot(control, config, server, publication, tables, has_slot=slot is not None)
    except DittoError as error:
        found.append(unseen("snapshot.tables", error))
    found += await each("clock.postgres", postgres_clock(control))
    return Source(control=control, database=database, tables=publication.tables, slot=slot, identity=identity)
