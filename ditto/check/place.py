"""Whether slot and sink fit together, whatever the sink is: what `ditto run` decides at its start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ditto.check.finding import Finding, bad, failed, ok
from ditto.check.role import Identity
from ditto.check.source import Source
from ditto.config import Config
from ditto.errors import DittoError, StreamGap
from ditto.lsn import format_lsn
from ditto.pipeline.start_position import decide_start, gap_error, is_slot_used
from ditto.sinks.base import Capabilities, PipelineId, Sink, SinkState
from ditto.source.slot import Slot, settled_slot
from ditto.source.sql import Control


async def compare_sink(config: Config, source: Source | None, sink: Sink) -> list[Finding]:
    """Of a sink without leases, which is connected for it and closed. Nothing where PostgreSQL could not be asked."""
    if source is None or source.identity is None:
        return []

    async def no_lease() -> bool:
        return False

    try:
        await sink.connect()
        return await compare_place(
            source.control,
            config,
            source.identity,
            source.slot,
            sink=sink.capabilities,
            inspect=sink.inspect,
            has_trace=no_lease,
        )
    except DittoError as error:
        return [failed(f"{sink.capabilities.kind}.tail", error)]
    finally:
        await sink.close()


async def compare_place(
    control: Control,
    config: Config,
    identity: Identity,
    slot: Slot | None,
    *,
    sink: Capabilities,
    inspect: Callable[[PipelineId], Awaitable[SinkState]],
    has_trace: Callable[[], Awaitable[bool]],
) -> list[Finding]:
    """`inspect` is the sink's; `has_trace` says whether a lease of this pipeline has ever been held."""
    check, why = (
        f"{sink.kind}.tail",
        (f"the slot may not be after the {sink.kind}'s last event: what is between would be lost"),
    )
    if slot is not None and slot.is_being_created:
        return [ok(check, f"slot {slot.name} is still being created: there is no place to compare yet", why)]
    system, name, accepts_gap = identity.system, config.postgres.slot, config.delivery.accepts_gap
    owner = PipelineId(system.identifier, name, config.events.prefix, 0, system.timeline, config.postgres.publication)
    try:
        holding = await inspect(owner)
        is_used = False
        if holding.is_empty and slot is not None:
            slot = await settled_slot(control, slot)
            is_used = is_slot_used(slot, is_created_here=False, has_lease_trace=await has_trace())
        wal_lsn = await control.wal_lsn()
        if slot is None and not holding.is_empty and not accepts_gap:
            raise gap_error(sink, name, holding.tail, f"there on (slot {name} does not exist)")
        decision = decide_start(
            holding,
            sink=sink,
            accepts_gap=accepts_gap,
            slot=name,
            system_identifier=system.identifier,
            # A slot that is still to be created begins at the end of the WAL.
            confirmed_lsn=wal_lsn if slot is None else slot.confirmed_lsn,
            is_slot_used=is_used,
            wal_lsn=wal_lsn,
            is_standby=await control.is_standby(),
            timelines=identity.timelines,
        )
    except StreamGap as error:
        fix = "delivery: {on_gap: snapshot}   # for one start; or continue, and when it streams, reload consumers"
        return [bad("error", check, error.message, error.hint or why, configuration=fix)]
    except DittoError as error:
        return [failed(check, error)]
    if decision.doubt is not None:
        then = "a start of ditto run finds out whether it was stored from this timeline, and stops where it was not"
        return [bad("warning", check, decision.doubt.message, then)]
    if decision.gap is not None:
        missing = " to ".join(format_lsn(lsn) for lsn in decision.gap)
        return [ok(check, f"changes from {missing} are missing, and delivery.on_gap accepts that", why)]
    if slot is None:
        both = f"slot and {sink.kind} are both new"
        return [ok(check, both if holding.is_empty else f"slot {name} is new, and nothing is missing", why)]
    return [ok(check, f"the slot is not after the {sink.kind}'s tail ({holding.tail or 'none yet'})", why)]
