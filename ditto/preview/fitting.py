"""What becomes of events that are too large for a message, and of groups: by a given size, as NATS is not asked.

The same code as in a pipeline does it; an object store that keeps nothing takes the place of the real one.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from ditto.config import Events
from ditto.decoding.change import Change, ReducedChange, ReducedRow, StoredObject
from ditto.decoding.messages import Block
from ditto.formats.base import Format
from ditto.formats.own_headers import pairs
from ditto.formats.payloads import Payloads
from ditto.monitoring.counters import Counters
from ditto.pipeline.groups import Groups, layout_of
from ditto.pipeline.oversize import Oversize
from ditto.preview.verdict import GroupOf
from ditto.routing.planner import Planner

DEFAULT_MAX_BYTES: Final = 1 << 20
"""nats-server's default for `max_payload`."""
_KEY: Final = "events.oversize"


class _NoStore:
    """Says where an object would be."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket

    async def put(self, name: str, data: memoryview) -> StoredObject:
        digest = "SHA-256=" + urlsafe_b64encode(sha256(data).digest()).decode()
        return StoredObject(self._bucket, name, len(data), digest)


class PreviewFitting:
    """Of one preview. `max_bytes` is what a message may have, headers included; 0 for no limit."""

    def __init__(self, events: Events, planner: Planner, encoder: Format, *, max_bytes: int, bucket: str) -> None:
        self._max_bytes = max_bytes
        self._oversize: Oversize | None = None
        if events.oversize != "stop":
            self._oversize = Oversize(
                encoder,
                max_bytes=max_bytes,
                keys=planner.primary_keys,
                store=_NoStore(bucket) if events.oversize == "object_store" else None,
                counters=Counters(),
                outbox=None if events.outbox is None else events.outbox.name,
            )
        self._groups: Groups | None = None
        self._group_route = planner.group_route
        if events.group is not None and self._group_route is not None:
            self._groups = Groups(events.group, layout=layout_of(events), route=self._group_route, max_bytes=max_bytes)
        self._made: list[tuple[range, GroupOf]] = []

    async def fit(self, block: Block, payloads: Payloads) -> tuple[Block, Payloads]:
        """The block with other events in place of those that are too large; its events come into groups."""
        if self._oversize is not None:
            block, payloads = await self._oversize.fit(block, payloads)
        if self._groups is not None:
            packed = self._groups.pack(block, payloads, None)
            routes, headers = packed.block.routes, packed.block.headers or []
            sizes = [len(each) for each in packed.payloads.each()]
            for route, given, ordinal, size in zip(routes, headers, packed.block.ordinals, sizes, strict=True):
                if route == self._group_route:
                    self._add(pairs(given), ordinal, size)
        return block, payloads

    def _add(self, headers: Mapping[str, str], last: int, size: int) -> None:
        group = GroupOf(
            number=int(headers["Ditto-Group"]),
            events=int(headers["Ditto-Events"]),
            bytes=size,
            is_last="Ditto-Group-Last" in headers,
        )
        self._made.append((range(int(headers["Ditto-First"]), last + 1), group))

    def group_of(self, ordinal: int, route: bytes) -> GroupOf | None:
        """The group of this event of the transaction; None where it is a message of its own, or its group is open."""
        if route != self._group_route:
            return None
        return next((group for ordinals, group in self._made if ordinal in ordinals), None)

    def end(self) -> None:
        """The transaction is over."""
        self._made.clear()

    def verdict(self, change: Any, size: int) -> tuple[str, str, bool] | None:
        """The key that decides, the reason, and whether Ditto would stop; None for an event that fits."""
        if isinstance(change, ReducedChange | ReducedRow):
            left_out = change.stripped if isinstance(change.stripped, list) else []
            what = f"these columns are left out: {_listed(left_out)}" if left_out else "it goes into the object store"
            return _KEY, f"the event is larger than {self._max_bytes:,} bytes: {what}", False
        if not self._max_bytes or size <= self._max_bytes:
            return None
        key = _KEY if isinstance(change, Change) else "nats-server's max_payload"
        return key, f"a message of {size:,} bytes, and {self._max_bytes:,} are taken (--max-message)", True


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
