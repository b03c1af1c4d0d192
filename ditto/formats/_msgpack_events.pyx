# cython: language_level=3
"""Events to MessagePack, compiled: the same bytes as msgspec's encoder makes, and where each event ends.

The keys of events are copied, and what several events have in common is made once.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.float cimport PyFloat_AS_DOUBLE
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from ditto.formats._change_fields cimport Fields, field, find_fields
from ditto.formats._output cimport (
    FIRST_ROOM, Output, add_buffer, add_bytes, close_output, expect, open_output, put, put_bytes, reserve
)
from ditto.formats._texts cimport utf8

from msgspec import UNSET, Raw
from msgspec.msgpack import Encoder

from ditto.decoding.change import Change

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef object plain = Change
cdef object unset = UNSET
cdef object raw = Raw
cdef object encode_any = Encoder().encode
cdef Fields at
find_fields(&at, Change)

cdef enum:
    ROOM = 9  # of a number, and of the header of anything


cdef inline void put_number(Output *out, uint8_t tag, uint64_t value, int size) noexcept:
    """A tag, and a number of so many bytes."""
    cdef char *to = out.start + out.used
    cdef int i
    to[0] = <char>tag
    for i in range(size):
        to[size - i] = <char>(value >> 8 * i & 0xFF)
    out.used += 1 + size


cdef inline int add_text(Output *out, object text) except -1:
    cdef Py_ssize_t n = 0
    cdef const char *data = utf8(text, &n)
    reserve(out, n + ROOM)
    if n < 32:
        put_number(out, <uint8_t>(0xA0 | n), 0, 0)
    elif n < 1 << 8:
        put_number(out, 0xD9, <uint64_t>n, 1)
    elif n < 1 << 16:
        put_number(out, 0xDA, <uint64_t>n, 2)
    else:
        put_number(out, 0xDB, <uint64_t>n, 4)
    put(out, data, n)
    return 0


cdef int add_int(Output *out, object number) except -1:
    cdef int overflow = 0
    cdef int64_t value = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow:
        return add_bytes(out, encode_any(number))
    reserve(out, ROOM)
    if value >= 0:
        if value < 1 << 7:
            put_number(out, <uint8_t>value, 0, 0)
        elif value < 1 << 8:
            put_number(out, 0xCC, <uint64_t>value, 1)
        elif value < 1 << 16:
            put_number(out, 0xCD, <uint64_t>value, 2)
        elif value < <int64_t>1 << 32:
            put_number(out, 0xCE, <uint64_t>value, 4)
        else:
            put_number(out, 0xCF, <uint64_t>value, 8)
    elif value >= -(1 << 5):
        put_number(out, <uint8_t>(value & 0xFF), 0, 0)
    elif value >= -(1 << 7):
        put_number(out, 0xD0, <uint64_t>value, 1)
    elif value >= -(1 << 15):
        put_number(out, 0xD1, <uint64_t>value, 2)
    elif value >= -(<int64_t>1 << 31):
        put_number(out, 0xD2, <uint64_t>value, 4)
    else:
        put_number(out, 0xD3, <uint64_t>value, 8)
    return 0


cdef int add_float(Output *out, object number) except -1:
    cdef double value = PyFloat_AS_DOUBLE(number)
    cdef uint64_t bits
    memcpy(&bits, &value, 8)
    reserve(out, ROOM)
    put_number(out, 0xCB, bits, 8)
    return 0


cdef int add_row(Output *out, dict row, tuple names, tuple keys) except -1:
    """`names` are columns, `row` has them or some of them in this order, and `keys` are the same encoded."""
    cdef Py_ssize_t n = PyDict_Size(row)
    cdef Py_ssize_t count = PyTuple_GET_SIZE(names)
    cdef Py_ssize_t column = 0
    cdef Py_ssize_t place = 0
    cdef PyObject *name
    cdef PyObject *found
    cdef bytes key
    reserve(out, ROOM)
    if n < 16:
        put_number(out, <uint8_t>(0x80 | n), 0, 0)
    elif n < 1 << 16:
        put_number(out, 0xDE, <uint64_t>n, 2)
    else:
        put_number(out, 0xDF, <uint64_t>n, 4)
    while PyDict_Next(row, &place, &name, &found):
        while column < count and <PyObject *>PyTuple_GET_ITEM(names, column) != name:
            column += 1
        if column < count:
            key = <bytes>PyTuple_GET_ITEM(keys, column)
            reserve(out, PyBytes_GET_SIZE(key) + ROOM)
            put_bytes(out, key)
            column += 1
        else:
            add_text(out, <object>name)
        value = <object>found
        if type(value) is str:
            add_text(out, value)
        elif type(value) is int:
            add_int(out, value)
        elif value is None or value is True or value is False:
            reserve(out, ROOM)
            put_number(out, 0xC0 if value is None else 0xC3 if value is True else 0xC2, 0, 0)
        elif type(value) is float:
            add_float(out, value)
        elif type(value) is raw:
            add_buffer(out, value)
        else:
            add_bytes(out, encode_any(value))
    return 0


cdef bytes about(object schema, object table, object action):
    """What the events of a table and an action have in common."""
    names = [b"\xa6schema", encode_any(schema), b"\xa5table", encode_any(table), b"\xa6action", encode_any(action)]
    return b"".join(names) + b"\xa4data"


def encode_events(list changes not None, list layouts not None):
    """The events one after the other, and where each ends."""
    cdef Output out
    cdef bytearray data
    cdef list ends = []
    cdef bytes common = b"", last = b""
    cdef tuple names = (), keys = ()
    cdef Py_ssize_t i
    cdef Py_ssize_t count = len(changes)
    cdef PyObject *action = NULL
    cdef PyObject *time = NULL
    cdef object layout = None
    data = open_output(&out, FIRST_ROOM)
    for i in range(count):
        if i == 1:
            expect(&out, count)
        change = <object>PyList_GET_ITEM(changes, i)
        if type(change) is not plain or field(change, at.unchanged) != <PyObject *>unset:
            add_bytes(&out, encode_any(change))
            PyList_Append(ends, out.used)
            continue
        if layouts[i] is not layout or field(change, at.action) != action:
            layout, action = layouts[i], field(change, at.action)
            names, keys = layout.names, layout.keys
            common = about(
                <object>field(change, at.schema), <object>field(change, at.table), <object>field(change, at.action)
            )
        if field(change, at.commit_time) != time:
            time = field(change, at.commit_time)
            last = b"\xaacommitTime" + encode_any(<object>field(change, at.commit_time))
        reserve(&out, 4)
        put(&out, b"\x87\xa2id", 4)
        add_text(&out, <object>field(change, at.id))
        add_bytes(&out, common)
        add_row(&out, <dict?><object>field(change, at.data), names, keys)
        reserve(&out, 8)
        put(&out, b"\xa7dataOld", 8)
        add_row(&out, <dict?><object>field(change, at.data_old), names, keys)
        add_bytes(&out, last)
        PyList_Append(ends, out.used)
    close_output(&out)
    return data, ends
