# cython: language_level=3
"""The header lines of many changes, compiled: the same as `own_lines.pure_lines_of`."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from libc.string cimport memcpy

from ditto.formats import own_headers


cdef extern from *:
    """
    static inline const char *text_of(PyObject *text) { return (const char *)PyUnicode_DATA(text); }
    static inline Py_ssize_t length_of(PyObject *text) { return PyUnicode_GET_LENGTH(text); }
    """
    const char *text_of(object text)
    Py_ssize_t length_of(object text)


cdef bytes START = f"{own_headers.ID}: ".encode()
cdef str COMMIT_TIME = own_headers.COMMIT_TIME


def lines_of(list changes not None, bytes more not None=b""):
    """Of each its id and commit time, and then `more`."""
    cdef list found = []
    cdef bytes rest = b""
    cdef bytes line
    cdef char *out
    cdef Py_ssize_t i, n, size
    cdef Py_ssize_t head = PyBytes_GET_SIZE(START)
    cdef object time = None
    cdef str identifier
    for i in range(len(changes)):
        change = <object>PyList_GET_ITEM(changes, i)
        identifier = change.id  # ASCII: hexadecimal digits
        made_at = change.commit_time
        if made_at is not time:
            time = made_at
            rest = f"\r\n{COMMIT_TIME}: {time}\r\n".encode() + more
        n = length_of(identifier)
        size = head + n + PyBytes_GET_SIZE(rest)
        line = PyBytes_FromStringAndSize(NULL, size)
        out = PyBytes_AS_STRING(line)
        memcpy(out, PyBytes_AS_STRING(START), <size_t>head)
        memcpy(out + head, text_of(identifier), <size_t>n)
        memcpy(out + head + n, PyBytes_AS_STRING(rest), <size_t>PyBytes_GET_SIZE(rest))
        PyList_Append(found, line)
    return found
