from libc.stdint cimport uint8_t

from ditto.decoding._cells cimport Cell, ChangedRow


# Where a row is in the buffer.
cdef struct Span:
    Py_ssize_t start
    Py_ssize_t size  # less than 0 where the row is left out


cdef class Rows:
    cdef int column_count
    cdef uint8_t *buffer
    cdef Py_ssize_t used
    cdef Py_ssize_t room
    cdef Span *spans
    cdef Py_ssize_t span_count
    cdef Py_ssize_t span_room
    cdef Cell *cells  # of one row
    cdef readonly Py_ssize_t size
    cdef public Py_ssize_t moved_count
    cdef readonly bint is_drained
    cdef int check_index(self, Py_ssize_t index) except -1
    cdef int read_row(self, Py_ssize_t index) except -1
    cdef int reserve(self, Py_ssize_t n) except -1
    cdef int add_row(self, Py_ssize_t n) except -1
    cdef int add_line(self, const uint8_t *p, Py_ssize_t n) except -1
    cdef int merge(self, Py_ssize_t index, ChangedRow change) except -1
    cdef int compact(self) except -1
    cdef int drop_left_out(self) noexcept
