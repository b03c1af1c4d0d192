# cython: language_level=3
"""Rows with the envelope of Debezium's events around them, compiled: the same as `debezium.envelopes.pure_wrap`."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Size
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy

from msgspec import UNSET

cdef enum:
    MOST_DIGITS = 20

cdef object unset = UNSET


cdef class Lines:
    """Lines of a buffer, one after the other."""
    cdef const char *pos
    cdef const char *end
    cdef const char *line
    cdef Py_ssize_t size

    cdef int open(self, bytes data) except -1:
        self.pos = PyBytes_AS_STRING(data)
        self.end = self.pos + PyBytes_GET_SIZE(data)
        return 0

    cdef int next(self) except -1:
        cdef const char *found = NULL
        if self.pos != self.end:
            found = <const char *>memchr(self.pos, 0x0A, <size_t>(self.end - self.pos))
        if found == NULL:
            raise ValueError("fewer rows than changes")
        self.line = self.pos
        self.size = found - self.pos
        self.pos = found + 1
        return 0


cdef class Buffer:
    """Bytes that grow, with more room than is used."""
    cdef bytearray data
    cdef char *start
    cdef Py_ssize_t used
    cdef Py_ssize_t room

    cdef int reserve(self, Py_ssize_t n) except -1:
        if self.room - self.used < n:
            self.room = (self.used + n) // 2 * 3
            PyByteArray_Resize(self.data, self.room)
            self.start = PyByteArray_AS_STRING(self.data)
        return 0

    cdef inline void put(self, const char *data, Py_ssize_t n) noexcept:
        memcpy(self.start + self.used, data, <size_t>n)
        self.used += n

    cdef inline void put_bytes(self, bytes data) noexcept:
        self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef void put_number(self, uint64_t value) noexcept:
        cdef char[MOST_DIGITS] digits
        cdef int at = MOST_DIGITS
        while True:
            at -= 1
            digits[at] = <char>(0x30 + value % 10)
            value //= 10
            if value == 0:
                break
        self.put(digits + at, MOST_DIGITS - at)


def wrap(
    list changes not None,
    list layouts not None,
    list commit_lsns not None,
    list ordinals not None,
    bytes new not None,
    bytes old,
    make_frame,
):
    """The events, a newline behind each, and where each ends.

    `new` and `old` are the rows, a line each; an old row that is empty, and every one where `old` is None, is null.
    """
    cdef Buffer out = Buffer.__new__(Buffer)
    cdef Lines afters = Lines.__new__(Lines)
    cdef Lines befores = Lines.__new__(Lines)
    cdef list ends = []
    cdef bytes start = b"", between = b"", source = b"", rest = b""
    cdef bint has_after = False
    cdef Py_ssize_t i, most
    cdef Py_ssize_t around = 0
    cdef object layout = None, lsn = None, action = None
    out.data = bytearray(len(new) + (0 if old is None else len(old)) + 256 + 512 * len(changes))
    out.start = PyByteArray_AS_STRING(out.data)
    out.room = len(out.data)
    afters.open(new)
    if old is not None:
        befores.open(old)
    for i in range(len(changes)):
        change = <object>PyList_GET_ITEM(changes, i)
        made_of = change.action
        if layouts[i] is not layout or commit_lsns[i] is not lsn or made_of is not action:
            layout, lsn, action = layouts[i], commit_lsns[i], made_of
            start, between, source, rest, has_after = make_frame(layout, lsn, change)
            around = len(start) + len(between) + len(source) + len(rest) + MOST_DIGITS + 16
        afters.next()
        most = around + afters.size
        if old is not None:
            befores.next()
            most += befores.size
        out.reserve(most)
        out.put_bytes(start)
        if old is None or befores.size == 2:
            out.put(b"null", 4)
        else:
            out.put(befores.line, befores.size)
        out.put_bytes(between)
        if has_after:
            out.put(afters.line, afters.size)
        else:
            out.put(b"null", 4)
        out.put_bytes(source)
        out.put_number(<uint64_t>ordinals[i])
        out.put_bytes(rest)
        PyList_Append(ends, out.used)
        out.put(b"\n", 1)
    PyByteArray_Resize(out.data, out.used)
    return out.data, ends


def rows_of(list changes not None, list layouts not None):
    """New and old rows of changes, whole; None where no change has an old one."""
    cdef list new = []
    cdef list old = []
    cdef bint has_old = False
    cdef dict row
    cdef Py_ssize_t i, size
    for i in range(len(changes)):
        change = <object>PyList_GET_ITEM(changes, i)
        if change.unchanged is unset:
            PyList_Append(new, change.data)
        else:
            PyList_Append(new, layouts[i].filled(change))
        row = change.data_old
        size = PyDict_Size(row)
        if size:
            has_old = True
            if size < len(layouts[i].blank):
                row = layouts[i].whole(row)
        PyList_Append(old, row)
    return new, old if has_old else None
