# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""PostgreSQL's text of a value as what msgspec encodes, compiled. Same results as `pure/values.py`.

An array or an hstore becomes JSON at once: an object for each element would take ten times its text in memory.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memmove

from ditto.decoding._conversion cimport MOST_JSON, Conversion
from ditto.decoding._scalar_values cimport check_utf8, convert_scalar, is_json_null, is_number

from msgspec import Raw
from msgspec.json import Encoder
from msgspec.msgpack import Encoder as Packer


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
cdef object pack = Packer().encode
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
    cdef Literal literal = open_literal(p, n)
    if kind != KIND_HSTORE:
        return literal.read_array(p, n, kind)
    try:
        literal.convert_hstore()
    except NotPlain:
        return convert_scalar(p, n, KIND_TEXT)
    return literal.as_raw()


cdef object convert_array(const uint8_t *p, Py_ssize_t n, int kind, Conversion element):
    """An array as JSON, each element made by `element` where that is not None."""
    cdef Literal literal = open_literal(p, n)
    literal.element = element
    return literal.read_array(p, n, kind)


cdef object pack_array(const uint8_t *p, Py_ssize_t n, int kind, object read):
    """An array as MessagePack; `read` makes of each text what is encoded, where it is not None."""
    cdef Literal literal = open_literal(p, n)
    literal.is_packed = True
    literal.read = read
    return literal.read_array(p, n, kind)


cdef inline Literal open_literal(const uint8_t *p, Py_ssize_t n):
    cdef Literal literal = Literal.__new__(Literal)
    literal.pos = p
    literal.end = p + n
    literal.json = new_bytes(NULL, n + n // 4 + 32)
    return literal


cdef class NotPlain(Exception):
    """The text is no plain literal, or JSON could not tell what it holds; it stays text.

    Not plain are bounds of its own (`[0:2]={…}`), which JSON's arrays do not have. In arrays of JSON, a document that
    is null would read as NULL, and one that is a list as another dimension.
    """


@cython.final
@cython.freelist(4)
cdef class Literal:
    """An array or hstore literal that is being read, and the JSON or the MessagePack that it becomes."""
    cdef const uint8_t *pos
    cdef const uint8_t *end
    cdef uint8_t *scratch  # room for a quoted text without its backslashes; made when the first one has some
    cdef PyObject *json    # bytes that have more room than is used
    cdef Py_ssize_t used
    cdef Conversion element  # what makes each element's JSON, or None
    cdef object read         # a function that makes each element of its text, or None
    cdef bint is_packed      # as MessagePack

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

    cdef object read_array(self, const uint8_t *p, Py_ssize_t n, int kind):
        """What has become of the whole text, or the text."""
        try:
            self.convert_array(kind & KIND_ELEMENT, 0x3B if kind & KIND_ARRAY_SEMICOLON else 0x2C, 1)
            if self.pos != self.end:
                raise NotPlain
        except NotPlain:
            return convert_scalar(p, n, KIND_TEXT)
        return self.as_raw()

    cdef int convert_array(self, int kind, uint8_t delimiter, int depth) except -1:
        cdef int byte
        cdef Py_ssize_t begin = self.used
        cdef Py_ssize_t count = 0
        if depth > MAX_DIMENSIONS or self.peek() != 0x7B:
            raise NotPlain
        self.pos += 1
        self.put(b"[", 1)
        if self.peek() == 0x7D:
            self.pos += 1
            return self.close_array(begin, count)
        while True:
            count += 1
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
                return self.close_array(begin, count)
            if byte != delimiter:
                raise NotPlain
            if not self.is_packed:
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
            return self.put(b"\xc0", 1) if self.is_packed else self.put(b"null", 4)
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

    cdef int close_array(self, Py_ssize_t begin, Py_ssize_t count) except -1:
        """Its elements are behind the bracket at `begin`; MessagePack has their number there, of 1, 3 or 5 bytes."""
        if not self.is_packed:
            return self.put(b"]", 1)
        cdef int width = 0 if count < 16 else 2 if count < 1 << 16 else 4
        self.room(width)
        cdef char *out = PyBytes_AS_STRING(<object>self.json) + begin
        if width:
            memmove(out + 1 + width, out + 1, <size_t>(self.used - begin - 1))
        out[0] = <char>(0xDD if width == 4 else 0xDC if width else 0x90 | count)
        put_size(out + 1, count, width)
        self.used += width
        return 0

    cdef int put_value(self, const uint8_t *p, Py_ssize_t n, int kind) except -1:
        """The JSON of an element; the usual kinds without making an object of it."""
        if self.is_packed:
            return self.pack_value(p, n, kind)
        if self.element is not None:
            return self.put_made(p, n)
        if kind == KIND_TEXT:
            return self.put_text(p, n)
        if (kind == KIND_INT and is_plain_int(p, n)) or (kind == KIND_FLOAT and is_number(p, n)):
            return self.put(<const char *>p, n)
        if kind == KIND_JSON and n:
            if is_json_null(p, n):
                raise NotPlain
            check_utf8(p, n)
            return self.put(<const char *>p, n)
        return self.put_bytes(encode(convert_value(p, n, kind)))

    cdef int put_made(self, const uint8_t *p, Py_ssize_t n) except -1:
        """What the conversion of elements makes of it."""
        cdef int size = self.element.write(p, n, self.room(MOST_JSON))
        if size < 0:
            return self.put_bytes(encode(self.element.make(p, n)))
        self.used += size
        return 0

    cdef inline int put_bytes(self, bytes data) except -1:
        return self.put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))

    cdef int pack_value(self, const uint8_t *p, Py_ssize_t n, int kind) except -1:
        if self.read is not None:
            return self.put_bytes(pack(self.read(convert_scalar(p, n, KIND_TEXT))))
        if kind == KIND_TEXT:
            check_utf8(p, n)
            return self.pack_text(p, n)
        cdef int64_t number = 0
        if kind == KIND_INT and small_int(p, n, &number):
            return self.pack_small(number)
        return self.put_bytes(pack(convert_value(p, n, kind)))

    cdef int pack_small(self, int64_t number) except -1:
        """An integer of 31 bits and a sign."""
        cdef char *out = self.room(5)
        if number >= 0 and number < 1 << 7 or number < 0 and number >= -(1 << 5):
            out[0] = <char>(number & 0xFF)
            self.used += 1
            return 0
        cdef int width
        if number >= 0:
            width = 1 if number < 1 << 8 else 2 if number < 1 << 16 else 4
            out[0] = <char>(0xCC if width == 1 else 0xCD if width == 2 else 0xCE)
        else:
            width = 1 if number >= -(1 << 7) else 2 if number >= -(1 << 15) else 4
            out[0] = <char>(0xD0 if width == 1 else 0xD1 if width == 2 else 0xD2)
        put_size(out + 1, number, width)
        self.used += 1 + width
        return 0

    cdef int pack_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef int width = 0 if n < 32 else 1 if n < 1 << 8 else 2 if n < 1 << 16 else 4
        cdef char *out = self.room(1 + width + n)
        out[0] = <char>(0xA0 | n if n < 32 else 0xD9 if width == 1 else 0xDA if width == 2 else 0xDB)
        put_size(out + 1, n, width)
        memcpy(out + 1 + width, p, <size_t>n)
        self.used += 1 + width + n
        return 0

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


cdef inline void put_size(char *out, int64_t value, int width) noexcept:
    """Of so many bytes, the highest first."""
    cdef int i
    for i in range(width):
        out[width - 1 - i] = <char>(value >> 8 * i & 0xFF)


cdef inline bint small_int(const uint8_t *p, Py_ssize_t n, int64_t *number) noexcept:
    """Whether the text is an integer of at most nine digits."""
    cdef const uint8_t *end = p + n
    cdef int64_t value = 0
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    if is_negative:
        p += 1
    if p == end or end - p > 9:
        return False
    while p < end:
        if not 0x30 <= p[0] <= 0x39:
            return False
        value = value * 10 + (p[0] - 0x30)
        p += 1
    number[0] = -value if is_negative else value
    return True


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
