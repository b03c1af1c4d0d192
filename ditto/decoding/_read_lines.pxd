from libc.stdint cimport uint64_t

from ditto.decoding._block cimport BlockBuilder, Plan
from ditto.decoding._cells cimport Cell
from ditto.formats._output cimport Output


cdef class ReadLines:
    cdef Plan plan
    cdef list names      # what comes before each value
    cdef bytes head      # between the id and the first value
    cdef bytes tail      # between the last value and the mark of the snapshot
    cdef bytes mark      # the mark up to the cursor
    cdef Output out
    cdef bytearray data
    cdef list ends
    cdef Py_ssize_t row_count
    cdef int begin(self, str run, str commit_time, Py_ssize_t row_count) except -1
    cdef int add(
        self, BlockBuilder builder, const Cell *cells, tuple key, list cursor, uint64_t commit_lsn, uint64_t ordinal
    ) except -1
    cdef int add_value(self, const Cell *cell, int kind) except -1
    cdef bint add_timestamp(self, const Cell *cell, int kind) except -1
    cdef int add_cursor(self, const Cell *cells, tuple key, list cursor) except -1
    cdef int close(self) except -1


cdef list find_json_nulls(const Cell *cells, Plan plan)
