"""Messages of a pipeline, as the pipeline gives them to a sink."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from ditto.decoding.change import Change
from ditto.decoding.event_id import event_id, event_key
from ditto.formats.payload_prefixes import DESCRIPTION
from ditto.formats.payloads import Payloads
from ditto.lsn import Position
from ditto.sinks.base import Batch, PipelineId

if TYPE_CHECKING:
    from collections.abc import Sequence

PIPELINE: Final = PipelineId("7312345678901234567", "shop", "shop", start_lsn=0x1000, timeline=1, publication="shop")
ROUTE: Final = b"shop_public_t"
DESCRIPTION_ROUTE: Final = b"shop._schema.public.t"
ROUTES: Final = ["shop_public_t", "shop._schema.>"]
TIME: Final = "2026-11-25T12:00:00.000001Z"


def event(position: Position, *, of: PipelineId = PIPELINE, text: str = "", table: str = "t") -> bytes:
    key = event_key(of.system_identifier, of.slot)
    data = {"id": position.ordinal, "text": text}
    return msgspec.json.encode(Change(event_id(position, key), "public", table, "INSERT", data, {}, TIME))


def transaction(commit_lsn: int, count: int, *, first: int = 1) -> list[tuple[Position, bytes]]:
    """Changes `first` to `count` of one."""
    positions = [Position(commit_lsn, ordinal) for ordinal in range(first, count + 1)]
    return [(position, event(position)) for position in positions]


def batch(
    messages: Sequence[tuple[Position, bytes]],
    *,
    first: int,
    more_follows: bool = False,
    is_urgent: bool = True,
    gap: int = 1,
    headers: list[bytes] | None = None,
    keys: list[bytes | None] | None = None,
) -> Batch:
    """As a format hands them over: `gap` bytes, line breaks, after each payload. Descriptions have their own route."""
    data, ends = bytearray(), []
    for _, payload in messages:
        data += payload
        ends.append(len(data))
        data += b"\n" * gap
    positions = [position for position, _ in messages]
    return Batch(
        first,
        [DESCRIPTION_ROUTE if payload.startswith(DESCRIPTION) else ROUTE for _, payload in messages],
        [position.commit_lsn for position in positions],
        [position.ordinal for position in positions],
        Payloads(data, ends, gap),
        None,
        more_follows,
        headers=headers,
        keys=keys,
        is_urgent=is_urgent,
    )
