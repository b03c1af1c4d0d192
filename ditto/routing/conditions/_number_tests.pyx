# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Tests of numbers, timestamps and intervals against a constant; a text that is not usual is left to Python.

`wanted` says which orders pass: 1 less, 2 equal, 4 more, and sums of them.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from ditto.decoding._row_tests cimport IS_UNKNOWN, ColumnTest
from ditto.routing.conditions._readers cimport to_moment_us, to_span_us
from ditto.routing.conditions._texts cimport holds, order_of_bytes

cdef extern from "Python.h":
    double PyOS_string_to_double(const char *text, char **end, void *overflow) except? -1.0

cdef enum:
    INTEGER_DIGITS = 19  # so many always fit 64 bits without a sign
    EXACT_DIGITS = 15  # so many are exactly a double, as are all powers of ten up to 10^22
    LONGEST_DOUBLE = 63

cdef uint64_t SIGN_BIT = <uint64_t>1 << 63
cdef double[EXACT_DIGITS + 1] POWERS
for _power in range(EXACT_DIGITS + 1):
    POWERS[_power] = 10.0 ** _power


cdef bint to_int64(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    """Of an integer of 64 bits that is written as PostgreSQL does; False for all else."""
    cdef const uint8_t *end = p + n
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    cdef uint64_t found = 0
    p += is_negative
    if p == end or end - p > INTEGER_DIGITS:
        return False
    while p < end:
        if not 0x30 <= p[0] <= 0x39:
            return False
        found = found * 10 + (p[0] - 0x30)
        p += 1
    if found >= SIGN_BIT + is_negative:
        return False
    value[0] = <int64_t>(0 - found if is_negative else found)
    return True


cdef int to_double(const uint8_t *p, Py_ssize_t n, double *value) except -1:
    """1 for a finite number, as `float` reads it; 0 for all else."""
    cdef const uint8_t *at = p
    cdef const uint8_t *end = p + n
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    cdef int64_t digits = 0
    cdef int scale = -1  # digits behind the point, of which there is none yet
    cdef int count = 0
    at += is_negative
    if at == end or not 0x30 <= at[0] <= 0x39:
        return 0
    while at < end and count <= EXACT_DIGITS:
        if 0x30 <= at[0] <= 0x39:
            digits = digits * 10 + (at[0] - 0x30)
            count += 1
            scale += scale >= 0
        elif at[0] == 0x2E and scale < 0:
            scale = 0
        else:
            break
        at += 1
    if at == end and count <= EXACT_DIGITS:
        # Both are exact, and a division is rounded once:
        # https://www.exploringbinary.com/fast-path-decimal-to-floating-point-conversion
        value[0] = <double>digits / POWERS[scale if scale > 0 else 0]
        if is_negative:
            value[0] = -value[0]
        return 1
    return to_any_double(p, n, value)


cdef int to_any_double(const uint8_t *p, Py_ssize_t n, double *value) except -1:
    cdef char[LONGEST_DOUBLE + 1] text
    cdef char *end = NULL
    if n > LONGEST_DOUBLE:
        return 0
    memcpy(text, p, <size_t>n)
    text[n] = 0
    try:
        value[0] = PyOS_string_to_double(text, &end, NULL)
    except ValueError:
        return 0
    return end == text + n


@cython.final
cdef class IntegerOrder(ColumnTest):
    """Of an integer of 64 bits."""

    cdef int64_t other
    cdef int wanted

    def __cinit__(self, row, column, of_null, int wanted, int64_t other):
        self.wanted = wanted
        self.other = other

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef int64_t value = 0
        if not to_int64(p, n, &value):
            return IS_UNKNOWN
        return holds(self.wanted, order_of_int64s(value, self.other))


@cython.final
cdef class DoubleOrder(ColumnTest):
    """Of a finite double with one that is not NaN."""

    cdef double other
    cdef int wanted

    def __cinit__(self, row, column, of_null, int wanted, double other):
        self.wanted = wanted
        self.other = other

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef double value = 0
        if not to_double(p, n, &value):
            return IS_UNKNOWN
        return holds(self.wanted, order_of_doubles(value, self.other))


@cython.final
cdef class NumericOrder(ColumnTest):
    """Of a numeric, by its digits: exact whatever their number. `other` is a constant as PostgreSQL would write it."""

    cdef int wanted
    cdef bytes other
    cdef Digits digits

    def __cinit__(self, row, column, of_null, int wanted, bytes other not None):
        self.wanted = wanted
        self.other = other
        if not to_digits(<const uint8_t *><const char *>other, len(other), &self.digits):
            raise ValueError("no number")

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef Digits digits
        if not to_digits(p, n, &digits):
            return IS_UNKNOWN
        return holds(self.wanted, order_of_digits(&digits, &self.digits))


cdef bint to_digits(const uint8_t *p, Py_ssize_t n, Digits *digits) noexcept:
    """The digits of a finite number without an exponent, which stay where they are; False for all else."""
    cdef const uint8_t *end = p + n
    digits.sign = 1
    if n and p[0] == 0x2D:
        digits.sign = -1
        p += 1
    if p == end or not 0x30 <= p[0] <= 0x39:
        return False
    while p < end and p[0] == 0x30:
        p += 1
    digits.whole.data = p
    p = behind_digits(p, end)
    digits.whole.size = p - digits.whole.data
    digits.fraction.data = p
    digits.fraction.size = 0
    if p < end:
        if p[0] != 0x2E:
            return False
        digits.fraction.data = p + 1
        p = behind_digits(p + 1, end)
        if p != end:
            return False
        while p > digits.fraction.data and (p - 1)[0] == 0x30:
            p -= 1
        digits.fraction.size = p - digits.fraction.data
    if digits.whole.size == 0 and digits.fraction.size == 0:
        digits.sign = 0
    return True


cdef int order_of_digits(const Digits *one, const Digits *other) noexcept:
    """Less than 0, 0 or more."""
    cdef int order
    if one.sign != other.sign:
        return one.sign - other.sign
    order = (one.whole.size > other.whole.size) - (one.whole.size < other.whole.size)
    if order == 0:
        order = order_of_bytes(one.whole, other.whole)
    if order == 0:
        order = order_of_bytes(one.fraction, other.fraction)
    return one.sign * order


cdef inline const uint8_t *behind_digits(const uint8_t *p, const uint8_t *end) noexcept:
    while p < end and 0x30 <= p[0] <= 0x39:
        p += 1
    return p


@cython.final
cdef class TimeOrder(ColumnTest):
    """Of a date or a timestamp in UTC, in microseconds since 1970, or of an interval (`is_span`).

    With `has_rest` the constant is less than a microsecond more.
    """

    cdef int wanted
    cdef bint is_span
    cdef int64_t us
    cdef bint has_rest

    def __cinit__(self, row, column, of_null, int wanted, bint is_span, int64_t us, bint has_rest):
        self.wanted = wanted
        self.is_span = is_span
        self.us = us
        self.has_rest = has_rest

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef int64_t value = 0
        if not (to_span_us(p, n, &value) if self.is_span else to_moment_us(p, n, &value)):
            return IS_UNKNOWN
        return holds(self.wanted, order_of_times(value, self.us, self.has_rest))


cdef inline int order_of_times(int64_t value, int64_t us, bint has_rest) noexcept:
    if value != us:
        return 1 if value > us else -1
    return -1 if has_rest else 0
