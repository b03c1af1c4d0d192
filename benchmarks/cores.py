"""Both implementations of the core, side by side: `DITTO_IMPL` lets a process use only one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from ditto import _pgoutput
from ditto.decoding.column_kinds import KINDS
from ditto.decoding.event_id import event_key
from ditto.decoding.messages import NO_EXTRAS, Block, Extras, Relation
from ditto.decoding.pure import decoder
from ditto.formats.ditto import DittoFormat
from ditto.formats.payloads import Payloads
from ditto.routing.table_plans import Routes, TablePlan
from ditto.sinks.jetstream import _frames, pure_frames
from ditto.source.replication import MAX_EVENTS

_SUBJECT: Final = b"ditto_public_bench"
FORMAT: Final = DittoFormat()
_ID_KEY: Final = event_key("7234567890123456789", "bench")


class Core(NamedTuple):
    """One implementation."""

    name: str
    decoder: Any
    frame_block: Callable[..., bytes | bytearray]


CORES: Final = (
    Core("c", _pgoutput.Decoder, _frames.frame_block),
    Core("python", decoder.Decoder, pure_frames.frame_block),
)


def default_plan(relation: Relation) -> TablePlan:
    """Every change passes, every column is converted."""
    kinds = bytes(KINDS.find(column.type_oid, column.type_namespace, column.type_name) for column in relation.columns)
    return TablePlan(relation=relation, routes=Routes(_SUBJECT, _SUBJECT, _SUBJECT, _SUBJECT), kinds=kinds)


def blocks(core: Core, frames: Sequence[bytes]) -> list[Block]:
    """The frames decoded, in blocks as large as the product's largest."""
    found: list[Block] = []
    _decode(core, frames, found.append)
    return found


def decode(core: Core, frames: Sequence[bytes]) -> int:
    """Decode the frames, and drop each block as the pipeline does. Returns the number of events."""
    counts: list[int] = []
    _decode(core, frames, lambda block: counts.append(len(block.changes)))
    return sum(counts)


def decode_and_encode(
    core: Core,
    frames: Sequence[bytes],
    *,
    plan: Callable[[Relation], TablePlan] = default_plan,
    encode_block: Callable[[Block], Payloads] = FORMAT.encode,
    extras: Extras = NO_EXTRAS,
) -> int:
    """Decode the frames and encode each block. Returns the number of events."""
    counts: list[int] = []
    _decode(core, frames, lambda block: counts.append(len(encode_block(block).ends)), plan=plan, extras=extras)
    return sum(counts)


def _decode(
    core: Core,
    frames: Sequence[bytes],
    use: Callable[[Block], None],
    *,
    plan: Callable[[Relation], TablePlan] = default_plan,
    extras: Extras = NO_EXTRAS,
) -> None:
    decoder = core.decoder(id_key=_ID_KEY, extras=extras)
    feed = decoder.feed
    first = 0
    while decoder.relation_count == 0:  # the one table is described before its first row
        feed(frames[first])
        first += 1
        if (relation := decoder.relation) is not None:
            use(decoder.take())
            decoder.define(relation.oid, plan(relation))
    for start in range(first, len(frames), MAX_EVENTS):
        for frame in frames[start : start + MAX_EVENTS]:
            feed(frame)
        use(decoder.take())


def encode(decoded: Sequence[Block]) -> int:
    """Encode blocks that are decoded already. Returns the number of events."""
    return sum(len(FORMAT.encode(block).ends) for block in decoded)


def frame(core: Core, decoded: Sequence[Block], payloads: Sequence[Payloads]) -> int:
    """Frame blocks that are encoded already. Returns the number of events."""
    sequence = 0
    for block, encoded in zip(decoded, payloads, strict=True):
        core.frame_block(
            block.routes,
            block.commit_lsns,
            block.ordinals,
            encoded.data,
            encoded.ends,
            gap=encoded.gap,
            last_sequence=sequence,
            reply=b"_INBOX.AbCdEfGhIjKlMnOpQrStUv.AbCdEfGhIjKl1.256.fail.",
            first_number=sequence + 1,
            is_committed=False,
            max_size=1 << 20,
        )
        sequence += len(encoded.ends)
    return sequence
