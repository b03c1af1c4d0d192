"""Logical messages, in plain Python: those that tell Ditto something, and those that become events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ditto.decoding.change import MessageEvent
from ditto.decoding.messages import (
    BEFORE_MESSAGE_END,
    MARKER_PREFIX,
    MESSAGE_ACTION,
    OWN_PREFIXES,
    SNAPSHOT_PREFIX,
    TRACE_PREFIX,
    TRACEPARENT_SIZE,
    WAIT_PREFIX,
    Delivered,
    Extras,
    LogicalMessage,
    RuleFailed,
)
from ditto.decoding.pure.cursor import Cursor
from ditto.decoding.pure.shape import Routing
from ditto.decoding.pure.snapshots import SnapshotSupport
from ditto.errors import DecodeError
from ditto.lsn import Position, format_lsn

if TYPE_CHECKING:
    from ditto.routing.table_plans import MessageRule


class LogicalMessages(SnapshotSupport):
    """What `pg_logical_emit_message` has written. `rule` routes those that become events."""

    def __init__(
        self,
        id_key: bytes,
        extras: Extras,
        described: Mapping[bytes, str],
        max_size: int,
        after: Position,
        rule: MessageRule | None,
    ) -> None:
        super().__init__(id_key, extras, described, max_size)
        self._after = after
        self._skip_to = 0  # ordinals up to this one are stored already
        self._message_rule = rule
        self.logical_message_count = 0
        self.void_request_count = 0  # of snapshots, by messages that are not transactional

    def _logical_message(self, cursor: Cursor) -> None:
        frame = cursor.data
        flags = cursor.u8()
        lsn = cursor.u64()
        prefix = cursor.string()
        content = cursor.take(cursor.i32())
        cursor.finish()
        if flags > 1:
            raise DecodeError(f"unknown flags {flags} of a logical message")
        if prefix == WAIT_PREFIX:
            self._block.wanted_lsn = lsn
            if not self._is_open:
                # Not part of a transaction: it comes at its place in the WAL, after every commit before it.
                self._idle_lsn = max(self._idle_lsn, lsn)
        if flags == 1:
            self._count_change()
            if prefix in {SNAPSHOT_PREFIX, MARKER_PREFIX} and self._ordinal > self._skip_to:
                self._stop_at_message(prefix, content)
            if prefix == TRACE_PREFIX and len(content) == TRACEPARENT_SIZE:
                self._block.traceparents.append((self._commit_lsn, self._ordinal, bytes(content)))
        elif prefix == SNAPSHOT_PREFIX:
            self.void_request_count += 1
        self.logical_message_count += 1
        if self._message_rule is not None and prefix not in OWN_PREFIXES:
            if flags == 1:
                self._message_event(prefix, bytes(content))
            else:
                self._message_beside(prefix, bytes(content), lsn, frame)

    def _message_event(self, prefix: str, content: bytes) -> None:
        """A message that is part of the open transaction."""
        if self._ordinal <= self._skip_to:
            return
        routing = self._route_message(prefix, content, self._commit_lsn, self._ordinal, is_transactional=True)
        if routing is not None:
            event_id = self._event_id(self._commit_lsn, self._ordinal)
            self._release(is_last=False)
            self._hand_on(MessageEvent(event_id, prefix, content, True, self._commit_time), routing)

    def _message_beside(self, prefix: str, content: bytes, end_lsn: int, frame: bytes) -> None:
        """One that is part of no transaction: it comes at its place in the WAL, between the commits."""
        lsn = end_lsn - BEFORE_MESSAGE_END
        if (lsn, 1) <= self._after:
            return
        routing = self._route_message(prefix, content, lsn, 1, is_transactional=False)
        if routing is None:
            return
        if self._is_open or lsn <= max(self._commit_lsn, self._message_lsn):
            raise DecodeError(f"the logical message at {format_lsn(lsn)} comes out of order")
        if lsn >= self._barrier:
            self._waiting = bytes(frame)
            self._is_stopped = True
            self.logical_message_count -= 1  # it is decoded again
            return
        self._message_lsn = lsn
        self._append(MessageEvent(self._event_id(lsn, 1), prefix, content, False, ""), routing, lsn, 1)
        self._idle_lsn = max(self._idle_lsn, end_lsn)
        self._block.delivered = Delivered(lsn, end_lsn, len(self._block.changes))

    def _route_message(
        self, prefix: str, content: bytes, lsn: int, ordinal: int, *, is_transactional: bool
    ) -> Routing | None:
        if self._message_rule is None:
            return None
        try:
            return self._message_rule(prefix, content, is_transactional)
        except RuleFailed as error:
            error.relation, error.action = prefix, MESSAGE_ACTION
            error.commit_lsn, error.ordinal = lsn, ordinal
            raise

    def _stop_at_message(self, prefix: str, content: bytes) -> None:
        self._release(is_last=False)  # what is stored for the message comes after it
        self._block.message = LogicalMessage(
            prefix, bytes(content), self._commit_lsn, self._ordinal, self._commit_time, self._xid
        )
        self._is_stopped = True

    def _count_change(self) -> None:
        if not self._is_open:
            raise DecodeError("a change outside a transaction")
        self._ordinal += 1
