"""A block of events while it is being filled, in plain Python: the same as `_block.pyx`."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from ditto.decoding.change import DetailedEvent, Event, Meta
from ditto.decoding.messages import Block, Extras, Relation, Targets
from ditto.lsn import format_lsn


class Plan:
    """What is worked out once for a relation."""

    __slots__ = ("describe", "keys", "kinds", "names", "passed", "relation", "targets")

    def __init__(self, relation: Relation, column_kinds: list[int], targets: Targets, passed: list[int]) -> None:
        self.relation = relation
        self.names = [column.name for column in relation.columns]
        self.keys = [column.is_key for column in relation.columns]
        self.kinds = column_kinds
        self.targets = targets
        self.passed = passed
        self.describe = targets.describe


class BlockBuilder:
    """What all messages of a connection fill; `id_key` is `event_key(…)`."""

    def __init__(self, id_key: bytes, extras: Extras) -> None:
        self._key_high = int.from_bytes(id_key[:8]) >> 4
        self._key_low = int.from_bytes(id_key[8:16]) >> 2
        self._metadata = extras.metadata
        self._marks_last = extras.marks_last
        self._is_open = False  # inside a transaction
        self._commit_lsn = 0
        self._commit_time = ""
        self._xid = 0
        self._origin: str | None = None
        self._ordinal = 0
        self._is_selected = False  # the open transaction has an event that is, or will be, stored
        self._idle_lsn = 0
        self._held: tuple[Event, object, int, int] | None = None  # waits to be told whether it is the last
        self._json_null: list[str] | UnsetType = UNSET
        self._json_null_old: list[str] | UnsetType = UNSET
        self._block = Block([], [], [], [])

    def take(self) -> Block:
        """Hand over what has been decoded since the last call."""
        block = self._block
        block.idle_lsn = 0 if self._is_open else self._idle_lsn
        self._block = Block([], [], [], [])
        return block

    def _append(self, event: object, target: object, commit_lsn: int, ordinal: int) -> None:
        block = self._block
        block.events.append(event)
        block.targets.append(target)
        block.commit_lsns.append(commit_lsn)
        block.ordinals.append(ordinal)

    def _release(self, *, is_last: bool) -> None:
        """Let go of the event that was held back."""
        if self._held is not None:
            event, target, commit_lsn, ordinal = self._held
            self._held = None
            self._append(event.as_last() if is_last else event, target, commit_lsn, ordinal)

    def _emit(
        self,
        plan: Plan,
        target: object,
        action: str,
        data: dict[str, Any],
        old: dict[str, Any],
        unchanged: list[str] | None,
    ) -> None:
        relation = plan.relation
        common = (
            self._event_id(),
            relation.namespace,
            relation.name,
            action,
            data,
            old,
            self._commit_time,
            UNSET if unchanged is None else unchanged,
        )
        event = Event(*common)
        if self._metadata or self._json_null or self._json_null_old:
            meta = self._meta(plan) if self._metadata else UNSET
            event = DetailedEvent(*common, self._json_null, self._json_null_old, meta)
            self._json_null = self._json_null_old = UNSET
        self._release(is_last=False)
        if plan.describe is not None:
            description, plan.describe = plan.describe(), None
            if description is not None:
                self._append(*description, self._commit_lsn, self._ordinal - 1)
        if self._marks_last:
            self._held = event, target, self._commit_lsn, self._ordinal
        else:
            self._append(event, target, self._commit_lsn, self._ordinal)
        self._is_selected = True

    def _meta(self, plan: Plan) -> Meta:
        metadata = self._metadata
        targets = plan.targets
        return Meta(
            format_lsn(self._commit_lsn) if "lsn" in metadata else UNSET,
            self._xid if "xid" in metadata else UNSET,
            self._ordinal if "ordinal" in metadata else UNSET,
            (UNSET if targets.primary_key is None else targets.primary_key) if "primary_key" in metadata else UNSET,
            self._origin if "origin" in metadata else UNSET,
            (targets.schema_version or UNSET) if "schema_version" in metadata else UNSET,
        )

    def _event_id(self) -> str:
        high = (self._commit_lsn >> 4) ^ self._key_high
        low = ((self._commit_lsn & 0xF) << 58 | self._ordinal) ^ self._key_low
        digits = f"{high >> 12:012x}8{high & 0xFFF:03x}{0x8000000000000000 | low:016x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
