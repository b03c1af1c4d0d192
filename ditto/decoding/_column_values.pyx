# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""PostgreSQL's text of a value as what msgspec encodes, compiled. Same results as `pure/values.py`.

An array or an hstore becomes JSON at once: an object for each element would take ten times its text in memory.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from ditto.decoding._scalar_values cimport check_utf8, convert_scalar, is_json_null, is_number

from msgspec import Raw
from msgspec.json import Encoder


cdef extern from "Python.h":
    int _PyBytes_Resize(PyObject **bytes_object, Py_ssize_t size) except -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL

# The kinds of ditto/decoding/column_kinds.py; the pxd has the others.
cdef enum:
    KIND_TEXT = 0
    KIND_INT = 2
    KIND_FLOAT = 3
    KIND_JSON = 4
    KIND_ELEMENT = 15
    KIND_ARRAY_SEMICOLON = 32

cdef enum:
    MAX_DIMENSIONS = 6
    EXACT_DIGITS = 18  # so many always fit 64 bits

cdef object make_raw = Raw
cdef object encode = Encoder().encode
cdef const char *HEX_DIGITS = "0123456789abcdef"

# What follows the backslash in JSON; 0 for a byte that is itself there, u for one that is written as a number.
cdef uint8_t[256] ESCAPES
for _byte in range(256):
    ESCAPES[_byte] = 0x75 if _byte < 0x20 else 0
for _byte, _letter in zip(b'"\\\b\f\n\r\t', b'"\\bfnrt'):
    ESCAPES[_byte] = _letter


def convert(bytes data not None, int kind):
    """PostgreSQL's text of one value as what msgspec encodes. What does not fit its kind stays text."""
    return convert_value(<const uint8_t *><const char *>data, len(data), kind)


cdef object convert_container(const uint8_t *p, Py_ssize_t n, int kind):
    """An array or an hstore as JSON."""
    cdef Literal literal = Literal.__new__(Literal)
    literal.pos = p
    literal.end = p + n
    literal.json = new_bytes(NULL, n + n // 4 + 32)
    try:
        if kind == KIND_HSTORE:
            literal.convert_hstore()
        else:
            literal.convert_array(kind & KIND_ELEMENT, 0x3B if kind & KIND_ARRAY_SEMICOLON else 0x2C, 1)
            if literal.pos != literal.end:
                raise NotPlain
    except NotPlain:
        return convert_scalar(p, n, KIND_TEXT)
    return literal.as_raw()


cdef class NotPlain(Exception):
    """The text is no plain literal, or JSON could not tell what it holds; it stays text.

    Not plain are bounds of its own (`[0:2]={…}`), which JSON's arrays do not have. In arrays of JSON, a document that
    is null would read as NULL, and one that is a list as another dimension.
    """


@cython.final
@cython.freelist(4)
cdef class Literal:
    """An array or hstore literal that is being read, and the JSON that it becomes."""
    cdef const uint8_t *pos
    cdef const uint8_t *end
    cdef uint8_t *scratch  # room for a quoted text without its backslashes; made when the first one has some
    cdef PyObject *json    # bytes that have more room than is used
    cdef Py_ssize_t used

    def __dealloc__(self):
        free(self.scratch)
        Py_XDECREF(self.json)

    # ------------------------------------------------------------------------------------ in

    cdef inline int peek(self) except -1:
        if self.pos == self.end:
            raise NotPlain
        return self.pos[0]

    cdef int expect(self, const char *wanted, Py_ssize_t n) except -1:
        if self.end - self.pos < n or memcmp(self.pos, wanted, <size_t>n) != 0:
            raise NotPlain
        self.pos += n
        return 0

    cdef int convert_array(self, int kind, uint8_t delimiter, int depth) except -1:
        cdef int byte
        if depth > MAX_DIMENSIONS or self.peek() != 0x7B:
            raise NotPlain
        self.pos += 1
        self.put(b"[", 1)
        if self.peek() == 0x7D:
            self.pos += 1
            return self.put(b"]", 1)
        while True:
            byte = self.peek()
            if byte == 0x7B:
                if kind == KIND_JSON:
                    raise NotPlain
                self.convert_array(kind, delimiter, depth + 1)
            elif byte == 0x22:
                self.pos += 1
                self.convert_quoted(kind)
            else:
                self.convert_bare(kind, delimiter)
            byte = self.peek()
            self.pos += 1
            if byte == 0x7D:
                return self.put(b"]", 1)
            if byte != delimiter:
                raise NotPlain
            self.put(b",", 1)

    cdef int convert_hstore(self) except -1:
        """`"a"=>"1", "b"=>NULL` as hstore writes it."""
        self.put(b"{", 1)
        while self.pos != self.end:
            if self.used > 1:
                self.expect(b", ", 2)
                self.put(b",", 1)
            self.expect(b'"', 1)
            self.convert_quoted(KIND_TEXT)
            self.expect(b"=>", 2)
            self.put(b":", 1)
            if self.peek() == 0x22:
                self.pos += 1
                self.convert_quoted(KIND_TEXT)
            else:
                self.expect(b"NULL", 4)
                self.put(b"null", 4)
        return self.put(b"}", 1)

    cdef int convert_quoted(self, int kind) except -1:
        """The value up to the closing quote, without its backslashes; the opening one has been read."""
        cdef const uint8_t *start = self.pos
        cdef uint8_t *out
        while self.peek() != 0x22 and self.pos[0] != 0x5C:
            self.pos += 1
        if self.pos[0] == 0x22:
            self.pos += 1
            return self.put_value(start, self.pos - 1 - start, kind)
        if self.scratch == NULL:  # what comes later is shorter than what is left here
            self.scratch = <uint8_t *>malloc(<size_t>(self.end - start))
            if self.scratch == NULL:
                raise MemoryError
        memcpy(self.scratch, start, <size_t>(self.pos - start))
        out = self.scratch + (self.pos - start)
        while self.peek() != 0x22:
            if self.pos[0] == 0x5C:
                self.pos += 1
                self.peek()
            out[0] = self.pos[0]
            out += 1
            self.pos += 1
        self.pos += 1
        return self.put_value(self.scratch, out - self.scratch, kind)

    cdef int convert_bare(self, int kind, uint8_t delimiter) except -1:
        cdef const uint8_t *start = self.pos
        cdef Py_ssize_t n
        cdef int byte
        while True:
            byte = self.peek()
            if byte == 0x7D or byte == delimiter:
                break
            if byte == 0x7B or byte == 0x22 or byte == 0x5C:
                raise NotPlain
            self.pos += 1
        n = self.pos - start
        if n == 0:
            raise NotPlain
        if n == 4 and memcmp(start, b"NULL", 4) == 0:
            return self.put(b"null", 4)
        return self.put_value(start, n, kind)

    # ------------------------------------------------------------------------------------ out

    cdef object as_raw(self):
        """What has been written, with no room left."""
        _PyBytes_Resize(&self.json, self.used)
        return make_raw(<object>self.json)

    cdef inline char *room(self, Py_ssize_t n) except NULL:
        """Where the next n bytes go."""
        if PyBytes_GET_SIZE(<object>self.json) - self.used < n:
            _PyBytes_Resize(&self.json, (self.used + n) // 2 * 3)
        return PyBytes_AS_STRING(<object>self.json) + self.used

    cdef inline int put(self, const char *data, Py_ssize_t n) except -1:
        memcpy(self.room(n), data, <size_t>n)
        self.used += n
        return 0

    cdef int put_value(self, const uint8_t *p, Py_ssize_t n, int kind) except -1:
        """The JSON of an element; the usual kinds without making an object of it."""
        if kind == KIND_TEXT:
            return self.put_text(p, n)
        if (kind == KIND_INT and is_plain_int(p, n)) or (kind == KIND_FLOAT and is_number(p, n)):
            return self.put(<const char *>p, n)
        if kind == KIND_JSON and n:
            if is_json_null(p, n):
                raise NotPlain
            check_utf8(p, n)
            return self.put(<const char *>p, n)
        cdef bytes encoded = encode(convert_value(p, n, kind))
        return self.put(encoded, PyBytes_GET_SIZE(encoded))

    cdef int put_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef const uint8_t *end = p + n
        cdef const uint8_t *start
        check_utf8(p, n)
        self.put(b'"', 1)
        while True:
            start = p
            while p < end and not ESCAPES[p[0]]:
                p += 1
            self.put(<const char *>start, p - start)
            if p == end:
                return self.put(b'"', 1)
            self.put_escape(p[0])
            p += 1

    cdef int put_escape(self, uint8_t byte) except -1:
        cdef char[6] escape
        escape[0] = 0x5C
        escape[1] = ESCAPES[byte]
        if ESCAPES[byte] != 0x75:
            return self.put(escape, 2)
        escape[2] = escape[3] = 0x30
        escape[4] = HEX_DIGITS[byte >> 4]
        escape[5] = HEX_DIGITS[byte & 15]
        return self.put(escape, 6)


cdef bint is_plain_int(const uint8_t *p, Py_ssize_t n) noexcept:
    """Whether the text is an integer as JSON writes it, and certainly one of 64 bits."""
    cdef const uint8_t *end = p + n
    if n and p[0] == 0x2D:
        p += 1
        if p < end and p[0] == 0x30:
            return False
    if p == end or end - p > EXACT_DIGITS or (p[0] == 0x30 and end - p > 1):
        return False
    while p < end:
        if not 0x30 <= p[0] <= 0x39:
            return False
        p += 1
    return True
