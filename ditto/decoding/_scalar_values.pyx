# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""The text of a value that is no array and no hstore as what msgspec encodes. Same results as `pure/values.py`."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8, PyUnicode_DecodeUTF8Stateful
from libc.stdint cimport int8_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from msgspec import Raw


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object o)

# The kinds of ditto/decoding/column_kinds.py.
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
    KIND_CHAR = 10

# How much is looked at in one go where a copy is made only to see whether it is UTF-8.
cdef enum:
    CHECKED_SIZE = 1 << 20

cdef uint64_t SIGN_BIT = <uint64_t>1 << 63
cdef bytes BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef const char *BASE64_DIGITS = BASE64
cdef object make_raw = Raw
cdef int8_t[256] HEX_VALUES
for _value in range(256):
    HEX_VALUES[_value] = -1
for _value in range(16):
    HEX_VALUES[b"0123456789abcdef"[_value]] = <int8_t>_value
    HEX_VALUES[b"0123456789ABCDEF"[_value]] = <int8_t>_value


cdef inline bint is_digit(uint8_t byte) noexcept:
    return 0x30 <= byte <= 0x39


cdef bint is_ascii(const uint8_t *p, Py_ssize_t n) noexcept:
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
    """What is embedded unchanged has to be UTF-8 too: a database in SQL_ASCII sends any bytes."""
    cdef Py_ssize_t checked = 0
    if is_ascii(p, n):
        return 0
    while n > CHECKED_SIZE:
        PyUnicode_DecodeUTF8Stateful(<const char *>p, CHECKED_SIZE, NULL, &checked)
        p += checked
        n -= checked
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


cdef Py_ssize_t find_space(const uint8_t *p, Py_ssize_t n, bint has_zone) noexcept:
    """Where a timestamp has the space that becomes a T; less than 0 in a text that stays as it is."""
    cdef Py_ssize_t space = -1
    cdef Py_ssize_t i
    if has_zone:
        if n < 3 or p[n - 3] != 0x2B or p[n - 2] != 0x30 or p[n - 1] != 0x30:
            return -1
    elif n == 0 or not is_digit(p[n - 1]):
        return -1
    for i in range(n):
        if p[i] >= 0x80:
            return -1
        if p[i] == 0x20:
            if space >= 0:
                return -1
            space = i
    return space


cdef object to_timestamp(const uint8_t *p, Py_ssize_t n, bint has_zone, bint is_utc):
    """`2026-01-02 03:04:05.1` with a T, and Z for +00 or with `is_utc`; infinity and BC unchanged."""
    cdef Py_ssize_t length = n - 3 if has_zone else n
    cdef Py_ssize_t space = find_space(p, n, has_zone)
    cdef uint8_t *out
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
    cdef const uint8_t *at = p + 2
    cdef int group
    text = PyUnicode_New((count + 2) // 3 * 4, 0x7F)
    cdef char *out = <char *>PyUnicode_DATA(text)
    while count > 0:
        group = hex_group(at, count)
        if group < 0:
            return to_text(p, n)
        out[0] = BASE64_DIGITS[group >> 18]
        out[1] = BASE64_DIGITS[group >> 12 & 63]
        out[2] = BASE64_DIGITS[group >> 6 & 63] if count > 1 else 0x3D
        out[3] = BASE64_DIGITS[group & 63] if count > 2 else 0x3D
        out += 4
        at += 6
        count -= 3
    return text


cdef inline int hex_group(const uint8_t *p, Py_ssize_t count) noexcept:
    """Three bytes as one number, one or two as if zeros followed; less than 0 for what is not hexadecimal."""
    cdef int high = HEX_VALUES[p[0]] << 4 | HEX_VALUES[p[1]]
    cdef int middle = HEX_VALUES[p[2]] << 4 | HEX_VALUES[p[3]] if count > 1 else 0
    cdef int low = HEX_VALUES[p[4]] << 4 | HEX_VALUES[p[5]] if count > 2 else 0
    if high < 0 or middle < 0 or low < 0:  # -1 in either half makes all of it negative
        return -1
    return high << 16 | middle << 8 | low


cdef object to_char(const uint8_t *p, Py_ssize_t n):
    r"""A value of type "char", or the text of an array of them.

    Before 15 a byte from 128 on comes as it is, which is no UTF-8; from then on as `\310`, in an array as `"\\310"`.
    """
    cdef Py_ssize_t i
    try:
        return to_text(p, n)
    except UnicodeDecodeError:
        escape = "\\%o" if n == 1 else '"\\\\%o"'
        return "".join([chr(p[i]) if p[i] < 0x80 else escape % p[i] for i in range(n)])


cdef object convert_scalar(const uint8_t *p, Py_ssize_t n, int kind):
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
    if kind == KIND_CHAR:
        return to_char(p, n)
    raise ValueError(f"no scalar's kind: {kind}")


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
