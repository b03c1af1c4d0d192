# cython: language_level=3
"""Packing of events into groups, compiled. Same interface and same results as `pure_packing.py`."""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcpy


def split(
    list routes not None,
    list commit_lsns not None,
    list ends not None,
    *,
    Py_ssize_t gap,
    bytes route not None,
    Py_ssize_t max_events,
    Py_ssize_t max_bytes,
    uint64_t lsn,
    Py_ssize_t count,
    Py_ssize_t size,
):
    """Where the runs of a block end: events of one group, or one message that has a route of its own.

    A group has events of one transaction, all on `route`: at most `max_events`, and no more than `max_bytes` with a
    byte between two, unless a single one is larger. `lsn`, `count` and `size` are those of the group that is open: the
    first run goes on with it, unless the first end is 0.
    """
    cdef Py_ssize_t total = len(ends)
    cdef Py_ssize_t index, end, payload
    cdef Py_ssize_t start = 0
    cdef uint64_t commit_lsn
    cdef list found = []
    if len(routes) != total or len(commit_lsns) != total:
        raise ValueError("a block's lists have different lengths")
    for index in range(total):
        end = ends[index]
        payload = end - start
        start = end + gap
        each = routes[index]
        if each is not route and each != route:
            if count:
                found.append(index)
            found.append(index + 1)
            count = size = 0
            continue
        commit_lsn = commit_lsns[index]
        if count and (commit_lsn != lsn or count >= max_events or size + 1 + payload > max_bytes):
            found.append(index)
            count = size = 0
        size += payload + (1 if count else 0)
        count += 1
        lsn = commit_lsn
    if count and total:
        found.append(total)
    return found


def join(
    bytearray into not None,
    const unsigned char[::1] data not None,
    list ends not None,
    Py_ssize_t first,
    Py_ssize_t stop,
    *,
    Py_ssize_t gap,
    int separator,
    bint is_line,
):
    """Append the payloads from `first` up to `stop`, with a byte between two and, where `into` is not empty, before.

    A `separator` of -1 is none. With `is_line`, line breaks within a payload become spaces.
    """
    cdef Py_ssize_t start = ends[first - 1] + gap if first else 0
    cdef Py_ssize_t before = len(into)
    cdef Py_ssize_t index, end, size, at, last
    cdef const unsigned char *source = &data[0] if data.shape[0] else NULL
    cdef char *out
    if not 0 <= first < stop <= len(ends) or gap < 0:
        raise ValueError("no such payloads")
    size = <Py_ssize_t>ends[stop - 1] - start + stop - first
    if start < 0 or size < 0:
        raise ValueError("an end outside of the payloads")
    PyByteArray_Resize(into, before + size + 1)
    at = before
    if gap == 1 and separator >= 0 and not is_line and <Py_ssize_t>ends[stop - 1] <= data.shape[0]:
        # A byte is between two already: all are copied at once, and that byte becomes the separator.
        size = <Py_ssize_t>ends[stop - 1] - start
        out = PyByteArray_AS_STRING(into)
        if at:
            out[at] = <char>separator
            at += 1
        memcpy(out + at, source + start, <size_t>size)
        last = -1
        for index in range(first, stop - 1):
            end = <Py_ssize_t>ends[index] - start
            if not last < end < size:
                PyByteArray_Resize(into, before)
                raise ValueError("an end outside of the payloads")
            out[at + end] = <char>separator
            last = end
        PyByteArray_Resize(into, at + size)
        return
    for index in range(first, stop):
        end = ends[index]
        size = end - start
        if size < 0 or end > data.shape[0] or at + size + 1 > len(into):
            PyByteArray_Resize(into, before)
            raise ValueError("an end outside of the payloads")
        out = PyByteArray_AS_STRING(into)
        if separator >= 0 and (at or index > first):
            out[at] = <char>separator
            at += 1
        memcpy(out + at, source + start, <size_t>size)
        if is_line:
            replace_breaks(out + at, size)
        at += size
        start = end + gap
    PyByteArray_Resize(into, at)


cdef int replace_breaks(char *text, Py_ssize_t size) noexcept:
    cdef char *end = text + size
    cdef char *at
    for sign in (0x0A, 0x0D):
        at = text
        while at != end:
            at = <char *>memchr(at, sign, <size_t>(end - at))
            if at == NULL:
                break
            at[0] = 0x20
            at += 1
    return 0
