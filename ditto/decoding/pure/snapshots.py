"""What a snapshot asks of the decoder, in plain Python: the same as `_snapshots.pyx`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from msgspec import UNSET, UnsetType

from ditto.decoding.change import ReadRow, SnapshotMark
from ditto.decoding.column_kinds import JSON
from ditto.decoding.invalid_text import not_utf8
from ditto.decoding.messages import Begun, Block, ChangeRefused, Extras, Moved, RuleFailed
from ditto.decoding.pure.block import Plan, add
from ditto.decoding.pure.cells import UNCHANGED, Cell, read_cells, read_change
from ditto.decoding.pure.column_values import convert, is_json_null
from ditto.decoding.pure.cursor import Cursor
from ditto.decoding.pure.known_relations import DROPPED, KnownRelations
from ditto.decoding.pure.shape import Routing
from ditto.decoding.pure.snapshot_rows import Rows, key_text
from ditto.decoding.size_limit import check_size
from ditto.errors import DecodeError
from ditto.hints import NOT_UTF8_ROW

if TYPE_CHECKING:
    from ditto.decoding.change import Meta
    from ditto.decoding.transaction_snapshot import TxSnapshot
    from ditto.routing.table_descriptions import Description
    from ditto.routing.table_plans import TablePlan

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
READ_ACTION: Final = 4
"""Among the routes and counts."""
RECORDED_OVERHEAD: Final = 128
"""Bytes of Python's objects beside the message itself."""


class SnapshotSupport(KnownRelations):
    """Records the changes of the relation that is being read, and makes changes of the rows that were read."""

    def __init__(self, id_key: bytes, extras: Extras, described: Mapping[bytes, str], max_size: int) -> None:
        super().__init__(id_key, extras, described)
        self._max_size = max_size or sys.maxsize
        self._recorded_oid: int | None = None
        self._key: tuple[int, ...] = ()
        self._key_names: tuple[str, ...] = ()
        self._filter: TxSnapshot | None = None
        self._is_invisible = True  # the open transaction, in the filter
        self._read_plan: tuple[TablePlan, Plan] | None = None
        self.recorded: list[tuple[int, bytes]] = []
        """Xid (32 bits) and message, from its tag on, of each recorded change in the order of the stream."""
        self.recorded_bytes = 0
        """What they take in memory."""
        self.filtered_count = 0
        """Changes and rows that the configuration does not select."""
        self.moved: list[Moved] = []
        """Rows that the chunks may miss: those whose key changed, in changes that do not carry all of their columns."""

    # ------------------------------------------------------------------------------------ recording

    def record(self, oid: int | None, key: tuple[int, ...], names: tuple[str, ...] = ()) -> None:
        """Record the changes of this relation from now on, also skipped and filtered ones; None: stop.

        `key` are the columns of its key, which are part of its replica identity; their `names` find them where the
        stream has other columns than the table has now. Forgets all that was recorded.
        """
        self._recorded_oid, self._key, self._key_names = oid, key, names
        self.recorded, self.recorded_bytes, self.moved = [], 0, []
        self.record_invisible(None)

    def record_invisible(self, snapshot: TxSnapshot | None) -> None:
        """Record only changes that this snapshot does not see, and forget those that it sees; None: record all."""
        self._filter = snapshot
        self._judge_transaction()
        if snapshot is not None:
            unseen = _unseen(self.recorded, snapshot)
            self.recorded = [each for each in self.recorded if each[0] in unseen]
            self.recorded_bytes = sum(len(message) + RECORDED_OVERHEAD for _, message in self.recorded)

    def recorded_invisible_in(self, snapshot: TxSnapshot) -> list[bytes]:
        """The messages among those that are recorded that this snapshot does not see."""
        unseen = _unseen(self.recorded, snapshot)
        return [message for xid, message in self.recorded if xid in unseen]

    def forget_moved(self, moved: Sequence[Moved]) -> None:
        """These have been read."""
        handled = set(moved)
        self.moved = [each for each in self.moved if each not in handled]

    def _judge_transaction(self) -> None:
        self._is_invisible = self._filter is None or not self._filter.sees(self._xid)

    def _record(self, message: bytes, names: Sequence[str]) -> None:
        if self._is_invisible:
            self.recorded.append((self._xid, message))
            self.recorded_bytes += len(message) + RECORDED_OVERHEAD
        is_insert = message[0] == 0x49
        if is_insert or (message[0] == 0x55 and message[5] != 0x4E):  # an Update with an old row or its key
            change = read_change(message, len(names))
            key = find_key(names, self._key, self._key_names)
            new_key = change.new_key(key)
            # An Insert that lacks columns was an Update, which brought the row into a row filter.
            if change.lacks_columns and key and (is_insert or new_key != change.old_key(key)):
                self.moved.append(Moved(self._xid, self._commit_lsn, tuple(key_text(cell) for cell in new_key)))

    # ------------------------------------------------------------------------------------ reading

    def read_block_of(
        self,
        plan: TablePlan,
        rows: Rows,
        start: int,
        stop: int,
        *,
        key: tuple[int, ...],
        run: str,
        commit_lsn: int,
        commit_time: str,
        xid: int,
        first_ordinal: int,
        moved_cursor: list[str] | None,
    ) -> Block:
        """READ changes of the rows from `start` to before `stop`, at the ordinals from `first_ordinal` on.

        Each carries the run and its cursor: the row's columns `key`, or `moved_cursor` where it is one of the moved
        rows; without a key none, and none where events have a column of the key not at all or masked. The table's
        description comes first where the sink has another one. A row that the table's rule drops leaves its ordinal
        free.

        Raises ChangeRefused, and DecodeError with table and column; the decoder is then as it was before.
        """
        route = plan.routes.read
        if route is None:
            raise ValueError("rows of a table that is not selected")
        known = self._plan_for_reading(plan)
        if rows.column_count != len(known.names):
            raise ValueError(f"rows of {rows.column_count} columns where the relation has {len(known.names)}")
        name = f"{known.relation.namespace}.{known.relation.name}"
        has_cursor = bool(key) and not (known.shape is not None and known.shape.hides(key))
        block = Block([], [], [], [])
        for index in range(start, stop):
            data, ordinal = rows.row(index), first_ordinal + index - start
            block.size += len(data)
            try:
                cells = _cells(data, known)
                routing = self._route_row(known, route, cells, commit_lsn, ordinal)
                if routing is None:
                    continue
                if len(data) > self._max_size:
                    self._refuse_row(data, known, commit_lsn, ordinal)
                values, json_null = _values(cells, known) if known.shape is None else known.shape.read_row(cells)
            except DecodeError as error:
                raise DecodeError(f"cannot read a row of {name}: {error.message}", relation=name) from error
            except UnicodeDecodeError:  # it quotes the bytes: not to be chained
                raise row_not_utf8(data, known.names, known.kinds, relation=name) from None
            cursor = rows.key(index, key) if has_cursor else None
            if has_cursor and index >= rows.count - rows.moved_count:
                cursor = moved_cursor
            meta: Meta | UnsetType = UNSET
            if self._metadata:
                meta = self._meta(known, commit_lsn, ordinal, xid, None)
            change = ReadRow(
                self._event_id(commit_lsn, ordinal),
                known.relation.namespace,
                known.relation.name,
                "READ",
                values,
                {},
                commit_time,
                UNSET,
                json_null or UNSET,
                UNSET,
                meta,
                SnapshotMark(run, cursor),
            )
            add(block, change, routing, commit_lsn, ordinal, known.layout)
        known.counts[READ_ACTION] += len(block.changes)
        dropped_count = max(stop - start, 0) - len(block.changes)
        known.counts[DROPPED] += dropped_count
        self.filtered_count += dropped_count
        if not block.changes:
            return block
        self._describe_before(block, known)
        if self._is_open and commit_lsn == self._commit_lsn:
            self._is_selected = True
        if self._has_transactions:
            block.transactions[commit_lsn] = begun_at(xid, commit_time)
        return block

    def _describe_before(self, block: Block, plan: Plan) -> None:
        """The table's description before its rows, unless its route has this version already."""
        description, plan.description = plan.description, None
        if description is not None and self._described.get(description.route) != description.version:
            self._described[description.route] = description.version
            describe_first(block, description)

    def _route_row(
        self, plan: Plan, route: bytes, cells: Sequence[Cell], commit_lsn: int, ordinal: int
    ) -> Routing | None:
        """Where a row goes; None where the rule of its table drops it."""
        if plan.shape is None:
            return route, b"", None
        try:
            return plan.shape.apply("READ", route, cells, None)
        except RuleFailed as error:
            _place(error, plan, commit_lsn, ordinal)
            raise

    def _plan_for_reading(self, plan: TablePlan) -> Plan:
        counts = self._counts_of(plan.relation)
        if self._read_plan is None or self._read_plan[0] is not plan or self._read_plan[1].counts is not counts:
            self._read_plan = plan, Plan(plan, counts)
        return self._read_plan[1]

    def _refuse_row(self, data: bytes, plan: Plan, commit_lsn: int, ordinal: int) -> None:
        try:
            check_size(b"N" + data, plan.names, plan.kinds, plan.keys, limit=self._max_size)
        except ChangeRefused as error:
            _place(error, plan, commit_lsn, ordinal)
            raise


def _place(error: ChangeRefused, plan: Plan, commit_lsn: int, ordinal: int) -> None:
    error.relation = f"{plan.relation.namespace}.{plan.relation.name}"
    error.action = "READ"
    error.commit_lsn, error.ordinal = commit_lsn, ordinal


def describe_first(block: Block, description: Description) -> None:
    """Put a table's description before its rows; both implementations do it so."""
    block.changes.insert(0, description.table)
    block.routes.insert(0, description.route)
    block.commit_lsns.insert(0, block.commit_lsns[0])
    block.ordinals.insert(0, block.ordinals[0] - 1)
    if block.headers is not None:
        block.headers.insert(0, b"")
    if block.keys is not None:
        block.keys.insert(0, None)
    if block.layouts is not None:
        block.layouts.insert(0, None)


def begun_at(xid: int, commit_time: str) -> Begun:
    """The transaction at whose place rows of a snapshot are stored."""
    since = datetime.fromisoformat(commit_time) - EPOCH
    return Begun(xid, since // timedelta(microseconds=1), None)


def find_key(names: Sequence[str], key: tuple[int, ...], key_names: tuple[str, ...]) -> tuple[int, ...]:
    """The key's columns among those of a Relation; none where it lacks one of them, and no row can be found then."""
    if key_names:
        key = tuple(names.index(name) if name in names else -1 for name in key_names)
    return key if all(0 <= column < len(names) for column in key) else ()


def _unseen(recorded: Sequence[tuple[int, bytes]], snapshot: TxSnapshot) -> set[int]:
    """Xids: there are far fewer than changes."""
    return {xid for xid in {xid for xid, _ in recorded} if not snapshot.sees(xid)}


def row_not_utf8(data: bytes, names: Sequence[str], kinds: Sequence[int], *, relation: str) -> DecodeError:
    """What to say of a row whose text is not UTF-8; both implementations say it."""
    found = not_utf8(b"N" + data, names, kinds, relation=relation)
    return DecodeError(f"cannot read a row of {relation}: {found.message}", hint=NOT_UTF8_ROW, **found.context)


def _cells(data: bytes, plan: Plan) -> list[Cell]:
    cursor = Cursor(data)
    cells = read_cells(cursor, len(plan.names))
    cursor.finish()
    return cells


def _values(cells: Sequence[Cell], plan: Plan) -> tuple[dict[str, Any], list[str]]:
    """The row, and the columns that are JSON's null."""
    values: dict[str, Any] = {}
    json_null = []
    for name, kind, cell in zip(plan.names, plan.kinds, cells, strict=True):
        if cell is UNCHANGED:
            raise DecodeError("a row that lacks a value")
        values[name] = None if cell is None else convert(cell, kind)
        if cell is not None and kind == JSON and is_json_null(cell):
            json_null.append(name)
    return values, json_null
