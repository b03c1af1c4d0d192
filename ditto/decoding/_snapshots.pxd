from libc.stdint cimport int64_t, uint64_t

from ditto.decoding._block cimport BlockBuilder, Plan
from ditto.decoding._cells cimport ChangedRow
from ditto.decoding._cursor cimport Cursor
from ditto.decoding._read_lines cimport ReadLines
from ditto.decoding._snapshot_rows cimport Rows


cdef class SnapshotSupport(BlockBuilder):
    cdef dict table_counts
    cdef Py_ssize_t max_size
    cdef int64_t recorded_oid  # -1: none
    cdef tuple key
    cdef tuple key_names
    cdef Plan keyed_plan  # the one that `plan_key` belongs to
    cdef tuple plan_key
    cdef object filter
    cdef bint is_invisible  # the open transaction, in the filter
    cdef object read_table_plan
    cdef Plan read_plan
    cdef ReadLines read_lines  # those of `read_plan`, where its rows need no more than their bytes
    cdef list kept_ordinals
    cdef ChangedRow changed
    cdef readonly list recorded
    cdef readonly Py_ssize_t recorded_bytes
    cdef readonly list moved
    cdef readonly uint64_t filtered_count
    cdef int judge_transaction(self) except -1
    cdef int record_change(self, Cursor *c, Plan plan) except -1
    cdef Plan plan_for_reading(self, object plan)
    cdef ReadLines open_lines(self, Plan plan, str run, str commit_time, Py_ssize_t row_count)
    cdef list ordinals_from(self, uint64_t first, Py_ssize_t count)
    cdef object route_row(self, Rows rows, Plan plan, uint64_t lsn, uint64_t ordinal)
    cdef int add_routings(self, object block, list routings, Plan plan, Py_ssize_t row_count) except -1
    cdef int refuse_row(self, bytes row, Plan plan, uint64_t commit_lsn, uint64_t ordinal) except -1
