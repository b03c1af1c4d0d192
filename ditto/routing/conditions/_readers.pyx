# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""PostgreSQL's texts as a condition's values, compiled: texts as they usually are, and None for all others.

`readers` has what calls these, and the functions in Python that make the rest.
"""

from cpython.list cimport PyList_Append
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from ditto.formats._debezium_times cimport to_days, to_interval_us, to_timestamp_us
from ditto.formats._texts cimport utf8

cdef enum:
    MOST_DIGITS = 18  # so many always fit 64 bits


def microseconds(text):
    """Since 1970, of a date or a timestamp in UTC."""
    cdef Py_ssize_t n = 0
    cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
    cdef int64_t value = 0
    if n == 10:
        return value * 86_400_000_000 if to_days(p, n, &value) else None
    if n > 3 and memcmp(p + n - 3, b"+00", 3) == 0:
        n -= 3
    return value if to_timestamp_us(p, n, &value) else None


def interval_microseconds(text):
    """Of an interval without months and years."""
    cdef Py_ssize_t n = 0
    cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
    cdef int64_t value = 0
    if memchr(p, 0x6D, <size_t>n) != NULL or memchr(p, 0x72, <size_t>n) != NULL:  # months, years
        return None
    return value if to_interval_us(p, n, &value) else None


def has_long_number(text):
    """Whether a text has more digits in a row than certainly fit 64 bits."""
    cdef Py_ssize_t n = 0
    cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
    cdef const uint8_t *end = p + n
    cdef const uint8_t *first
    cdef const uint8_t *last
    # Of so many digits in a row one is at a multiple of their number.
    p += MOST_DIGITS
    while p < end:
        if 0x30 <= p[0] <= 0x39:
            first = last = p
            while 0x30 <= (first - 1)[0] <= 0x39 and p - first < MOST_DIGITS:
                first -= 1
            while last + 1 < end and 0x30 <= (last + 1)[0] <= 0x39 and last - first < MOST_DIGITS:
                last += 1
            if last - first >= MOST_DIGITS:
                return True
        p += MOST_DIGITS + 1
    return False


cdef object integer(const uint8_t *p, Py_ssize_t n):
    """One that is written as PostgreSQL does; None for all else."""
    cdef const uint8_t *end = p + n
    cdef int64_t value = 0
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    if is_negative:
        p += 1
    if p == end or end - p > MOST_DIGITS:
        return None
    while p < end:
        if not 0x30 <= p[0] <= 0x39:
            return None
        value = value * 10 + (p[0] - 0x30)
        p += 1
    return -value if is_negative else value


cdef str unescaped(const uint8_t *start, const uint8_t **p, const uint8_t *end):
    """The text from `start` on without its backslashes; `p`, which is at the first of them, goes to its end."""
    cdef uint8_t *data = <uint8_t *>malloc(<size_t>(end - start))
    cdef uint8_t *out = data
    if data == NULL:
        raise MemoryError
    try:
        memcpy(out, start, <size_t>(p[0] - start))
        out += p[0] - start
        while p[0] < end and p[0][0] != 0x22:
            if p[0][0] == 0x5C:
                p[0] += 1
                if p[0] == end:
                    break
            out[0] = p[0][0]
            out += 1
            p[0] += 1
        return PyUnicode_DecodeUTF8(<const char *>data, out - data, NULL)
    finally:
        free(data)


def array(text, read, int delimiter):
    """The elements of an array of one dimension; `read` makes each, None leaves them texts, and `int` is made here."""
    cdef Py_ssize_t n = 0
    cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
    cdef const uint8_t *end = p + n
    cdef const uint8_t *start
    cdef bint is_int = read is int
    cdef list items = []
    if n < 2 or p[0] != 0x7B or end[-1] != 0x7D:
        return None
    p += 1
    end -= 1
    if p == end:
        return items
    while True:
        if p < end and p[0] == 0x22:
            p += 1
            start = p
            while p < end and p[0] != 0x22 and p[0] != 0x5C:
                p += 1
            if p < end and p[0] == 0x5C:
                item = unescaped(start, &p, end)
            else:
                item = PyUnicode_DecodeUTF8(<const char *>start, p - start, NULL)
            if p == end:
                return None
            item = item if read is None else read(item)
            p += 1
        else:
            start = p
            while p < end and p[0] != delimiter:
                if p[0] == 0x22 or p[0] == 0x5C or p[0] == 0x7B or p[0] == 0x7D:
                    return None
                p += 1
            if p == start:
                return None
            if p - start == 4 and memcmp(start, b"NULL", 4) == 0:
                item = None
            elif is_int:
                item = integer(start, p - start)
                if item is None:
                    return None
            else:
                item = PyUnicode_DecodeUTF8(<const char *>start, p - start, NULL)
                item = item if read is None else read(item)
        PyList_Append(items, item)
        if p == end:
            return items
        if p[0] != delimiter:
            return None
        p += 1
