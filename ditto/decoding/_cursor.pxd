# cython: language_level=3
"""The cursor through which everything reads: one pointer, one check, one error. Nothing else moves the pointer."""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr


cdef struct Cursor:
    const uint8_t *pos
    const uint8_t *end


cdef inline int fail(str message) except -1:
    from ditto.errors import DecodeError  # a .pxd has no globals; this runs once, at the end
    raise DecodeError(message)


# In C for its attributes, which Cython has no words for: with it inside, `take` was too large for the compiler to
# expand in place, and every byte cost a call.
cdef extern from *:
    """
    static __attribute__((noinline, cold, unused)) int ditto_fail_short(Py_ssize_t wanted, Py_ssize_t left) {
        PyObject *errors = PyImport_ImportModule("ditto.errors");
        PyObject *type = errors == NULL ? NULL : PyObject_GetAttrString(errors, "DecodeError");
        if (type != NULL)
            PyErr_Format(type, "need %zd bytes, %zd left", wanted, left);
        Py_XDECREF(type);
        Py_XDECREF(errors);
        return -1;
    }
    """
    int fail_short "ditto_fail_short"(Py_ssize_t wanted, Py_ssize_t left) except -1


cdef inline const uint8_t *take(Cursor *c, Py_ssize_t n) except NULL:
    cdef const uint8_t *start = c.pos
    if n < 0 or n > c.end - c.pos:
        fail_short(n, c.end - c.pos)
    c.pos += n
    return start


cdef inline int take_u8(Cursor *c) except -1:
    return take(c, 1)[0]


cdef inline int take_u16(Cursor *c) except -1:
    cdef const uint8_t *p = take(c, 2)
    return p[0] << 8 | p[1]


cdef inline int64_t take_u32(Cursor *c) except -1:
    cdef const uint8_t *p = take(c, 4)
    return <int64_t>(<uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | <uint32_t>p[3])


cdef inline int32_t take_i32(Cursor *c) except? -1:
    return <int32_t><uint32_t>take_u32(c)


cdef inline uint64_t take_u64(Cursor *c) except? 0xFFFFFFFFFFFFFFFF:
    cdef const uint8_t *p = take(c, 8)
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = value << 8 | p[i]
    return value


cdef inline str take_string(Cursor *c):
    cdef const uint8_t *stop = <const uint8_t *>memchr(c.pos, 0, <size_t>(c.end - c.pos))
    if stop == NULL:
        fail("a string has no end")
    cdef Py_ssize_t n = stop - c.pos
    cdef const uint8_t *start = take(c, n + 1)
    return PyUnicode_DecodeUTF8(<const char *>start, n, NULL)


cdef inline int finish(Cursor *c) except -1:
    if c.pos != c.end:
        fail(f"{c.end - c.pos} bytes too many")
    return 0
