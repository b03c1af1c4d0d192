"""Constants as bytes, and the order of bytes, which is that of the characters of UTF-8."""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp


cdef struct Bytes:
    const uint8_t *data
    Py_ssize_t size


cdef inline Bytes bytes_of(bytes text) noexcept:
    """They belong to the object."""
    cdef Bytes found
    found.data = <const uint8_t *><const char *>text
    found.size = len(text)
    return found


cdef inline bint are_equal(Bytes one, const uint8_t *p, Py_ssize_t n) noexcept:
    # Names and codes that are alike mostly differ in their last character.
    return one.size == n and (n == 0 or one.data[n - 1] == p[n - 1]) and memcmp(one.data, p, <size_t>n) == 0


cdef inline int order_of_bytes(Bytes one, Bytes other) noexcept:
    """-1, 0 or 1."""
    cdef int order = memcmp(one.data, other.data, <size_t>(one.size if one.size < other.size else other.size))
    if order == 0:
        return (one.size > other.size) - (one.size < other.size)
    return 1 if order > 0 else -1


cdef inline int holds(int wanted, int order) noexcept:
    """Whether an order (less than 0, 0, more) is a wanted one: 1 less, 2 equal, 4 more, and sums of them."""
    return (wanted >> ((order > 0) - (order < 0) + 1)) & 1
