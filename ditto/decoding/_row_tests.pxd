"""Tests of rows on the wire, before any value is converted: what a condition of a table comes to.

Each is true, false, or not known: what is unusual, null where there has to be a value, what was not sent. Then the
condition's function in Python says what it is, or which error.
"""

from libc.stdint cimport uint8_t

from ditto.decoding._cells cimport Cell

cdef enum:
    IS_FALSE = 0
    IS_TRUE = 1
    IS_UNKNOWN = 2


cdef enum:
    OF_NEW
    OF_OLD
    OF_EITHER  # the new row, but of a DELETE the old one


cdef int row_of(str name) except -1


cdef inline const Cell *cell_of(int row, int column, const Cell *new, const Cell *old) noexcept:
    """NULL where there is no such row."""
    cdef const Cell *cells = old if row == OF_OLD or (row == OF_EITHER and new == NULL) else new
    return NULL if cells == NULL else &cells[column]


cdef Cell *cells_of(texts, list kept) except? NULL


cdef class RowTest:
    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1


cdef class ColumnTest(RowTest):
    cdef int row
    cdef int column
    cdef int of_null
    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1
