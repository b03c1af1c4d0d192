"""A block of changes while it is being filled, in plain Python: the same as `_block.pyx`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from ditto.decoding.change import Change, DetailedChange, MessageEvent, Meta
from ditto.decoding.messages import Begun, Block, Extras, Relation
from ditto.decoding.pure.rows import NO_ROWS, Rows
from ditto.decoding.pure.shape import Routing, Shape, has_shape
from ditto.lsn import format_lsn

if TYPE_CHECKING:
    from ditto.routing.table_descriptions import Description
    from ditto.routing.table_plans import TablePlan

NO_BARRIER: Final = (1 << 64) - 1
"""After every LSN."""


class Plan:
    """A `TablePlan` as the decoder uses it."""

    __slots__ = (
        "counts",
        "description",
        "description_route",
        "keys",
        "kinds",
        "layout",
        "meta",
        "names",
        "relation",
        "routes",
        "shape",
    )

    def __init__(self, plan: TablePlan, counts: list[int]) -> None:
        self.relation = plan.relation
        self.names = [column.name for column in plan.relation.columns]
        self.keys = [column.is_key for column in plan.relation.columns]
        self.kinds = plan.kinds
        self.routes = plan.routes
        self.meta = Meta(
            primary_key=UNSET if plan.primary_key is None else list(plan.primary_key),
            schema_version=UNSET if plan.schema_version is None else plan.schema_version,
        )
        self.description = plan.description  # None after the first change
        self.description_route = None if plan.description is None else plan.description.route
        self.counts = counts  # by action, how many changes were handed on; and how many the rule has dropped
        self.layout = plan.layout
        self.shape = Shape(plan) if has_shape(plan) else None
        if len(self.kinds) != len(self.names):
            raise ValueError(f"a plan of {len(self.kinds)} columns where the relation has {len(self.names)}")


class BlockBuilder:
    """What all messages of a connection fill; `id_key` is `event_key(…)`."""

    def __init__(self, id_key: bytes, extras: Extras, described: Mapping[bytes, str]) -> None:
        self._key_high = int.from_bytes(id_key[:8]) >> 4
        self._key_low = int.from_bytes(id_key[8:16]) >> 2
        self._metadata = extras.metadata
        self._marks_last = extras.marks_last
        self._has_transactions = extras.has_transactions
        self._described = dict(described)  # by route, the version of the last description
        self._is_open = False  # inside a transaction
        self._commit_lsn = 0
        self._commit_time = ""
        self._commit_time_us = 0
        self._xid = 0
        self._origin: str | None = None
        self._ordinal = 0
        self._is_selected = False  # the open transaction has a change that is, or will be, stored
        self._idle_lsn = 0
        self._message_lsn = 0  # of the last event that is no part of a transaction
        # The event that waits to be told whether it is the last.
        self._held: tuple[Change | MessageEvent, Routing, int, int, Any] | None = None
        self._block = Block([], [], [], [])
        self._is_stopped = False  # the block is to be handed over before anything else is decoded
        self._barrier = NO_BARRIER
        self._waiting: bytes | None = None  # the Begin at the barrier

    @property
    def relation(self) -> Relation | None:
        """The Relation message that ends the block."""
        return self._block.relation

    def take(self) -> Block:
        """Hand over what has been decoded since the last call."""
        block = self._block
        block.idle_lsn = 0 if self._is_open else min(self._idle_lsn, self._barrier - 1)
        block.is_at_barrier = self._is_at_barrier()
        self._block = Block([], [], [], [])
        self._is_stopped = False
        return block

    def stop_before(self, lsn: int) -> None:
        """Decode nothing that commits at this LSN or later; 0: go on. Raises ValueError where such a one has begun.

        Until then no block says that everything before this LSN is decoded: something else may have to be stored there.
        """
        if lsn and lsn <= self._commit_lsn:
            raise ValueError(f"the transaction at {format_lsn(self._commit_lsn)} has begun, after {format_lsn(lsn)}")
        if lsn and lsn <= self._message_lsn:
            raise ValueError(f"the message at {format_lsn(self._message_lsn)} was decoded, after {format_lsn(lsn)}")
        self._barrier = lsn or NO_BARRIER

    def mark_selected(self) -> None:
        """The open transaction has an event of the session's own: it is one of those that are `delivered`."""
        self._is_selected = True

    def _is_at_barrier(self) -> bool:
        return self._waiting is not None or (not self._is_open and self._idle_lsn >= self._barrier)

    def _append(self, change: object, routing: Routing, commit_lsn: int, ordinal: int, layout: Any = None) -> None:
        add(self._block, change, routing, commit_lsn, ordinal, layout)
        if self._has_transactions and commit_lsn == self._commit_lsn:
            self._block.transactions[commit_lsn] = Begun(self._xid, self._commit_time_us, self._origin)

    def _release(self, *, is_last: bool) -> None:
        """Let go of the change that was held back."""
        if self._held is not None:
            change, routing, commit_lsn, ordinal, layout = self._held
            self._held = None
            self._append(change.as_last() if is_last else change, routing, commit_lsn, ordinal, layout)

    def _emit(self, plan: Plan, routing: Routing, action: str, rows: Rows = NO_ROWS) -> None:
        common = (
            self._event_id(self._commit_lsn, self._ordinal),
            plan.relation.namespace,
            plan.relation.name,
            action,
            rows.data,
            rows.old,
            self._commit_time,
            rows.unchanged or UNSET,
        )
        change = Change(*common)
        if self._metadata or rows.json_null or rows.json_null_old:
            meta: Meta | UnsetType = UNSET
            if self._metadata:
                meta = self._meta(plan, self._commit_lsn, self._ordinal, self._xid, self._origin)
            change = DetailedChange(*common, rows.json_null or UNSET, rows.json_null_old or UNSET, meta)
        self._release(is_last=False)
        if plan.description is not None:
            self._describe(plan.description)
            plan.description = None
        self._hand_on(change, routing, plan.layout)

    def _hand_on(self, change: Change | MessageEvent, routing: Routing, layout: Any = None) -> None:
        """An event of the open transaction; what was held back has been released."""
        if self._marks_last:
            self._held = change, routing, self._commit_lsn, self._ordinal, layout
        else:
            self._append(change, routing, self._commit_lsn, self._ordinal, layout)
        self._is_selected = True

    def _describe(self, description: Description) -> None:
        """Before a plan's first change: its description, unless its route has this version already."""
        if self._described.get(description.route) != description.version:
            self._described[description.route] = description.version
            self._append(description.table, (description.route, b"", None), self._commit_lsn, self._ordinal - 1)

    def _meta(self, plan: Plan, commit_lsn: int, ordinal: int, xid: int, origin: str | None) -> Meta:
        metadata = self._metadata
        return Meta(
            format_lsn(commit_lsn) if "lsn" in metadata else UNSET,
            xid if "xid" in metadata else UNSET,
            ordinal if "ordinal" in metadata else UNSET,
            plan.meta.primary_key if "primary_key" in metadata else UNSET,
            origin if "origin" in metadata else UNSET,
            plan.meta.schema_version if "schema_version" in metadata else UNSET,
        )

    def _event_id(self, commit_lsn: int, ordinal: int) -> str:
        high = (commit_lsn >> 4) ^ self._key_high
        low = ((commit_lsn & 0xF) << 58 | ordinal) ^ self._key_low
        digits = f"{high >> 12:012x}8{high & 0xFFF:03x}{0x8000000000000000 | low:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def add(block: Block, change: object, routing: Routing, commit_lsn: int, ordinal: int, layout: Any = None) -> None:
    """Add a change to a block; its headers, keys and layouts begin with the first change that has any."""
    route, headers, key = routing
    if headers and block.headers is None:
        block.headers = [b""] * len(block.changes)
    if block.headers is not None:
        block.headers.append(headers)
    if key is not None and block.keys is None:
        block.keys = [None] * len(block.changes)
    if block.keys is not None:
        block.keys.append(key)
    if layout is not None and block.layouts is None:
        block.layouts = [None] * len(block.changes)
    if block.layouts is not None:
        block.layouts.append(layout)
    block.changes.append(change)
    block.routes.append(route)
    block.commit_lsns.append(commit_lsn)
    block.ordinals.append(ordinal)
