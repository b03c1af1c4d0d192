# cython: language_level=3
"""The header lines of many changes, compiled: the same as `own_lines.pure_lines_of`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM, PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.string cimport memcpy

from ditto.formats._change_fields cimport Fields, check_change, field, find_fields
from ditto.formats._texts cimport utf8

from ditto.decoding.change import Change
from ditto.formats import own_headers

cdef bytes START = f"{own_headers.ID}: ".encode()
cdef str COMMIT_TIME = own_headers.COMMIT_TIME
cdef object change_type = Change
cdef Fields at
find_fields(&at, Change)


def lines_of(list changes not None, bytes more not None=b""):
    """Of each its id and commit time, and then `more`."""
    cdef Py_ssize_t count = len(changes)
    cdef list found = PyList_New(count)
    cdef bytes rest = b""
    cdef bytes line
    cdef char *out
    cdef const char *identifier
    cdef PyObject *time = NULL
    cdef Py_ssize_t i
    cdef Py_ssize_t n = 0
    cdef Py_ssize_t head = PyBytes_GET_SIZE(START)
    for i in range(count):
        change = <object>PyList_GET_ITEM(changes, i)
        check_change(change, change_type)
        if field(change, at.commit_time) != time:
            time = field(change, at.commit_time)
            rest = f"\r\n{COMMIT_TIME}: {<object>time}\r\n".encode() + more
        identifier = utf8(<object>field(change, at.id), &n)
        line = PyBytes_FromStringAndSize(NULL, head + n + PyBytes_GET_SIZE(rest))
        out = PyBytes_AS_STRING(line)
        memcpy(out, PyBytes_AS_STRING(START), <size_t>head)
        memcpy(out + head, identifier, <size_t>n)
        memcpy(out + head + n, PyBytes_AS_STRING(rest), <size_t>PyBytes_GET_SIZE(rest))
        Py_INCREF(line)
        PyList_SET_ITEM(found, i, line)
    return found
