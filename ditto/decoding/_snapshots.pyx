# cython: language_level=3
"""What a snapshot asks of the decoder, compiled: recording, and READ changes. Same results as `pure/snapshots.py`."""

cimport cython
from cpython.dict cimport PyDict_Copy, PyDict_SetItem
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t

import sys

from ditto.decoding._block cimport BlockBuilder, Plan, TableCount, place
from ditto.decoding._cells cimport CELL_TEXT, Cell, ChangedRow, key_cell, key_of, key_text
from ditto.decoding._column_values cimport convert_value
from ditto.decoding._cursor cimport Cursor
from ditto.decoding._read_lines cimport ReadLines, find_json_nulls
from ditto.decoding._scalar_values cimport is_json_null
from ditto.decoding._snapshot_rows cimport Rows

from msgspec import UNSET

from ditto.decoding.change import ReadRow, SnapshotMark
from ditto.decoding.column_kinds import JSON
from ditto.decoding.messages import Block, ChangeRefused, Moved, RuleFailed
from ditto.decoding.pure.snapshots import RECORDED_OVERHEAD, begun_at, describe_first, find_key, row_not_utf8
from ditto.decoding.size_limit import check_size
from ditto.decoding.written_rows import WrittenRows

cdef enum:
    INSERT = 0x49
    UPDATE = 0x55
    NEW_ROW = 0x4E

cdef enum:
    MESSAGE_HEAD = 5  # tag and OID
    READ_ACTION = 4   # among the routes and counts
    MOST_KEPT = 1 << 15

cdef str A_READ = "READ"
cdef object unset = UNSET
cdef object make_read = ReadRow
cdef object make_mark = SnapshotMark
# Of every change: nobody changes it.
cdef dict nothing = {}
cdef uint8_t json_kind = JSON
cdef Py_ssize_t OVERHEAD = RECORDED_OVERHEAD


cdef class SnapshotSupport(BlockBuilder):
    """Records the changes of the relation that is being read, and makes changes of the rows that were read."""

    def __init__(self, bytes id_key not None, extras, described, Py_ssize_t max_size):
        super().__init__(id_key, extras, described)
        self.table_counts = {}
        self.max_size = max_size or sys.maxsize
        self.recorded_oid = -1
        self.key = ()
        self.key_names = ()
        self.is_invisible = True
        self.recorded = []
        self.moved = []
        self.kept_ordinals = []

    # ------------------------------------------------------------------------------------ recording

    def record(self, oid, tuple key not None, tuple names not None=()):
        """Record the changes of this relation from now on, also skipped and filtered ones; None: stop.

        `key` are the columns of its key, which are part of its replica identity; their `names` find them where the
        stream has other columns than the table has now. Forgets all that was recorded.
        """
        self.recorded_oid = -1 if oid is None else oid
        self.key = key
        self.key_names = names
        self.keyed_plan = None
        self.recorded = []
        self.recorded_bytes = 0
        self.moved = []
        self.record_invisible(None)

    def record_invisible(self, snapshot):
        """Record only changes that this snapshot does not see, and forget those that it sees; None: record all."""
        self.filter = snapshot
        self.judge_transaction()
        if snapshot is not None:
            unseen = find_unseen(self.recorded, snapshot)
            self.recorded = [each for each in self.recorded if each[0] in unseen]
            self.recorded_bytes = 0
            for _, message in self.recorded:
                self.recorded_bytes += len(message) + OVERHEAD

    def recorded_invisible_in(self, snapshot):
        """The messages among those that are recorded that this snapshot does not see."""
        unseen = find_unseen(self.recorded, snapshot)
        return [message for xid, message in self.recorded if xid in unseen]

    def forget_moved(self, moved):
        """These have been read."""
        handled = set(moved)
        self.moved = [each for each in self.moved if each not in handled]

    cdef int judge_transaction(self) except -1:
        self.is_invisible = self.filter is None or not self.filter.sees(self.xid)
        return 0

    cdef int record_change(self, Cursor *c, Plan plan) except -1:
        """The message, of which tag and OID have been read."""
        cdef const uint8_t *start = c.pos - MESSAGE_HEAD
        cdef Py_ssize_t n = c.end - start
        cdef ChangedRow changed
        if self.is_invisible:
            self.recorded.append((self.xid, (<const char *>start)[:n]))
            self.recorded_bytes += n + OVERHEAD
        if start[0] != INSERT and (start[0] != UPDATE or c.pos == c.end or c.pos[0] == NEW_ROW):
            return 0
        if self.changed is None or self.changed.count != plan.count:
            self.changed = ChangedRow(plan.count)
        changed = self.changed
        changed.read(start, n)
        if not changed.lacks_columns():
            return 0
        if self.keyed_plan is not plan:
            self.plan_key = find_key(plan.names, self.key, self.key_names)
            self.keyed_plan = plan
        columns = self.plan_key
        # An Insert that lacks columns was an Update, which brought the row into a row filter.
        if columns and (
            start[0] == INSERT
            or key_of(changed.before, columns, plan.count) != key_of(changed.after, columns, plan.count)
        ):
            key = tuple([key_text(key_cell(changed.after, column, plan.count)) for column in columns])
            self.moved.append(Moved(self.xid, self.commit_lsn, key))
        return 0

    # ------------------------------------------------------------------------------------ reading

    def read_block_of(
        self,
        plan,
        Rows rows not None,
        Py_ssize_t start,
        Py_ssize_t stop,
        *,
        tuple key not None,
        str run not None,
        uint64_t commit_lsn,
        str commit_time not None,
        int64_t xid,
        uint64_t first_ordinal,
        moved_cursor,
    ):
        """READ changes of the rows from `start` to before `stop`, at the ordinals from `first_ordinal` on.

        Each carries the run and its cursor: the row's columns `key`, or `moved_cursor` where it is one of the moved
        rows; without a key none, and none where events have a column of the key not at all or masked. The table's
        description comes first where the sink has another one. A row that the table's rule drops leaves its ordinal
        free.

        Raises ChangeRefused, and DecodeError with table and column; the decoder is then as it was before.
        """
        cdef Plan known
        cdef Reading reading
        cdef ReadLines lines = None
        cdef list changes = []
        cdef list ordinals
        cdef list routings = None
        cdef bint has_cursor
        cdef bint is_moved
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t first_moved = rows.span_count - rows.moved_count
        cdef Py_ssize_t index
        cdef uint64_t ordinal = first_ordinal
        route = plan.routes.read
        if route is None:
            raise ValueError("rows of a table that is not selected")
        known = self.plan_for_reading(plan)
        if known.count != rows.column_count:
            raise ValueError(f"rows of {rows.column_count} columns where the relation has {known.count}")
        has_cursor = bool(key)
        if known.shape is not None:
            routings = [] if known.shape.apply is not None else None
            has_cursor = has_cursor and not known.shape.hides(key)
        if start < stop:
            rows.check_index(start)
            rows.check_index(stop - 1)
            lines = self.open_lines(known, run, commit_time, stop - start)
        ordinals = self.ordinals_from(first_ordinal, max(stop - start, 0)) if routings is None else []
        reading = Reading(self, rows, known, run, commit_time)
        reading.start, reading.first_moved = start, first_moved
        reading.commit_lsn, reading.first_ordinal, reading.xid = commit_lsn, first_ordinal, xid
        reading.key, reading.moved_cursor = (key, moved_cursor) if has_cursor else (None, None)
        for index in range(start, stop):
            ordinal = first_ordinal + <uint64_t>(index - start)
            size += rows.spans[index].size
            rows.read_row(index)
            try:
                if routings is not None:
                    routing = self.route_row(rows, known, commit_lsn, ordinal)
                    if routing is None:
                        continue
                    routings.append(routing)
                    PyList_Append(ordinals, ordinal)
                if rows.spans[index].size > self.max_size:
                    self.refuse_row(rows.row(index), known, commit_lsn, ordinal)
                if lines is None:
                    PyList_Append(changes, reading.make(index))
                else:
                    is_moved = index >= first_moved
                    lines.add(
                        self,
                        rows.cells,
                        None if is_moved else reading.key,
                        reading.moved_cursor if is_moved else None,
                        commit_lsn,
                        ordinal,
                    )
            except UnicodeDecodeError:  # it quotes the bytes: not to be chained
                name, kinds = f"{known.namespace}.{known.name}", known.kinds[:known.count]
                raise row_not_utf8(rows.row(index), known.names, kinds, relation=name) from None
        count = len(ordinals)
        if lines is not None:
            lines.close()
        made = changes if lines is None else WrittenRows(lines.data, lines.ends, reading)
        block = Block(made, [route] * count, [commit_lsn] * count, ordinals, size)
        if routings is not None:
            self.add_routings(block, routings, known, stop - start)
        if known.layout is not None:
            block.layouts = [known.layout] * count
        known.count_of.passed[READ_ACTION] += <uint64_t>count
        if not count:
            return block
        description, known.description = known.description, None
        if description is not None and self.described.get(description.route) != description.version:
            self.described[description.route] = description.version
            block.changes = list(block.changes)
            describe_first(block, description)
        if self.is_open and commit_lsn == self.commit_lsn:
            self.is_selected = True
        if self.has_transactions:
            block.transactions = {commit_lsn: begun_at(xid, commit_time)}
        return block

    cdef list ordinals_from(self, uint64_t first, Py_ssize_t count):
        """So many, one after the other. Each chunk begins at 1: numbers that are kept cost less than new ones."""
        cdef Py_ssize_t stop
        if first == 0 or first + <uint64_t>count > MOST_KEPT:
            return list(range(first, first + <uint64_t>count))
        stop = <Py_ssize_t>first - 1 + count
        if len(self.kept_ordinals) < stop:
            self.kept_ordinals.extend(range(len(self.kept_ordinals) + 1, stop + 1))
        return self.kept_ordinals[first - 1:stop]

    cdef ReadLines open_lines(self, Plan plan, str run, str commit_time, Py_ssize_t row_count):
        """What writes these rows as Ditto's own events; None where that takes more than their values."""
        if plan.shape is not None or plan.layout is not None or self.has_meta:
            return None
        if self.read_lines is None or self.read_lines.plan is not plan:
            self.read_lines = ReadLines(plan)
        self.read_lines.begin(run, commit_time, row_count)
        return self.read_lines

    cdef object route_row(self, Rows rows, Plan plan, uint64_t lsn, uint64_t ordinal):
        """Where the row in `rows.cells` goes; None where the rule of its table drops it."""
        try:
            return plan.shape.route_rows(A_READ, rows.cells, NULL)
        except RuleFailed as error:
            place(error, plan, A_READ, lsn, ordinal)
            raise

    cdef int add_routings(self, object block, list routings, Plan plan, Py_ssize_t row_count) except -1:
        """What the rule says of the block's rows, of which it has dropped the others."""
        cdef uint64_t dropped = <uint64_t>(row_count - len(routings))
        plan.count_of.dropped += dropped
        self.filtered_count += dropped
        block.routes = [routing[0] for routing in routings]
        headers = [routing[1] for routing in routings]
        keys = [routing[2] for routing in routings]
        block.headers = headers if any(headers) else None
        block.keys = keys if any([key is not None for key in keys]) else None
        return 0

    cdef Plan plan_for_reading(self, object plan):
        relation = plan.relation
        cdef TableCount count_of = self.table_counts.setdefault((relation.namespace, relation.name), TableCount())
        if self.read_table_plan is not plan or self.read_plan.count_of is not count_of:
            self.read_plan = Plan(plan, count_of)
            self.read_table_plan = plan
        return self.read_plan

    cdef int refuse_row(self, bytes row, Plan plan, uint64_t commit_lsn, uint64_t ordinal) except -1:
        kinds, keys = plan.kinds[:plan.count], plan.is_key[:plan.count]
        try:
            check_size(b"N" + row, plan.names, kinds, keys, limit=self.max_size)
        except ChangeRefused as error:
            place(error, plan, A_READ, commit_lsn, ordinal)
            raise
        return 0


@cython.final
cdef class Reading:
    """Makes the changes of one block's rows. Called with the index of a row in the block."""

    cdef SnapshotSupport decoder
    cdef Rows rows
    cdef Plan plan
    cdef str run
    cdef str commit_time
    cdef Py_ssize_t start
    cdef Py_ssize_t first_moved
    cdef uint64_t commit_lsn
    cdef uint64_t first_ordinal
    cdef int64_t xid
    cdef tuple key  # None: no row has a cursor
    cdef list moved_cursor

    def __cinit__(self, SnapshotSupport decoder, Rows rows, Plan plan, str run, str commit_time):
        self.decoder, self.rows, self.plan, self.run, self.commit_time = decoder, rows, plan, run, commit_time

    def __call__(self, Py_ssize_t index):
        index += self.start
        self.rows.check_index(index)
        self.rows.read_row(index)
        return self.make(index)

    cdef object make(self, Py_ssize_t index):
        """Of the row that was read into the cells of `rows`."""
        cdef Plan plan = self.plan
        cdef const Cell *cells = self.rows.cells
        cdef uint64_t ordinal = self.first_ordinal + <uint64_t>(index - self.start)
        cdef bint has_json_null = False
        cdef dict values
        if plan.shape is None:
            values = convert_row(cells, plan, &has_json_null)
        else:
            values = plan.shape.read_row(cells, &has_json_null)
        cursor = None
        if self.key is not None:
            cursor = self.moved_cursor if index >= self.first_moved else key_texts(cells, self.key, plan.count)
        return make_read(
            self.decoder.event_id(self.commit_lsn, ordinal),
            plan.namespace,
            plan.name,
            A_READ,
            values,
            nothing,
            self.commit_time,
            unset,
            find_json_nulls(cells, plan) if has_json_null else unset,
            unset,
            self.decoder.make_meta(plan, self.commit_lsn, ordinal, self.xid, None) if self.decoder.has_meta else unset,
            make_mark(self.run, cursor),
        )


cdef list key_texts(const Cell *cells, tuple key, int count):
    return [key_text(key_cell(cells, column, count)) for column in key]


cdef dict convert_row(const Cell *cells, Plan plan, bint *has_json_null):
    cdef dict values = PyDict_Copy(plan.blank)
    cdef const Cell *cell
    cdef int i
    for i in range(plan.count):
        cell = &cells[i]
        if cell.mark == CELL_TEXT:
            PyDict_SetItem(
                values, <str>PyList_GET_ITEM(plan.names, i), convert_value(cell.data, cell.size, plan.kinds[i])
            )
            if plan.kinds[i] == json_kind and is_json_null(cell.data, cell.size):
                has_json_null[0] = True
    return values


cdef set find_unseen(list recorded, snapshot):
    """Xids: there are far fewer than changes."""
    return {xid for xid in {xid for xid, _ in recorded} if not snapshot.sees(xid)}
