"""What makes the value of a column of kind CALL out of its text, without a call of Python for each."""

from libc.stdint cimport uint8_t

cdef enum:
    MOST_JSON = 192  # bytes that `write` may need


cdef class Conversion:
    cdef object make(self, const uint8_t *p, Py_ssize_t n)
    cdef int write(self, const uint8_t *p, Py_ssize_t n, char *out) except -2
