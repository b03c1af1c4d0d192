# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Decimals and bits as JSON, compiled: what `debezium.numbers` makes of texts as they usually are."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

cdef extern from *:
    """
    static const char ditto_base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    """
    const char *BASE64 "ditto_base64"


cdef inline int put_base64(const uint8_t *data, int n, char *out) noexcept:
    cdef uint32_t group
    cdef int at = 0
    cdef int i = 0
    while i < n:
        group = <uint32_t>data[i] << 16
        if i + 1 < n:
            group |= <uint32_t>data[i + 1] << 8
        if i + 2 < n:
            group |= data[i + 2]
        out[at] = BASE64[group >> 18]
        out[at + 1] = BASE64[group >> 12 & 63]
        out[at + 2] = BASE64[group >> 6 & 63] if i + 1 < n else 0x3D
        out[at + 3] = BASE64[group & 63] if i + 2 < n else 0x3D
        at += 4
        i += 3
    return at


cdef inline int put_unscaled(int64_t number, char *out) noexcept:
    """Two's complement, the fewest bytes, big-endian, in base64."""
    cdef uint8_t[9] data
    cdef uint64_t bits = <uint64_t>(number if number >= 0 else ~number)
    cdef int size = 1
    cdef int i
    while bits >= 128:
        bits >>= 8
        size += 1
    for i in range(size):
        data[size - 1 - i] = <uint8_t>(<uint64_t>number >> 8 * i & 0xFF)
    return put_base64(data, size, out)


cdef int to_decimal(const uint8_t *p, Py_ssize_t n, int scale, char *out) noexcept:
    """A decimal of this scale, which is 0 or more."""
    cdef const uint8_t *end = p + n
    cdef const uint8_t *start
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    cdef int64_t number = 0
    cdef int left = scale
    if is_negative:
        p += 1
    start = p
    while p < end and is_digit(p[0]) and p - start + scale < MOST_DIGITS:
        number = number * 10 + (p[0] - 0x30)
        p += 1
    if p == start:
        return -1
    if p < end:
        if p[0] != 0x2E:
            return -1
        p += 1
    while p < end:
        if not is_digit(p[0]):
            return -1
        if left:
            number = number * 10 + (p[0] - 0x30)
            left -= 1
        p += 1
    while left:
        number *= 10
        left -= 1
    return quote(put_unscaled(-number if is_negative else number, out + 1), out)


cdef int to_variable_decimal(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept:
    """With the smallest scale: PostgreSQL writes as many zeros as a division has made."""
    cdef const uint8_t *end = p + n
    cdef const uint8_t *point
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    cdef int64_t number = 0
    cdef int scale = 0
    cdef int size
    if is_negative:
        p += 1
    if p == end:
        return -1
    point = <const uint8_t *>memchr(p, 0x2E, <size_t>(end - p))
    if point != NULL:
        while (end - 1)[0] == 0x30:
            end -= 1
        scale = <int>(end - point - 1)
    if end - p > MOST_DIGITS:
        return -1
    while p < end:
        if p != point:
            if not is_digit(p[0]):
                return -1
            number = number * 10 + (p[0] - 0x30)
        p += 1
    memcpy(out, b'{"scale":', 9)
    size = 9
    if scale > 9:
        out[size] = 0x31
        size += 1
    out[size] = <char>(0x30 + scale % 10)
    memcpy(out + size + 1, b',"value":', 9)
    size += 10
    size += quote(put_unscaled(-number if is_negative else number, out + size + 1), out + size)
    out[size] = 0x7D
    return size + 1


cdef int to_money(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept:
    cdef uint8_t[MOST_DIGITS + 2] plain
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t i
    for i in range(n):
        if p[i] != 0x24 and p[i] != 0x2C:
            if size > MOST_DIGITS:
                return -1
            plain[size] = p[i]
            size += 1
    return to_decimal(plain, size, 2, out)


cdef int to_bits(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept:
    cdef uint8_t[8] data
    cdef uint64_t number = 0
    cdef int size = 0
    cdef Py_ssize_t i
    if n > 64:
        return -1
    for i in range(n):
        if p[i] != 0x30 and p[i] != 0x31:
            return -1
        number = number << 1 | p[i] & 1
    while number:
        data[size] = <uint8_t>(number & 0xFF)
        number >>= 8
        size += 1
    return quote(put_base64(data, size, out + 1), out)
