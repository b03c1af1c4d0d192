"""The decoder in plain Python: the same interface and the same results as `_pgoutput.pyx`.

It is the fallback (`DITTO_IMPL=python`), the oracle of the compiled decoder's tests and what the
benchmarks compare with. Layouts: https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
and https://www.postgresql.org/docs/current/protocol-replication.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from struct import Struct
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from psycopg import OperationalError

from ditto.decoding.invalid_text import not_utf8
from ditto.decoding.messages import (
    NO_DESCRIPTIONS,
    NO_EXTRAS,
    PG_EPOCH_US,
    WATCHED,
    Block,
    ChangeRefused,
    Delivered,
    Extras,
    RuleFailed,
)
from ditto.decoding.pure.block import Plan
from ditto.decoding.pure.cells import ChangedRow, read_change
from ditto.decoding.pure.cursor import Cursor
from ditto.decoding.pure.known_relations import DROPPED
from ditto.decoding.pure.logical_messages import LogicalMessages
from ditto.decoding.pure.relations import read_relation
from ditto.decoding.pure.rows import read_rows
from ditto.decoding.pure.shape import Routing
from ditto.decoding.size_limit import check_size
from ditto.errors import ConnectionLost, DecodeError
from ditto.hints import NOT_UTF8
from ditto.lsn import ORIGIN, Position, Transaction, format_lsn

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

    from ditto.routing.table_plans import MessageRule

_U32: Final = Struct("!I")

_ACTIONS: Final = MappingProxyType({"I": "INSERT", "U": "UPDATE", "D": "DELETE"})
_EPOCH: Final = datetime(2000, 1, 1)  # noqa: DTZ001  PostgreSQL's epoch; times here are UTC throughout
_FEW_BYTES: Final = 6144  # libpq reads 16 KB at once, which may be only a few messages
_EVERYTHING: Final = 1 << 63
_MANY_TYPES: Final = 2000


class Decoder(LogicalMessages):
    """Turns the CopyData messages of one replication connection into changes.

    A Relation message ends the block; its changes can be decoded once `define` has given the plan. `id_key` is
    `event_key(…)`. Changes up to and with the position `after` are stored already: they are skipped without being
    converted. `watched` are the first two transactions that commit at `watch_lsn` or later. `described` are, by route,
    the versions of the descriptions that are stored. A change whose event certainly takes more than `max_size` bytes
    raises ChangeTooLarge instead; 0 is no limit. Of logical messages become events those that `message_rule` routes.
    """

    def __init__(
        self,
        *,
        id_key: bytes,
        after: Position = ORIGIN,
        watch_lsn: int = 0,
        extras: Extras = NO_EXTRAS,
        described: Mapping[bytes, str] = NO_DESCRIPTIONS,
        max_size: int = 0,
        message_rule: MessageRule | None = None,
    ) -> None:
        super().__init__(id_key, extras, described, max_size, after, message_rule)
        self._watch_lsn = watch_lsn
        self.watched: list[Transaction] = []
        self._refused: ChangeRefused | None = None  # to be raised when what comes before it has been handed over
        self._types: dict[int, tuple[str, str]] = {}
        self.skipped_count = 0

    def feed(self, frame: bytes) -> None:
        """Decode one CopyData message. Raises DecodeError, after which the decoder is of no more use."""
        self._resume()
        if self._waiting is not None:
            raise ValueError("the decoder waits at the barrier")
        self._block.frame_count += 1
        self._block.size += len(frame)
        self._decode(frame)

    def _resume(self) -> None:
        """Decode the Begin that waits at the barrier: if the barrier is still there, it goes on waiting."""
        if self._waiting is not None:
            frame, self._waiting = self._waiting, None
            self._decode(frame)

    def _decode(self, frame: bytes) -> None:
        try:
            self._frame(Cursor(frame))
        except DecodeError as error:
            raise self._explain(error) from error
        except UnicodeDecodeError:  # it quotes the bytes: not to be chained
            raise self._explain(DecodeError("text that is not UTF-8", hint=NOT_UTF8)) from None

    def read(self, pgconn: PGconn, *, max_events: int, max_bytes: int, enough: int = 1) -> Block:
        """Drain libpq and the socket until nothing new comes, a limit is reached or something ends the block.

        A Relation, a message of a snapshot and the barrier end it. With `enough` it also ends where a read of the
        socket brings less than so many messages, and few bytes.

        Raises ConnectionLost, DecodeError, and ChangeRefused once all before that change has been handed over.
        """
        if self._refused is not None:
            raise self._refused
        try:
            self._drain(pgconn, max_events=max_events, max_bytes=max_bytes, enough=enough)
        except ChangeRefused as error:
            self._release(is_last=False)
            if not self._block.changes:
                raise
            self._refused = error
            self._block.is_drained = False  # the next call raises, whatever the socket has
        return self.take()

    def _drain(self, pgconn: PGconn, *, max_events: int, max_bytes: int, enough: int) -> None:
        block = self._block
        count_at_read, size_at_read = -1, 0
        self._resume()
        while len(block.changes) < max_events and block.size < max_bytes and not self._is_stopped:
            try:
                length, data = pgconn.get_copy_data(1)
            except OperationalError as error:
                raise ConnectionLost("the replication connection broke") from error
            if length > 0:
                self.feed(bytes(data))
            elif length < 0:
                block.is_ended = True
                break
            elif block.frame_count == count_at_read or (
                count_at_read > 0
                and block.frame_count - count_at_read < enough
                and block.size - size_at_read < _FEW_BYTES
            ):
                break
            else:
                count_at_read, size_at_read = block.frame_count, block.size
                try:
                    pgconn.consume_input()
                except OperationalError as error:
                    raise ConnectionLost("the replication connection broke") from error
        else:
            block.is_drained = False

    def _explain(self, error: DecodeError) -> DecodeError:
        where = f" in the transaction that commits at {format_lsn(self._commit_lsn)}" if self._is_open else ""
        if relation := error.context.get("relation"):
            where += f", table {relation}"
        return DecodeError(
            f"cannot decode what PostgreSQL sent{where}: {error.message}",
            hint=error.hint or "nothing is lost, the slot holds the change. It is a fault of Ditto: please report it",
            **error.context,
        )

    def _frame(self, cursor: Cursor) -> None:
        tag = cursor.u8()
        if tag == 0x77:  # w: start8 end8 ts8 payload
            cursor.take(24)
            self._message(cursor)
        elif tag == 0x6B:  # k: end8 ts8 reply1
            end = cursor.u64()
            cursor.take(8)
            if cursor.u8():
                self._block.is_reply_requested = True
            cursor.finish()
            if not self._is_open and end > self._idle_lsn:
                self._idle_lsn = end
        else:
            raise DecodeError(f"unknown replication message 0x{tag:02X}")

    def _message(self, cursor: Cursor) -> None:
        tag = chr(cursor.u8())
        if tag in "IUD":
            self._change(tag, cursor)
        elif tag == "B":
            self._begin(cursor)
        elif tag == "C":
            self._commit(cursor)
        elif tag == "R":
            self._relation(cursor)
        elif tag == "Y":
            oid = cursor.u32()
            self._types[oid] = cursor.string(), cursor.string()
            cursor.finish()
        elif tag == "T":
            self._truncate(cursor)
        elif tag == "M":
            self._logical_message(cursor)
        elif tag == "O":
            cursor.u64()
            self._origin = cursor.string()
            cursor.finish()
        elif tag in "SEcAbPKrp":
            raise DecodeError(f"a streamed or prepared transaction (message {tag!r}), which was not asked for")
        else:
            raise DecodeError(f"unknown message 0x{ord(tag):02X}")

    def _begin(self, cursor: Cursor) -> None:
        final_lsn = cursor.u64()
        time_us = cursor.i64()
        xid = cursor.u32()
        cursor.finish()
        if self._is_open:
            raise DecodeError("a Begin inside a transaction")
        if final_lsn <= self._commit_lsn:
            raise DecodeError(f"the transaction at {format_lsn(final_lsn)} comes out of commit order")
        if final_lsn >= self._barrier:
            self._waiting = bytes(cursor.data)
            self._is_stopped = True
            return
        self._is_open = True
        self._xid = xid
        self._commit_lsn = final_lsn
        self._commit_time_us = time_us + PG_EPOCH_US
        try:
            self._commit_time = (_EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="microseconds") + "Z"
        except OverflowError:
            raise DecodeError(f"a commit time of {time_us} µs") from None
        if len(self.watched) < WATCHED and final_lsn >= self._watch_lsn:
            self.watched.append(Transaction(final_lsn, self._commit_time, self._xid))
        if self._recorded_oid is not None:
            self._judge_transaction()
        self._origin = None
        self._ordinal = 0
        after = self._after
        self._is_selected = final_lsn <= after.commit_lsn
        if final_lsn < after.commit_lsn:
            self._skip_to = _EVERYTHING
        elif final_lsn == after.commit_lsn:
            self._skip_to = after.ordinal
        else:
            self._skip_to = 0

    def _commit(self, cursor: Cursor) -> None:
        cursor.u8()
        commit_lsn = cursor.u64()
        end_lsn = cursor.u64()
        cursor.take(8)
        cursor.finish()
        if not self._is_open:
            raise DecodeError("a Commit outside a transaction")
        if commit_lsn != self._commit_lsn or end_lsn <= commit_lsn:
            raise DecodeError(f"a Commit at {format_lsn(commit_lsn)} that does not fit its Begin")
        self._is_open = False
        self._release(is_last=True)
        self._idle_lsn = max(self._idle_lsn, end_lsn)
        if self._is_selected:
            self._block.delivered = Delivered(commit_lsn, end_lsn, len(self._block.changes))

    def _relation(self, cursor: Cursor) -> None:
        relation = read_relation(cursor, self._types)
        self._describe_relation(relation)
        if len(self._types) > _MANY_TYPES:  # those of a relation come anew right before it
            self._types.clear()

    def _route(self, plan: Plan, action: int) -> bytes | None:
        """The route of this change, or None where it is to be skipped."""
        route = plan.routes[action]
        if route is None:
            self.filtered_count += 1
            return None
        if self._ordinal <= self._skip_to:
            self.skipped_count += 1
            return None
        return route

    def _routing(self, plan: Plan, index: int, action: str, route: bytes, change: ChangedRow | None) -> Routing | None:
        """Where this change goes; None where the rule of its table drops it."""
        routing: Routing | None = (route, b"", None)
        if plan.shape is not None:
            try:
                routing = plan.shape.route(action, route, change)
            except RuleFailed as error:
                self._place(error, plan, action)
                raise
        if routing is None:
            plan.counts[DROPPED] += 1
            self.filtered_count += 1
        else:
            plan.counts[index] += 1
        return routing

    def _truncate(self, cursor: Cursor) -> None:
        count = cursor.u32()
        flags = cursor.u8()
        if flags > 3:
            raise DecodeError(f"unknown flags {flags} of a Truncate")
        oids = cursor.take(4 * count)
        cursor.finish()
        for (oid,) in _U32.iter_unpack(oids):
            self._count_change()
            plan = self._plan(oid)
            route = self._route(plan, 3)
            if route is not None and (routing := self._routing(plan, 3, "TRUNCATE", route, None)) is not None:
                self._emit(plan, routing, "TRUNCATE")

    def _change(self, tag: str, cursor: Cursor) -> None:
        self._count_change()
        oid = cursor.u32()
        plan = self._plan(oid)
        if oid == self._recorded_oid:
            self._record(cursor.data[cursor.pos - 5 : cursor.end], plan.names)
        index, action = "IUD".index(tag), _ACTIONS[tag]
        route = self._route(plan, index)
        if route is None:
            return
        start = cursor.pos
        message = cursor.data[start - 5 : cursor.end]
        try:
            change = None if plan.shape is None else read_change(message, len(plan.names))
            routing = self._routing(plan, index, action, route, change)
            if routing is None:
                return
            if cursor.end - start > self._max_size:
                self._refuse_too_large(memoryview(cursor.data)[start : cursor.end], plan, action)
            if plan.shape is None or change is None:
                rows = read_rows(cursor, tag, plan.names, plan.kinds, plan.keys)
            else:
                rows = plan.shape.rows(change)
        except DecodeError as error:
            error.context["relation"] = f"{plan.relation.namespace}.{plan.relation.name}"
            raise
        except UnicodeDecodeError:  # it quotes the bytes: not to be chained
            relation = f"{plan.relation.namespace}.{plan.relation.name}"
            raise not_utf8(cursor.data[start : cursor.end], plan.names, plan.kinds, relation=relation) from None
        self._emit(plan, routing, action, rows)

    def _refuse_too_large(self, change: memoryview, plan: Plan, action: str) -> None:
        try:
            check_size(change, plan.names, plan.kinds, plan.keys, limit=self._max_size)
        except ChangeRefused as error:
            self._place(error, plan, action)
            raise

    def _place(self, error: ChangeRefused, plan: Plan, action: str) -> None:
        error.relation = f"{plan.relation.namespace}.{plan.relation.name}"
        error.action = action
        error.commit_lsn, error.ordinal = self._commit_lsn, self._ordinal
