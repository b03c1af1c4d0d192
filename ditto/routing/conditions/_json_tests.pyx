# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Tests of a JSON value, found by the names of its fields: nothing else of the document is read.

PostgreSQL has checked that it is JSON. Names and texts with escapes, numbers of many digits, what is no object and
documents that are nested deeply are left to Python.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp

from ditto.decoding._row_tests cimport IS_FALSE, IS_TRUE, IS_UNKNOWN, ColumnTest
from ditto.routing.conditions._number_tests cimport order_of_doubles, order_of_int64s, to_double, to_int64
from ditto.routing.conditions._texts cimport Bytes, are_equal, bytes_of, holds

cdef enum:
    MOST_OPENED = 256  # so many brackets are no depth that Python's parsers refuse

cdef enum Found:
    FOUND
    MISSING
    UNUSUAL


cdef class JsonTest(ColumnTest):
    """Of the value at the path, which is empty for the whole document. `is_binary`: no object has a field twice."""

    cdef tuple names
    cdef Bytes *path
    cdef Py_ssize_t depth
    cdef bint is_binary

    def __cinit__(self, row, column, of_null, path, bint is_binary, *_):
        self.names = tuple(path)
        self.is_binary = is_binary
        self.depth = len(self.names)
        self.path = <Bytes *>malloc((<size_t>self.depth + 1) * sizeof(Bytes))
        if self.path == NULL:
            raise MemoryError
        for i, name in enumerate(self.names):
            self.path[<Py_ssize_t>i] = bytes_of(name)

    def __dealloc__(self):
        free(self.path)

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef const uint8_t *end = p + n
        cdef Bytes value
        cdef Py_ssize_t i
        cdef Found found
        if is_deep(p, end):
            return IS_UNKNOWN
        p = behind_space(p, end)
        while end > p and is_space((end - 1)[0]):
            end -= 1
        if p == end:
            return IS_UNKNOWN
        value.data = p
        value.size = end - p
        for i in range(self.depth):
            found = find_field(&value, self.path[i], self.is_binary)
            if found != FOUND:
                return self.of_missing() if found == MISSING and i == self.depth - 1 else IS_UNKNOWN
        return self.of_value(value.data, value.size)

    cdef int of_missing(self) except -1:
        return IS_UNKNOWN

    cdef int of_value(self, const uint8_t *p, Py_ssize_t n) except -1:
        return IS_UNKNOWN


@cython.final
cdef class JsonHas(JsonTest):
    """Whether there is a value."""

    cdef int of_missing(self) except -1:
        return IS_FALSE

    cdef int of_value(self, const uint8_t *p, Py_ssize_t n) except -1:
        return IS_TRUE


@cython.final
cdef class JsonIsOneOf(JsonTest):
    """The value is one of these texts, or one of these words: null, true, false."""

    cdef tuple texts
    cdef tuple words

    def __cinit__(self, row, column, of_null, path, is_binary, texts, words):
        self.texts = tuple(texts)
        self.words = tuple(words)

    cdef int of_value(self, const uint8_t *p, Py_ssize_t n) except -1:
        if p[0] != 0x22:
            return is_one_of(self.words, p, n)
        if memchr(p, 0x5C, <size_t>n) != NULL:
            return IS_UNKNOWN
        return is_one_of(self.texts, p + 1, n - 2)


cdef bint is_one_of(tuple texts, const uint8_t *p, Py_ssize_t n):
    for text in texts:
        if are_equal(bytes_of(<bytes>text), p, n):
            return True
    return False


@cython.final
cdef class JsonIsTrue(JsonTest):
    """The value is true; of one that is neither true nor false nothing is known."""

    cdef int of_value(self, const uint8_t *p, Py_ssize_t n) except -1:
        if n == 4 and memcmp(p, b"true", 4) == 0:
            return IS_TRUE
        return IS_FALSE if n == 5 and memcmp(p, b"false", 5) == 0 else IS_UNKNOWN


@cython.final
cdef class JsonOrder(JsonTest):
    """Of a number with an integer or a double; `of_others` for all that are no numbers."""

    cdef int wanted
    cdef bint is_integer
    cdef int64_t integer
    cdef double number
    cdef int of_others

    def __cinit__(self, row, column, of_null, path, is_binary, int wanted, other, of_others):
        self.wanted = wanted
        self.is_integer = isinstance(other, int)
        self.integer = other if self.is_integer else 0
        self.number = other
        self.of_others = IS_UNKNOWN if of_others is None else IS_TRUE if of_others else IS_FALSE

    cdef int of_value(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef int64_t integer = 0
        cdef double number = 0
        if p[0] != 0x2D and not 0x30 <= p[0] <= 0x39:
            return self.of_others
        if to_int64(p, n, &integer):
            if self.is_integer:
                return holds(self.wanted, order_of_int64s(integer, self.integer))
            return holds(self.wanted, order_of_doubles(<double>integer, self.number))
        if not to_double(p, n, &number):  # an integer that does not fit is one, too
            return IS_UNKNOWN
        return holds(self.wanted, order_of_doubles(number, self.number))


# ---------------------------------------------------------------------------------------- the document


cdef bint is_deep(const uint8_t *p, const uint8_t *end) noexcept:
    """Whether brackets may be nested so deeply that Python does not read the document."""
    cdef Py_ssize_t depth = 0
    if opened(p, end, 0x7B) + opened(p, end, 0x5B) <= MOST_OPENED:
        return False
    while p < end:
        if p[0] == 0x22:
            p = behind_text(p, end)
            if p == NULL:
                return True
            continue
        if p[0] == 0x7B or p[0] == 0x5B:
            depth += 1
            if depth > MOST_OPENED:
                return True
        elif p[0] == 0x7D or p[0] == 0x5D:
            depth -= 1
        p += 1
    return False


cdef Py_ssize_t opened(const uint8_t *p, const uint8_t *end, int bracket) noexcept:
    """How often there is a bracket, as far as it matters."""
    cdef Py_ssize_t count = 0
    while count <= MOST_OPENED:
        p = <const uint8_t *>memchr(p, bracket, <size_t>(end - p))
        if p == NULL:
            break
        p += 1
        count += 1
    return count


cdef inline bint is_space(uint8_t byte) noexcept:
    return byte == 0x20 or byte == 0x0A or byte == 0x0D or byte == 0x09


cdef inline const uint8_t *behind_space(const uint8_t *p, const uint8_t *end) noexcept:
    while p < end and is_space(p[0]):
        p += 1
    return p


cdef const uint8_t *behind_text(const uint8_t *p, const uint8_t *end) noexcept:
    """Behind the text that begins with a quotation mark here; NULL where it does not end."""
    cdef const uint8_t *start = p + 1
    cdef const uint8_t *slash
    p = start
    while p < end:
        p = <const uint8_t *>memchr(p, 0x22, <size_t>(end - p))
        if p == NULL:
            return NULL
        slash = p
        while slash > start and (slash - 1)[0] == 0x5C:
            slash -= 1
        p += 1
        if (p - slash) & 1:  # two backslashes are one
            return p
    return NULL


cdef const uint8_t *behind_value(const uint8_t *p, const uint8_t *end) noexcept:
    """Behind the value that begins here; NULL where it does not end."""
    cdef Py_ssize_t depth = 0
    if p == end:
        return NULL
    if p[0] == 0x22:
        return behind_text(p, end)
    if p[0] != 0x7B and p[0] != 0x5B:
        while p < end and p[0] > 0x20 and p[0] != 0x2C and p[0] != 0x7D and p[0] != 0x5D:
            p += 1
        return p
    while p < end:
        if p[0] == 0x22:
            p = behind_text(p, end)
            if p == NULL:
                return NULL
            continue
        if p[0] == 0x7B or p[0] == 0x5B:
            depth += 1
        elif p[0] == 0x7D or p[0] == 0x5D:
            depth -= 1
            if depth == 0:
                return p + 1
        p += 1
    return NULL


cdef Found find_field(Bytes *value, Bytes name, bint is_unique) noexcept:
    """Go from an object to one of its fields; the last one, where it has several of the name."""
    cdef const uint8_t *p = value.data
    cdef const uint8_t *end = p + value.size
    cdef const uint8_t *key
    cdef const uint8_t *start
    cdef Py_ssize_t key_size
    cdef Found found = MISSING
    if p[0] != 0x7B:
        return UNUSUAL
    p = behind_space(p + 1, end)
    if p < end and p[0] == 0x7D:
        return MISSING
    while p < end and p[0] == 0x22:
        key = p = p + 1
        while p < end and p[0] != 0x22:
            if p[0] == 0x5C:
                return UNUSUAL
            p += 1
        key_size = p - key
        p = behind_space(p + 1, end)
        if p >= end or p[0] != 0x3A:
            return UNUSUAL
        start = p = behind_space(p + 1, end)
        p = behind_value(p, end)
        if p == NULL:
            return UNUSUAL
        if are_equal(name, key, key_size):
            value.data = start
            value.size = p - start
            found = FOUND
            if is_unique:
                return FOUND
        p = behind_space(p, end)
        if p < end and p[0] == 0x7D:
            return found
        if p == end or p[0] != 0x2C:
            return UNUSUAL
        p = behind_space(p + 1, end)
    return UNUSUAL
