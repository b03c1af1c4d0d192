"""The columns of a row as they are sent, not converted."""

from libc.stdint cimport uint8_t

from ditto.decoding._cursor cimport Cursor

cdef enum:
    CELL_TEXT = 0x74       # t
    CELL_NULL = 0x6E       # n
    CELL_UNCHANGED = 0x75  # u


# A column's value where it was sent; the data belong to the message or the row.
cdef struct Cell:
    int mark
    Py_ssize_t size
    const uint8_t *data


cdef class ChangedRow:
    cdef int count
    cdef bint is_delete
    cdef Cell *before  # the old row, or its key with nulls beside it; of an Insert, or where none was sent, the new one
    cdef Cell *after   # the row after the change, with what only the old row has; not for a Delete
    cdef int read(self, const uint8_t *data, Py_ssize_t n) except -1
    cdef int complete(self, bint is_old_whole) noexcept
    cdef bint lacks_columns(self) noexcept


cdef int read_cells(Cursor *c, Cell *cells, int count) except -1
cdef bytes key_of(const Cell *cells, tuple columns, int count)
cdef str key_text(const Cell *cell)
cdef const Cell *key_cell(const Cell *cells, object column, int count) except NULL
