# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Debezium's values, compiled: what `debezium.numbers` and `debezium.times` make of texts as they usually are.

Each reading gives up where a text is anything else, and the function in Python, which has to be given with it, makes
the value: so there is one place for what is rare.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memchr, memcpy

from ditto.decoding._column_values cimport convert_array
from ditto.decoding._conversion cimport MOST_JSON, Conversion
from ditto.decoding._scalar_values cimport check_utf8, convert_scalar
from ditto.formats._debezium_numbers cimport MOST_DIGITS, to_bits, to_decimal, to_money, to_variable_decimal
from ditto.formats._debezium_times cimport (
    to_days, to_interval_us, to_time_ms, to_time_us, to_timestamp_ms, to_timestamp_us, to_zoned_time, to_zoned_timestamp
)
from ditto.formats._texts cimport put_json

from msgspec import Raw


cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **bytes_object, Py_ssize_t size) except -1
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object o)

cdef enum:
    KIND_TEXT = 0
    LONG_JSON = 256        # from here on a document is written as JSON's text at once: a copy less
    PIECE = 512            # bytes of it for which there is room at a time

cdef object make_raw = Raw

ctypedef int (*ToText)(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept
ctypedef bint (*ToNumber)(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept


cdef object json_string(const uint8_t *p, Py_ssize_t n):
    """The text as JSON."""
    cdef PyObject *made = NULL
    cdef Py_ssize_t used = 1
    cdef Py_ssize_t size
    cdef char *out
    check_utf8(p, n)
    try:
        made = new_bytes(NULL, n + n // 8 + 6 * PIECE + 16)
        while n:
            size = n if n < PIECE else PIECE
            if PyBytes_GET_SIZE(<object>made) - used < 6 * size + 16:
                _PyBytes_Resize(&made, (used + n + 6 * PIECE) // 2 * 3)
            out = PyBytes_AS_STRING(<object>made)
            used = put_json(out + used, <const char *>p, size) - out
            p += size
            n -= size
        out = PyBytes_AS_STRING(<object>made)
        out[0] = out[used] = 0x22
        _PyBytes_Resize(&made, used + 1)
        return make_raw(<object>made)
    finally:
        Py_XDECREF(made)


@cython.final
cdef class Value(Conversion):
    """A scalar. `name` says how a text is read as it usually is, `function` makes the value of every other one."""

    cdef ToText to_text
    cdef ToNumber to_number
    cdef int parameter
    cdef object function

    def __cinit__(self, str name not None, function, int parameter=0):
        self.to_text = NULL
        self.to_number = NULL
        self.function = function
        self.parameter = parameter
        if name == "decimal":
            if 0 <= parameter <= MOST_DIGITS:
                self.to_text = to_decimal
        elif name == "variable_decimal":
            self.to_text = to_variable_decimal
        elif name == "money":
            self.to_text = to_money
        elif name == "bits":
            self.to_text = to_bits
        elif name == "days":
            self.to_number = to_days
        elif name == "timestamp_us":
            self.to_number = to_timestamp_us
        elif name == "timestamp_ms":
            self.to_number = to_timestamp_ms
        elif name == "time_us":
            self.to_number = to_time_us
        elif name == "time_ms":
            self.to_number = to_time_ms
        elif name == "interval_us":
            self.to_number = to_interval_us
        elif name == "zoned_timestamp":
            if not 0 <= parameter <= 6:
                raise ValueError(f"no number of digits: {parameter}")
            self.to_text = to_zoned_timestamp
        elif name == "zoned_time":
            self.to_text = to_zoned_time
        elif name:
            raise ValueError(f"no reading has the name {name}")

    cdef object make(self, const uint8_t *p, Py_ssize_t n):
        cdef char[MOST_JSON] out
        cdef int64_t number = 0
        cdef int size
        if self.to_number != NULL and self.to_number(p, n, &number):
            return number
        if self.to_text != NULL:
            size = self.to_text(p, n, self.parameter, out)
            if size > 0 and out[0] == 0x22:
                text = PyUnicode_New(size - 2, 0x7F if size > 2 else 0)
                memcpy(PyUnicode_DATA(text), out + 1, <size_t>size - 2)
                return text
            if size > 0:
                return make_raw(PyBytes_FromStringAndSize(out, size))
        return self.function(convert_scalar(p, n, KIND_TEXT))

    cdef int write(self, const uint8_t *p, Py_ssize_t n, char *out) except -2:
        return -1 if self.to_text == NULL else self.to_text(p, n, self.parameter, out)


@cython.final
cdef class Document(Conversion):
    """A document of type json or jsonb, as a text; a long one is written as JSON at once."""

    cdef object make(self, const uint8_t *p, Py_ssize_t n):
        return convert_scalar(p, n, KIND_TEXT) if n < LONG_JSON else json_string(p, n)


@cython.final
cdef class Array(Conversion):
    """An array as JSON, of one dimension; others are None. `kind` is an array's, `element` None or what reads each."""

    cdef int kind
    cdef Conversion element

    def __cinit__(self, int kind, Conversion element):
        self.kind = kind
        self.element = element

    cdef object make(self, const uint8_t *p, Py_ssize_t n):
        cdef const uint8_t *start
        check_utf8(p, n)
        if n and p[0] == 0x5B:  # bounds of its own
            start = <const uint8_t *>memchr(p, 0x3D, <size_t>n)
            if start == NULL:
                return None
            n -= start + 1 - p
            p = start + 1
        if n > 1 and p[1] == 0x7B:
            return None
        found = convert_array(p, n, self.kind, self.element)
        return found if type(found) is Raw else None
