# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Values that MessagePack has and JSON has not, compiled: the same as `formats.msgpack` makes in plain Python."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from ditto.decoding._column_values cimport pack_array
from ditto.decoding._conversion cimport Conversion
from ditto.decoding._scalar_values cimport check_utf8, convert_scalar, is_number


cdef extern from "Python.h":
    double PyOS_string_to_double(const char *text, char **end, PyObject *overflow) except? -1.0

cdef enum:
    KIND_TEXT = 0
    MOST_NUMBER = 64


@cython.final
cdef class Float(Conversion):
    """A float; `function` makes the value of a text that is no number in JSON."""

    cdef object function

    def __cinit__(self, function):
        self.function = function

    cdef object make(self, const uint8_t *p, Py_ssize_t n):
        cdef char[MOST_NUMBER + 1] text
        if n > MOST_NUMBER or not is_number(p, n):
            return self.function(convert_scalar(p, n, KIND_TEXT))
        memcpy(text, p, <size_t>n)
        text[n] = 0
        return PyOS_string_to_double(text, NULL, NULL)


@cython.final
cdef class Array(Conversion):
    """An array, encoded already. `kind` is an array's; `read`, or None, makes the value of each element's text."""

    cdef int kind
    cdef object read

    def __cinit__(self, int kind, read):
        self.kind = kind
        self.read = read

    cdef object make(self, const uint8_t *p, Py_ssize_t n):
        check_utf8(p, n)
        return pack_array(p, n, self.kind, self.read)
