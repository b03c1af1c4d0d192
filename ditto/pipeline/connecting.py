"""The first phase of a session: connecting to both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog

from ditto.config import PipelineConfig
from ditto.monitoring.counters import Counters
from ditto.pipeline.lease import Lease
from ditto.routing.type_settings import interval_style
from ditto.sinks.base import MakeSink, PipelineId, Sink
from ditto.source.replication import Replication, System
from ditto.source.slot import check_slot, find_slot
from ditto.source.sql import Control, Server, open_control
from ditto.tasks import end

log = structlog.get_logger()


@dataclass
class Report:
    """What the loop of sessions has to know about one that failed, however far it came."""

    has_progressed: bool = False
    """Something was stored and confirmed, or it is a standby: the next session need not wait longer."""
    retained: dict[str, int] = field(default_factory=dict)
    """How much WAL the slot kept when it began, for the log; see `Slot`."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """Both ends, connected."""

    config: PipelineConfig
    clock: Callable[[], float]
    counters: Counters
    control: Control
    """For SQL."""
    source: Replication
    sink: Sink
    lease: Lease
    database: str
    pipeline: PipelineId
    """Without the LSN that a claim notes."""
    wal_sender_timeout_s: float
    """Infinity for none."""


async def connect(
    config: PipelineConfig,
    *,
    stack: AsyncExitStack,
    clock: Callable[[], float],
    make_sink: MakeSink,
    counters: Counters,
    report: Report,
    suspects_holder: bool = False,
) -> Ends:
    """Connect to PostgreSQL, which is looked at first, and to the sink; `stack` closes what was opened.

    `suspects_holder`: see `Lease`.
    """
    postgres = config.postgres
    sink = make_sink(config, clock=clock)
    source = Replication(
        postgres.dsn,
        clock=clock,
        max_events=config.delivery.max_in_flight,
        max_bytes=config.delivery.max_in_flight_bytes,
        interval_style=interval_style(config.events.types),
        gathers=config.events.group is not None or sink.capabilities.prefers_blocks,
    )
    stack.push_async_callback(source.close)
    stack.push_async_callback(sink.close)
    # All connections at the same time: one after the other took 10 to 20 ms longer. What is wrong with PostgreSQL is
    # said first, whatever becomes of the others.
    replicating, connecting = asyncio.ensure_future(_identify(source)), asyncio.ensure_future(sink.connect())
    try:
        control = await stack.enter_async_context(open_control(postgres.dsn))
        server = await _check_source(control, config, counters=counters, report=report)
        system = await replicating
        await connecting
    finally:
        await end(replicating, connecting)
    return Ends(
        config=config,
        clock=clock,
        counters=counters,
        control=control,
        source=source,
        sink=sink,
        lease=Lease(
            sink.lease_store(postgres.slot) if config.delivery.lease_ttl_s else None,
            ttl_s=config.delivery.lease_ttl_s,
            slot=postgres.slot,
            clock=clock,
            counters=counters,
            suspects_holder=suspects_holder,
        ),
        database=server.database,
        pipeline=PipelineId(
            system.identifier,
            postgres.slot,
            config.events.prefix,
            timeline=system.timeline,
            publication=postgres.publication,
        ),
        wal_sender_timeout_s=server.wal_sender_timeout_s,
    )


async def _identify(source: Replication) -> System:
    await source.connect()
    return await source.identify()


async def _check_source(control: Control, config: PipelineConfig, *, counters: Counters, report: Report) -> Server:
    """The server, on which Ditto can work; and a slot that is lost is reported also while the sink is away."""
    _tell_transport(control, counters)
    server = await control.server(needs_failover=config.postgres.failover)
    if (slot := await find_slot(control, config.postgres.slot)) is not None:
        sizes = {"retained_bytes": slot.retained_bytes, "wal_left_bytes": slot.safe_bytes}
        report.retained = {name: size for name, size in sizes.items() if size is not None}
        if not slot.is_being_created:  # a later phase waits for that
            check_slot(slot, server.database)
    return server


def _tell_transport(control: Control, counters: Counters) -> None:
    """Say once a process how far the connection to PostgreSQL can be trusted, where that is not all the way."""
    if counters.has_told_transport:
        return
    counters.has_told_transport = True
    if control.transport == "unverified":
        log.warning(
            "postgres.tls_unverified",
            reason="sslmode asks for encryption only: a machine in between could pose as the server",
            hint="sslmode=verify-full and sslrootcert=… in postgres.dsn",
        )
    elif control.transport == "plain":
        log.info("postgres.not_encrypted", reason="the server does no TLS, or sslmode forbids it")
