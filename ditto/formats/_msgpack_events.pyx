# cython: language_level=3
"""Events to MessagePack, compiled: the same bytes as msgspec's encoder makes, and where each event ends.

The keys of events are copied, and what several events have in common is made once.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from msgspec import UNSET
from msgspec.msgpack import Encoder

from ditto.decoding.change import Change

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef object plain = Change
cdef object unset = UNSET
cdef object encode_any = Encoder().encode

cdef enum:
    ROOM = 9  # of a number, and of the header of anything


cdef class Buffer:
    """Bytes that grow, with more room than is used."""
    cdef bytearray data
    cdef char *start
    cdef Py_ssize_t used
    cdef Py_ssize_t room

    cdef inline int reserve(self, Py_ssize_t n) except -1:
        if self.room - self.used < n:
            self.room = (self.used + n) // 2 * 3 + 16
            PyByteArray_Resize(self.data, self.room)
            self.start = PyByteArray_AS_STRING(self.data)
        return 0

    cdef inline void put(self, const char *data, Py_ssize_t n) noexcept:
        memcpy(self.start + self.used, data, <size_t>n)
        self.used += n

    cdef inline int put_all(self, bytes data) except -1:
        self.reserve(PyBytes_GET_SIZE(data))
        self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
        return 0

    cdef inline void put_number(self, uint8_t tag, uint64_t value, int size) noexcept:
        """A tag, and a number of so many bytes."""
        cdef char *out = self.start + self.used
        cdef int i
        out[0] = <char>tag
        for i in range(size):
            out[size - i] = <char>(value >> 8 * i & 0xFF)
        self.used += 1 + size

    cdef int put_text(self, object text) except -1:
        cdef Py_ssize_t n = 0
        cdef const char *data = PyUnicode_AsUTF8AndSize(text, &n)
        self.reserve(n + ROOM)
        if n < 32:
            self.put_number(<uint8_t>(0xA0 | n), 0, 0)
        elif n < 1 << 8:
            self.put_number(0xD9, <uint64_t>n, 1)
        elif n < 1 << 16:
            self.put_number(0xDA, <uint64_t>n, 2)
        else:
            self.put_number(0xDB, <uint64_t>n, 4)
        self.put(data, n)
        return 0

    cdef int put_int(self, object number) except -1:
        cdef int overflow = 0
        cdef int64_t value = PyLong_AsLongLongAndOverflow(number, &overflow)
        if overflow:
            return self.put_all(encode_any(number))
        self.reserve(ROOM)
        if value >= 0:
            if value < 1 << 7:
                self.put_number(<uint8_t>value, 0, 0)
            elif value < 1 << 8:
                self.put_number(0xCC, <uint64_t>value, 1)
            elif value < 1 << 16:
                self.put_number(0xCD, <uint64_t>value, 2)
            elif value < <int64_t>1 << 32:
                self.put_number(0xCE, <uint64_t>value, 4)
            else:
                self.put_number(0xCF, <uint64_t>value, 8)
        elif value >= -(1 << 5):
            self.put_number(<uint8_t>(value & 0xFF), 0, 0)
        elif value >= -(1 << 7):
            self.put_number(0xD0, <uint64_t>value, 1)
        elif value >= -(1 << 15):
            self.put_number(0xD1, <uint64_t>value, 2)
        elif value >= -(<int64_t>1 << 31):
            self.put_number(0xD2, <uint64_t>value, 4)
        else:
            self.put_number(0xD3, <uint64_t>value, 8)
        return 0

    cdef int put_float(self, object number) except -1:
        cdef double value = PyFloat_AS_DOUBLE(number)
        cdef uint64_t bits
        memcpy(&bits, &value, 8)
        self.reserve(ROOM)
        self.put_number(0xCB, bits, 8)
        return 0

    cdef int put_row(self, dict row) except -1:
        cdef Py_ssize_t n = PyDict_Size(row)
        cdef Py_ssize_t at = 0
        cdef PyObject *key
        cdef PyObject *found
        self.reserve(ROOM)
        if n < 16:
            self.put_number(<uint8_t>(0x80 | n), 0, 0)
        elif n < 1 << 16:
            self.put_number(0xDE, <uint64_t>n, 2)
        else:
            self.put_number(0xDF, <uint64_t>n, 4)
        while PyDict_Next(row, &at, &key, &found):
            self.put_text(<object>key)
            value = <object>found
            if type(value) is str:
                self.put_text(value)
            elif value is None or value is True or value is False:
                self.reserve(ROOM)
                self.put_number(0xC0 if value is None else 0xC3 if value is True else 0xC2, 0, 0)
            elif type(value) is int:
                self.put_int(value)
            elif type(value) is float:
                self.put_float(value)
            else:
                self.put_all(encode_any(value))
        return 0


cdef bytes about(object schema, object table, object action):
    """What the events of a table and an action have in common."""
    names = [b"\xa6schema", encode_any(schema), b"\xa5table", encode_any(table), b"\xa6action", encode_any(action)]
    return b"".join(names) + b"\xa4data"


def encode_events(list changes not None):
    """The events one after the other, and where each ends."""
    cdef Buffer out = Buffer.__new__(Buffer)
    cdef list ends = []
    cdef Py_ssize_t i
    cdef object schema = None, table = None, action = None, time = None
    cdef bytes common = b"", last = b""
    out.room = 256 + 256 * len(changes)
    out.data = bytearray(out.room)
    out.start = PyByteArray_AS_STRING(out.data)
    for i in range(len(changes)):
        change = <object>PyList_GET_ITEM(changes, i)
        if type(change) is not plain or change.unchanged is not unset:
            out.put_all(encode_any(change))
            PyList_Append(ends, out.used)
            continue
        space, name, kind, made_at = change.schema, change.table, change.action, change.commit_time
        if name is not table or kind is not action or space is not schema:
            common = about(space, name, kind)
            schema, table, action = space, name, kind
        if made_at is not time:
            last = b"\xaacommitTime" + encode_any(made_at)
            time = made_at
        out.reserve(ROOM)
        out.put(b"\x87\xa2id", 4)
        out.put_text(change.id)
        out.put_all(common)
        out.put_row(change.data)
        out.put_all(b"\xa7dataOld")
        out.put_row(change.data_old)
        out.put_all(last)
        PyList_Append(ends, out.used)
    PyByteArray_Resize(out.data, out.used)
    return out.data, ends
