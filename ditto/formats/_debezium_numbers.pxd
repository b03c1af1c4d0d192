"""Each of these writes JSON and returns its size, or -1 where a text is not as it usually is."""

from libc.stdint cimport uint8_t

cdef enum:
    MOST_DIGITS = 18  # so many always fit 64 bits


cdef inline bint is_digit(uint8_t byte) noexcept:
    return 0x30 <= byte <= 0x39


cdef inline int quote(int size, char *out) noexcept:
    """`size` bytes are behind the place of the first quotation mark."""
    out[0] = 0x22
    out[size + 1] = 0x22
    return size + 2


cdef int to_decimal(const uint8_t *p, Py_ssize_t n, int scale, char *out) noexcept
cdef int to_variable_decimal(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept
cdef int to_money(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept
cdef int to_bits(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept
