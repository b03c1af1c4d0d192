# cython: language_level=3
"""Debezium's events, compiled: the same bytes as `debezium.envelopes.pure_encode_events`."""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Next, PyDict_Size
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from ditto.formats._change_fields cimport Fields, check_change, field, find_fields
from ditto.formats._output cimport (
    FIRST_ROOM, MOST_DIGITS, Output, add_buffer, add_bytes, close_output, expect, open_output, put, put_bytes,
    put_decimal, reserve
)
from ditto.formats._texts cimport add_json_text

from msgspec import UNSET, Raw
from msgspec.json import Encoder

from ditto.decoding.change import Change

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef object unset = UNSET
cdef object raw = Raw
cdef object encode_any = Encoder().encode
cdef object change_type = Change
cdef Fields at
find_fields(&at, Change)


cdef int add_int(Output *out, object number) except -1:
    cdef int overflow = 0
    cdef int64_t value = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow:
        return add_bytes(out, encode_any(number))
    reserve(out, MOST_DIGITS + 1)
    if value < 0:
        put(out, b"-", 1)
        put_decimal(out, 0 - <uint64_t>value)
    else:
        put_decimal(out, <uint64_t>value)
    return 0


cdef int add_value(Output *out, object value) except -1:
    """As JSON."""
    if type(value) is str:
        return add_json_text(out, value)
    if type(value) is int:
        return add_int(out, value)
    if type(value) is dict:
        return add_row(out, value, (), ())
    if type(value) is list:
        return add_list(out, value)
    if type(value) is raw:
        return add_buffer(out, value)
    reserve(out, 5)
    if value is None:
        put(out, b"null", 4)
    elif value is True:
        put(out, b"true", 4)
    elif value is False:
        put(out, b"false", 5)
    else:
        add_bytes(out, encode_any(value))
    return 0


cdef int add_list(Output *out, list values) except -1:
    cdef Py_ssize_t begin = out.used
    for value in values:
        reserve(out, 1)
        put(out, b",", 1)
        add_value(out, value)
    return surround(out, begin, b"[]")


cdef int add_row(Output *out, dict row, tuple names, tuple keys) except -1:
    """`names` are columns, `row` has them or some of them in this order, and `keys` are `,"name":` of each."""
    cdef Py_ssize_t count = PyTuple_GET_SIZE(names)
    cdef Py_ssize_t column = 0
    cdef Py_ssize_t begin = out.used
    cdef Py_ssize_t place = 0
    cdef PyObject *name
    cdef PyObject *value
    while PyDict_Next(row, &place, &name, &value):
        while column < count and <PyObject *>PyTuple_GET_ITEM(names, column) != name:
            column += 1
        if column < count:
            add_bytes(out, <bytes>PyTuple_GET_ITEM(keys, column))
            column += 1
        else:
            reserve(out, 1)
            put(out, b",", 1)
            add_json_text(out, <object>name)
            reserve(out, 1)
            put(out, b":", 1)
        if type(<object>value) is str:  # most are
            add_json_text(out, <object>value)
        else:
            add_value(out, <object>value)
    return surround(out, begin, b"{}")


cdef inline int surround(Output *out, Py_ssize_t begin, const char *brackets) except -1:
    """What was written from `begin` on, a comma before each value; the first one becomes the bracket."""
    reserve(out, 2)
    if out.used == begin:
        out.used += 1
    out.start[begin] = brackets[0]
    put(out, brackets + 1, 1)
    return 0


def encode_events(
    list changes not None,
    list layouts not None,
    list commit_lsns not None,
    list ordinals not None,
    make_frame,
):
    """The events, a newline behind each, and where each ends."""
    cdef Output out
    cdef bytearray data
    cdef list ends = []
    cdef bytes start = b"", between = b"", source = b"", rest = b""
    cdef tuple names = (), keys = ()
    cdef dict row
    cdef bint has_after = False
    cdef Py_ssize_t i, size
    cdef Py_ssize_t count = len(changes)
    cdef Py_ssize_t width = 0
    cdef PyObject *action = NULL
    cdef object layout = None, lsn = None
    data = open_output(&out, FIRST_ROOM)
    for i in range(count):
        if i == 1:
            expect(&out, count)
        change = <object>PyList_GET_ITEM(changes, i)
        check_change(change, change_type)
        if layouts[i] is not layout or commit_lsns[i] is not lsn or field(change, at.action) != action:
            if layouts[i] is not layout:
                layout = layouts[i]
                names, keys, width = layout.names, layout.keys, len(layout.blank)
            lsn, action = commit_lsns[i], field(change, at.action)
            start, between, source, rest, has_after = make_frame(layout, lsn, change)
        add_bytes(&out, start)
        row = <dict?><object>field(change, at.data_old)
        size = PyDict_Size(row)
        if size == 0:
            reserve(&out, 4)
            put(&out, b"null", 4)
        else:
            add_row(&out, row if size >= width else layout.whole(row), names, keys)
        add_bytes(&out, between)
        if not has_after:
            reserve(&out, 4)
            put(&out, b"null", 4)
        elif field(change, at.unchanged) == <PyObject *>unset:
            add_row(&out, <dict?><object>field(change, at.data), names, keys)
        else:
            add_row(&out, layout.filled(change), names, keys)
        reserve(&out, PyBytes_GET_SIZE(source) + MOST_DIGITS + PyBytes_GET_SIZE(rest) + 1)
        put_bytes(&out, source)
        put_decimal(&out, <uint64_t>ordinals[i])
        put_bytes(&out, rest)
        PyList_Append(ends, out.used)
        put(&out, b"\n", 1)
    close_output(&out)
    return data, ends
