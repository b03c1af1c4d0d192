# cython: language_level=3
"""Bytes that grow, with more room than is used: what is compiled and makes payloads writes into them."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    /* The digits of a number, two at a time, up to before `end`; returns where they begin. */
    static inline char *ditto_write_decimal(char *end, unsigned long long value) {
        static const char pairs[] =
            "00010203040506070809101112131415161718192021222324"
            "25262728293031323334353637383940414243444546474849"
            "50515253545556575859606162636465666768697071727374"
            "75767778798081828384858687888990919293949596979899";
        for (; value >= 100; value /= 100) {
            end -= 2;
            memcpy(end, pairs + 2 * (value % 100), 2);
        }
        if (value >= 10) {
            end -= 2;
            memcpy(end, pairs + 2 * value, 2);
        } else {
            *--end = (char)('0' + value);
        }
        return end;
    }
    """
    char *write_decimal "ditto_write_decimal"(char *end, unsigned long long value) noexcept


cdef enum:
    MOST_DIGITS = 20
    FIRST_ROOM = 1024


cdef struct Output:
    PyObject *data  # a bytearray that the function which writes holds
    char *start
    Py_ssize_t used
    Py_ssize_t room


cdef inline bytearray open_output(Output *out, Py_ssize_t room):
    """Begin; the caller keeps what is returned until `close_output`."""
    cdef bytearray data = PyByteArray_FromStringAndSize(NULL, room)
    out.data = <PyObject *>data
    out.start = PyByteArray_AS_STRING(data)
    out.used = 0
    out.room = room
    return data


cdef inline int close_output(Output *out) except -1:
    PyByteArray_Resize(<object>out.data, out.used)
    return 0


cdef inline int expect(Output *out, Py_ssize_t count) except -1:
    """After the first of `count` messages: the others are about as large.

    Memory that is asked for and not used costs more than growing: what is given back has to be mapped again next time.
    """
    return reserve(out, (count - 1) * (out.used + out.used // 16))


cdef inline int grow(Output *out, Py_ssize_t n) except -1:
    out.room = (out.used + n) // 2 * 3 + 16
    PyByteArray_Resize(<object>out.data, out.room)
    out.start = PyByteArray_AS_STRING(<object>out.data)
    return 0


cdef inline int reserve(Output *out, Py_ssize_t n) except -1:
    if out.room - out.used < n:
        grow(out, n)
    return 0


cdef inline void put(Output *out, const char *data, Py_ssize_t n) noexcept:
    """Where there is room; `put_bytes` and `put_decimal` too."""
    memcpy(out.start + out.used, data, <size_t>n)
    out.used += n


cdef inline void put_bytes(Output *out, bytes data) noexcept:
    put(out, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef inline int add_bytes(Output *out, bytes data) except -1:
    reserve(out, PyBytes_GET_SIZE(data))
    put_bytes(out, data)
    return 0


cdef inline int add_buffer(Output *out, object data) except -1:
    """Of any object that is one, such as msgspec's Raw."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        reserve(out, view.len)
        put(out, <const char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return 0


cdef inline void put_decimal(Output *out, uint64_t value) noexcept:
    """MOST_DIGITS at most."""
    cdef char[MOST_DIGITS] digits
    cdef char *first = write_decimal(digits + MOST_DIGITS, value)
    put(out, first, digits + MOST_DIGITS - first)
