"""The third phase of a session: where it begins.

Only now is the tail final: the Ditto that held the slot before can get no new changes any more.
"""

from __future__ import annotations

from dataclasses import dataclass

from ditto.decoding.choose import Decoder
from ditto.decoding.event_id import event_key
from ditto.decoding.messages import Extras
from ditto.lsn import Transaction
from ditto.pipeline.dropped_tables import DroppedTables
from ditto.pipeline.preparing import Prepared
from ditto.pipeline.source_history import History
from ditto.pipeline.start_position import Start
from ditto.routing.table_descriptions import stored_versions


@dataclass(frozen=True, kw_only=True)
class Ready:
    """Everything that streaming needs."""

    prepared: Prepared
    decoder: Decoder
    start: Start
    last: Transaction | None
    """The last transaction that the sink knows of; None for unknown, and after a gap."""
    history: History
    dropped: DroppedTables


async def begin(prepared: Prepared) -> Ready:
    """Find the tail, decide where to begin, and give the replication connection its decoder."""
    ends = prepared.ends
    config, sink, slot = ends.config, ends.sink, prepared.slot
    former = None if prepared.is_claimed else await sink.claim(prepared.claimant(), prepared.routes)
    state = await sink.open(prepared.claimant())
    if not prepared.is_claimed:
        state = state._replace(owner=former)
    start = prepared.decide(state)
    start = start._replace(gap=start.gap or prepared.accepted_gap)
    last = None if start.gap is not None else state.last
    owner = state.owner
    history = History(
        tail=start.after,
        last=last,
        confirmed_lsn=slot.confirmed_lsn,
        is_same_publication=owner is not None and owner.publication == ends.pipeline.publication,
        sink=sink.capabilities,
        doubt=start.doubt,
    )
    pattern = prepared.planner.description_wildcard
    stored = {} if pattern is None else await sink.schemas.last_descriptions(pattern)
    decoder = Decoder(
        id_key=event_key(ends.pipeline.system_identifier, slot.name),
        after=start.after,
        watch_lsn=history.watch_lsn,
        extras=Extras(frozenset(config.events.metadata), config.events.transactions),
        described=stored_versions(stored),
        max_size=sink.capabilities.max_bytes,
    )
    ends.source.decode_with(decoder, wal_sender_timeout_s=ends.wal_sender_timeout_s)
    return Ready(
        prepared=prepared,
        decoder=decoder,
        start=start,
        last=last,
        history=history,
        dropped=DroppedTables(ends.control, decoder, planner=prepared.planner, counters=ends.counters),
    )
