# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""PostgreSQL's text of a value as what msgspec encodes, compiled. Same results as `_values_py.py`."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from ditto._cursor cimport Cursor

from msgspec import Raw


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object o)

# The kinds of ditto/columns.py.
cdef enum:
    KIND_TEXT = 0
    KIND_BOOL = 1
    KIND_INT = 2
    KIND_FLOAT = 3
    KIND_JSON = 4
    KIND_TIMESTAMP = 5
    KIND_TIMESTAMPTZ = 6
    KIND_BYTEA = 7
    KIND_TIMESTAMP_UTC = 8
    KIND_HSTORE = 9
    KIND_ELEMENT = 15
    KIND_ARRAY_SEMICOLON = 32

cdef enum:
    MAX_DIMENSIONS = 6

cdef uint64_t SIGN_BIT = <uint64_t>1 << 63
cdef bytes BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef const char *BASE64_DIGITS = BASE64
cdef object make_raw = Raw


cdef inline bint is_digit(uint8_t byte) noexcept:
    return 0x30 <= byte <= 0x39


cdef inline bint is_ascii(const uint8_t *p, Py_ssize_t n) noexcept:
    """Eight or four bytes at a time, the last ones once more where they are not a full step."""
    cdef const uint8_t *end = p + n
    cdef uint64_t word = 0
    cdef uint32_t first = 0, last = 0
    if n >= 8:
        while end - p > 8:
            memcpy(&word, p, 8)
            if word & 0x8080808080808080ULL:
                return False
            p += 8
        memcpy(&word, end - 8, 8)
        return not word & 0x8080808080808080ULL
    if n >= 4:
        memcpy(&first, p, 4)
        memcpy(&last, end - 4, 4)
        return not (first | last) & 0x80808080U
    while p < end:
        if p[0] & 0x80:
            return False
        p += 1
    return True


cdef inline object to_text(const uint8_t *p, Py_ssize_t n):
    # CPython keeps one object for each single character, and one for none.
    if n < 2 or not is_ascii(p, n):
        return PyUnicode_DecodeUTF8(<const char *>p, n, NULL)
    text = PyUnicode_New(n, 0x7F)
    memcpy(PyUnicode_DATA(text), p, <size_t>n)
    return text


cdef int check_utf8(const uint8_t *p, Py_ssize_t n) except -1:
    """What is embedded as it stands has to be UTF-8 too: a database in SQL_ASCII sends any bytes."""
    if not is_ascii(p, n):
        PyUnicode_DecodeUTF8(<const char *>p, n, NULL)
    return 0


cdef object to_int(const uint8_t *p, Py_ssize_t n):
    cdef Py_ssize_t i = 0
    cdef uint64_t value = 0
    cdef bint is_negative = n > 0 and p[0] == 0x2D
    if is_negative:
        i = 1
    if n == i or n - i > 19:  # 19 digits always fit 64 bits
        return to_text(p, n)
    while i < n:
        if not is_digit(p[i]):
            return to_text(p, n)
        value = value * 10 + (p[i] - 0x30)
        i += 1
    if is_negative:
        if value > SIGN_BIT:
            return to_text(p, n)
        return <int64_t>(0 - value)
    if value >= SIGN_BIT:
        return to_text(p, n)
    return <int64_t>value


cdef bint is_number(const uint8_t *p, Py_ssize_t n) noexcept:
    """Whether the text is a JSON number: NaN and the infinities are not."""
    cdef const uint8_t *end = p + n
    if p < end and p[0] == 0x2D:
        p += 1
    if p == end or not is_digit(p[0]):
        return False
    if p[0] == 0x30:
        p += 1
    else:
        while p < end and is_digit(p[0]):
            p += 1
    if p < end and p[0] == 0x2E:
        p += 1
        if p == end or not is_digit(p[0]):
            return False
        while p < end and is_digit(p[0]):
            p += 1
    if p < end and (p[0] == 0x65 or p[0] == 0x45):
        p += 1
        if p < end and (p[0] == 0x2B or p[0] == 0x2D):
            p += 1
        if p == end or not is_digit(p[0]):
            return False
        while p < end and is_digit(p[0]):
            p += 1
    return p == end


cdef object to_timestamp(const uint8_t *p, Py_ssize_t n, bint has_zone, bint is_utc):
    """`2026-01-02 03:04:05.1` with a T, and Z for +00 or with `is_utc`; infinity and BC as they stand."""
    cdef Py_ssize_t length = n
    cdef Py_ssize_t space = -1
    cdef Py_ssize_t i
    cdef uint8_t *out
    if has_zone:
        if n < 3 or p[n - 3] != 0x2B or p[n - 2] != 0x30 or p[n - 1] != 0x30:
            return to_text(p, n)
        length = n - 3
    elif n == 0 or not is_digit(p[n - 1]):
        return to_text(p, n)
    for i in range(n):
        if p[i] >= 0x80:
            return to_text(p, n)
        if p[i] == 0x20:
            if space >= 0:
                return to_text(p, n)
            space = i
    if space < 0:
        return to_text(p, n)
    text = PyUnicode_New(length + is_utc, 0x7F)
    out = <uint8_t *>PyUnicode_DATA(text)
    memcpy(out, p, <size_t>length)
    out[space] = 0x54
    if is_utc:
        out[length] = 0x5A
    return text


cdef object to_bytea(const uint8_t *p, Py_ssize_t n):
    r"""`\xdeadbeef` as base64."""
    if n < 2 or n % 2 or p[0] != 0x5C or p[1] != 0x78:
        return to_text(p, n)
    cdef Py_ssize_t count = (n - 2) // 2
    cdef Py_ssize_t i
    cdef int high, low
    cdef uint32_t group
    cdef uint8_t *data = <uint8_t *>malloc(<size_t>count + 3)
    cdef char *out
    if data == NULL:
        raise MemoryError
    try:
        for i in range(count):
            high = hex_value(p[2 + 2 * i])
            low = hex_value(p[3 + 2 * i])
            if high < 0 or low < 0:
                return to_text(p, n)
            data[i] = <uint8_t>(high << 4 | low)
        data[count] = 0
        data[count + 1] = 0
        text = PyUnicode_New((count + 2) // 3 * 4, 0x7F)
        out = <char *>PyUnicode_DATA(text)
        for i in range((count + 2) // 3):
            group = <uint32_t>data[3 * i] << 16 | <uint32_t>data[3 * i + 1] << 8 | data[3 * i + 2]
            out[0] = BASE64_DIGITS[group >> 18]
            out[1] = BASE64_DIGITS[group >> 12 & 63]
            out[2] = BASE64_DIGITS[group >> 6 & 63]
            out[3] = BASE64_DIGITS[group & 63]
            out += 4
        if count % 3:
            (out - 1)[0] = 0x3D
            if count % 3 == 1:
                (out - 2)[0] = 0x3D
        return text
    finally:
        free(data)


cdef inline int hex_value(uint8_t byte) noexcept:
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    if 0x61 <= byte <= 0x66:
        return byte - 0x57
    if 0x41 <= byte <= 0x46:
        return byte - 0x37
    return -1


cdef object convert_value(const uint8_t *p, Py_ssize_t n, int kind):
    if kind == KIND_TEXT:
        return to_text(p, n)
    if kind == KIND_INT:
        return to_int(p, n)
    if kind == KIND_BOOL:
        if n == 1:
            if p[0] == 0x74:
                return True
            if p[0] == 0x66:
                return False
        return to_text(p, n)
    if kind == KIND_FLOAT:
        if is_number(p, n):
            return make_raw(PyBytes_FromStringAndSize(<const char *>p, n))
        return to_text(p, n)
    if kind == KIND_JSON:
        if n:
            check_utf8(p, n)
            return make_raw(PyBytes_FromStringAndSize(<const char *>p, n))
        return ""
    if kind == KIND_TIMESTAMP:
        return to_timestamp(p, n, False, False)
    if kind == KIND_TIMESTAMPTZ:
        return to_timestamp(p, n, True, True)
    if kind == KIND_BYTEA:
        return to_bytea(p, n)
    if kind == KIND_TIMESTAMP_UTC:
        return to_timestamp(p, n, False, True)
    if kind == KIND_HSTORE:
        return to_hstore(p, n)
    return to_array(p, n, kind)


def convert(bytes data not None, int kind):
    """PostgreSQL's text of one value as what msgspec encodes. What does not fit its kind stays text."""
    return convert_value(<const uint8_t *><const char *>data, len(data), kind)


cdef object to_hstore(const uint8_t *p, Py_ssize_t n):
    """`"a"=>"1", "b"=>NULL` as hstore writes it, as a dict; what is something else stays text."""
    cdef Cursor c
    cdef dict pairs = {}
    c.pos = p
    c.end = p + n
    try:
        while c.pos != c.end:
            if pairs:
                expect_bytes(&c, b", ", 2)
            expect_bytes(&c, b'"', 1)
            key = read_quoted(&c, KIND_TEXT)
            expect_bytes(&c, b"=>", 2)
            if peek(&c) == 0x22:
                c.pos += 1
                pairs[key] = read_quoted(&c, KIND_TEXT)
            else:
                expect_bytes(&c, b"NULL", 4)
                pairs[key] = None
    except NotAnArray:
        return to_text(p, n)
    return pairs


cdef int expect_bytes(Cursor *c, const char *wanted, Py_ssize_t n) except -1:
    if c.end - c.pos < n or memcmp(c.pos, wanted, <size_t>n) != 0:
        raise NotAnArray
    c.pos += n
    return 0


cdef bint is_json_null(const uint8_t *p, Py_ssize_t n) noexcept:
    """Whether a value of type json or jsonb is JSON's null, which embedded would look like SQL's NULL."""
    cdef const uint8_t *end = p + n
    if n < 4:
        return False
    while p < end and is_space(p[0]):
        p += 1
    while p < end and is_space((end - 1)[0]):
        end -= 1
    return end - p == 4 and memcmp(p, b"null", 4) == 0


cdef inline bint is_space(uint8_t byte) noexcept:
    return byte == 0x20 or byte == 0x09 or byte == 0x0D or byte == 0x0A


cdef class NotAnArray(Exception):
    """The text is not a plain array literal, or JSON could not tell what it holds; it stays text.

    Not plain are bounds of its own (`[0:2]={…}`), which JSON's arrays do not have. In arrays of JSON, a document that
    is null would read as NULL, and one that is a list as another dimension.
    """


cdef object to_array(const uint8_t *p, Py_ssize_t n, int kind):
    cdef Cursor c
    cdef uint8_t delimiter = 0x3B if kind & KIND_ARRAY_SEMICOLON else 0x2C
    c.pos = p
    c.end = p + n
    try:
        array = read_array(&c, kind & KIND_ELEMENT, delimiter, 1)
        if c.pos == c.end:
            return array
    except NotAnArray:
        pass
    return to_text(p, n)


cdef inline int peek(Cursor *c) except -1:
    if c.pos == c.end:
        raise NotAnArray
    return c.pos[0]


cdef list read_array(Cursor *c, int kind, uint8_t delimiter, int depth):
    cdef list items = []
    cdef int byte
    if depth > MAX_DIMENSIONS or peek(c) != 0x7B:
        raise NotAnArray
    c.pos += 1
    if peek(c) == 0x7D:
        c.pos += 1
        return items
    while True:
        byte = peek(c)
        if byte == 0x7B:
            if kind == KIND_JSON:
                raise NotAnArray
            items.append(read_array(c, kind, delimiter, depth + 1))
        elif byte == 0x22:
            c.pos += 1
            items.append(read_quoted(c, kind))
        else:
            items.append(read_bare(c, kind, delimiter))
        byte = peek(c)
        c.pos += 1
        if byte == 0x7D:
            return items
        if byte != delimiter:
            raise NotAnArray


cdef object read_quoted(Cursor *c, int kind):
    """The value up to the closing quote, without its backslashes; the opening one has been read."""
    cdef uint8_t *text
    cdef Py_ssize_t n = 0
    cdef int byte
    text = <uint8_t *>malloc(<size_t>(c.end - c.pos) + 1)
    if text == NULL:
        raise MemoryError
    try:
        while True:
            byte = peek(c)
            c.pos += 1
            if byte == 0x22:
                if kind == KIND_JSON and is_json_null(text, n):
                    raise NotAnArray
                return convert_value(text, n, kind)
            if byte == 0x5C:
                byte = peek(c)
                c.pos += 1
            text[n] = <uint8_t>byte
            n += 1
    finally:
        free(text)


cdef object read_bare(Cursor *c, int kind, uint8_t delimiter):
    cdef const uint8_t *start = c.pos
    cdef Py_ssize_t n
    cdef int byte
    while True:
        byte = peek(c)
        if byte == 0x7D or byte == delimiter:
            break
        if byte == 0x7B or byte == 0x22 or byte == 0x5C:
            raise NotAnArray
        c.pos += 1
    n = c.pos - start
    if n == 0:
        raise NotAnArray
    if n == 4 and start[0] == 0x4E and start[1] == 0x55 and start[2] == 0x4C and start[3] == 0x4C:
        return None
    if kind == KIND_JSON and is_json_null(start, n):
        raise NotAnArray
    return convert_value(start, n, kind)
