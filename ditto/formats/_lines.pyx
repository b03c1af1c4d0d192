# cython: language_level=3
"""Where the lines of a buffer end, compiled."""

from libc.string cimport memchr


def line_ends(const unsigned char[::1] data not None):
    """Where the newlines are in `data`."""
    cdef list found = []
    cdef Py_ssize_t size = data.shape[0]
    cdef const unsigned char *start = &data[0] if size else NULL
    cdef const unsigned char *at = start
    while at != start + size:
        at = <const unsigned char *>memchr(at, 0x0A, <size_t>(start + size - at))
        if at == NULL:
            break
        found.append(at - start)
        at += 1
    return found
