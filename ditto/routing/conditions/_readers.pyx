# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""PostgreSQL's texts as a condition's values, compiled: texts as they usually are, and None for all others.

`readers` has what calls these, and the functions in Python that make the rest.
"""

cimport cython
from cpython.list cimport PyList_Append
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from ditto.formats._debezium_times cimport to_days, to_interval_us, to_timestamp_us
from ditto.formats._texts cimport utf8

cdef enum:
    MOST_DIGITS = 18  # so many always fit 64 bits


cdef bint to_moment_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    """Microseconds since 1970, of a date or a timestamp in UTC."""
    if n == 10:
        if not to_days(p, n, value):
            return False
        value[0] *= 86_400_000_000
        return True
    if n > 3 and memcmp(p + n - 3, b"+00", 3) == 0:
        n -= 3
    return to_timestamp_us(p, n, value)


cdef bint to_span_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    """Microseconds of an interval without months and years."""
    if memchr(p, 0x6D, <size_t>n) != NULL or memchr(p, 0x72, <size_t>n) != NULL:  # months, years
        return False
    return to_interval_us(p, n, value)


def microseconds(text):
    """See `to_moment_us`."""
    cdef Py_ssize_t n = 0
    cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
    cdef int64_t value = 0
    return value if to_moment_us(p, n, &value) else None


def interval_microseconds(text):
    """See `to_span_us`."""
    cdef Py_ssize_t n = 0
    cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
    cdef int64_t value = 0
    return value if to_span_us(p, n, &value) else None


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


@cython.final
cdef class Membership:
    """Whether an array of one dimension has an element with this text; NULL has none. No element is made.

    `otherwise` judges the texts of arrays that are not usual.
    """

    def __cinit__(self, str element, int delimiter, otherwise):
        self.element = element.encode()
        self.wanted = self.element
        self.wanted_size = len(self.element)
        self.delimiter = <uint8_t>delimiter
        self.otherwise = otherwise

    def test(self, text):
        """Of PostgreSQL's text of an array."""
        cdef Py_ssize_t n = 0
        cdef const uint8_t *p = <const uint8_t *>utf8(text, &n)
        cdef int found = self.find(p, n)
        return self.otherwise(text) if found < 0 else found == 1

    cdef int find(self, const uint8_t *p, Py_ssize_t n) noexcept:
        """1 or 0; -1 for an array that is not usual, wherever in it the element is."""
        cdef const uint8_t *end = p + n - 1
        cdef int found = 0
        cdef int is_equal
        if n < 2 or p[0] != 0x7B or end[0] != 0x7D:
            return -1
        p += 1
        if p == end:
            return 0
        while True:
            if p < end and p[0] == 0x22:
                is_equal = self.skip_quoted(&p, end)
            else:
                is_equal = self.skip_bare(&p, end)
            if is_equal < 0:
                return -1
            found |= is_equal
            if p == end:
                return found
            if p[0] != self.delimiter:
                return -1
            p += 1

    cdef int skip_quoted(self, const uint8_t **at, const uint8_t *end) noexcept:
        """Whether the element between quotation marks is the one; -1 where it does not end."""
        cdef const uint8_t *p = at[0] + 1
        cdef const uint8_t *wanted = self.wanted
        cdef const uint8_t *wanted_end = wanted + self.wanted_size
        cdef bint is_equal = True
        while p < end and p[0] != 0x22:
            if p[0] == 0x5C:
                p += 1
                if p == end:
                    return -1
            if wanted < wanted_end and wanted[0] == p[0]:
                wanted += 1
            else:
                is_equal = False
            p += 1
        if p == end:
            return -1
        at[0] = p + 1
        return is_equal and wanted == wanted_end

    cdef int skip_bare(self, const uint8_t **at, const uint8_t *end) noexcept:
        """Whether the element without quotation marks is the one; -1 where it is not usual."""
        cdef const uint8_t *start = at[0]
        cdef const uint8_t *p = start
        cdef Py_ssize_t size
        while p < end and p[0] != self.delimiter:
            if p[0] == 0x22 or p[0] == 0x5C or p[0] == 0x7B or p[0] == 0x7D:
                return -1
            p += 1
        at[0] = p
        size = p - start
        if size == 0:
            return -1
        if size == 4 and memcmp(start, b"NULL", 4) == 0:
            return 0
        return size == self.wanted_size and memcmp(start, self.wanted, <size_t>size) == 0
