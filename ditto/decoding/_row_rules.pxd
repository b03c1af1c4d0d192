from libc.stdint cimport uint8_t

from ditto.decoding._cells cimport Cell
from ditto.decoding._row_tests cimport RowTest


cdef struct Slot:
    int column
    Py_ssize_t longest
    const uint8_t *allowed  # 128 of them


cdef class Template:
    cdef tuple kept
    cdef dict literals
    cdef Slot *slots
    cdef Py_ssize_t count
    cdef object made_of(self, str action, const Cell *cells)


cdef class RowRule:
    cdef tuple columns
    cdef RowTest test
    cdef Template route
    cdef Template headers
    cdef Template key
    cdef object routed_of(self, str action, const Cell *new, const Cell *old)
