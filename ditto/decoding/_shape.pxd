from libc.stdint cimport uint8_t

from ditto.decoding._cells cimport Cell
from ditto.decoding._cursor cimport Cursor
from ditto.decoding._row_rules cimport RowRule


cdef class Shape:
    cdef int count
    cdef list names
    cdef dict blank  # the columns of events, null
    cdef uint8_t *kinds       # one a column
    cdef uint8_t *text_kinds  # one a column, for what rules and functions get
    cdef uint8_t *is_key      # one a column
    cdef tuple functions
    cdef object apply  # None without a rule
    cdef RowRule row_rule  # None without one
    cdef bint skips_unchanged
    cdef int *columns  # those that the rule reads
    cdef int column_count
    # the change that was read last
    cdef bint has_new
    cdef bint has_old
    cdef bint is_old_whole
    cdef Cell *before  # what was not sent of the old row is UNCHANGED
    cdef Cell *after   # with what only the old row has
    cdef int read_change(self, Cursor *c, int tag) except -1
    cdef int complete(self) noexcept
    cdef object route_change(self, str action)
    cdef object route_rows(self, str action, const Cell *new, const Cell *old)
    cdef bint is_same(self) noexcept
    cdef list texts(self, const Cell *cells)
    cdef object text(self, const Cell *cell, int column)
    cdef object value(self, const Cell *cell, int column)
    cdef dict old_row(self, bint *has_json_null)
    cdef object fill_new_row(self, dict row, dict old, bint *has_json_null)
    cdef dict read_row(self, const Cell *cells, bint *has_json_null)
    cdef bint hides(self, tuple columns) except -1
