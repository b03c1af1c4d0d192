# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives above touch only code that indexes typed buffers; every read of a message goes through take().
"""The decoder, compiled: CopyData messages of a replication connection in, events out.

Same interface and same results as `_pgoutput_py.py`, where the layouts are easier to read. It drains libpq
itself: one call a wake-up. libpq is found in the module that psycopg itself loaded, never linked: two copies
of libpq in a process must not share a connection.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Copy, PyDict_DelItem, PyDict_GetItem, PyDict_SetItem
from cpython.list cimport PyList_Append
from cpython.ref cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, intptr_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy

import sys

from msgspec import UNSET, Raw
from psycopg import OperationalError, pq

from ditto.columns import KIND_OF_NAME, KIND_OF_OID
from ditto.errors import ConnectionLost, DecodeError
from ditto.event import Event
from ditto.lsn import ORIGIN, format_lsn
from ditto.messages import Block, Column, Delivered, Relation


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object o)

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *filename, int flags)
    void *dlsym(void *handle, const char *symbol)
    int RTLD_NOW
    int RTLD_NOLOAD

# pgoutput's and the replication protocol's bytes, as integers.
cdef enum:
    COPY_DATA = 0x77      # w
    KEEPALIVE = 0x6B      # k
    BEGIN = 0x42          # B
    COMMIT = 0x43         # C
    RELATION = 0x52       # R
    TYPE = 0x59           # Y
    INSERT = 0x49         # I
    UPDATE = 0x55         # U
    DELETE = 0x44         # D
    TRUNCATE = 0x54       # T
    MESSAGE = 0x4D        # M
    ORIGIN_NAME = 0x4F    # O
    NEW_ROW = 0x4E        # N
    KEY_ROW = 0x4B        # K
    OLD_ROW = 0x4F        # O
    VALUE_TEXT = 0x74     # t
    VALUE_NULL = 0x6E     # n
    VALUE_UNCHANGED = 0x75  # u

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
    KIND_ELEMENT = 15
    KIND_ARRAY_SEMICOLON = 32

cdef enum:
    MAX_DIMENSIONS = 6

cdef uint64_t EVERYTHING = <uint64_t>1 << 63
cdef int64_t US_PER_DAY = 86_400_000_000
cdef bytes HEX = b"0123456789abcdef"
cdef const char *HEX_DIGITS = HEX
cdef bytes BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef const char *BASE64_DIGITS = BASE64
cdef str A_INSERT = "INSERT"
cdef str A_UPDATE = "UPDATE"
cdef str A_DELETE = "DELETE"
cdef str A_TRUNCATE = "TRUNCATE"
cdef object make_event = Event
cdef object make_raw = Raw
cdef object unset = UNSET


# ------------------------------------------------------------------------------------------------ libpq

ctypedef int (*get_copy_data_t)(void *conn, char **buffer, int is_async) noexcept nogil
ctypedef int (*consume_input_t)(void *conn) noexcept nogil
ctypedef void (*freemem_t)(void *ptr) noexcept nogil

cdef get_copy_data_t pq_get_copy_data = NULL
cdef consume_input_t pq_consume_input = NULL
cdef freemem_t pq_freemem = NULL


cdef bint find_libpq() except -1:
    """Resolve the three functions from psycopg's own module; False where psycopg is plain Python (ctypes)."""
    global pq_get_copy_data, pq_consume_input, pq_freemem
    path = getattr(sys.modules[pq.PGconn.__module__], "__file__", None)
    if pq.__impl__ == "python" or path is None:
        return False
    encoded = path.encode()
    cdef void *module = dlopen(encoded, RTLD_NOW | RTLD_NOLOAD)
    if module == NULL:
        return False
    pq_get_copy_data = <get_copy_data_t>dlsym(module, "PQgetCopyData")
    pq_consume_input = <consume_input_t>dlsym(module, "PQconsumeInput")
    pq_freemem = <freemem_t>dlsym(module, "PQfreemem")
    return pq_get_copy_data != NULL and pq_consume_input != NULL and pq_freemem != NULL


IS_LIBPQ_DIRECT = bool(find_libpq())
cdef bint is_libpq_direct = IS_LIBPQ_DIRECT


# ----------------------------------------------------------------------------------------------- cursor

cdef struct Cursor:
    const uint8_t *pos
    const uint8_t *end


cdef inline const uint8_t *take(Cursor *c, Py_ssize_t n) except NULL:
    cdef const uint8_t *start = c.pos
    if n < 0 or n > c.end - c.pos:
        raise DecodeError(f"need {n} bytes, {c.end - c.pos} left")
    c.pos += n
    return start


cdef inline int take_u8(Cursor *c) except -1:
    return take(c, 1)[0]


cdef inline int take_u16(Cursor *c) except -1:
    cdef const uint8_t *p = take(c, 2)
    return p[0] << 8 | p[1]


cdef inline int64_t take_u32(Cursor *c) except -1:
    cdef const uint8_t *p = take(c, 4)
    return <int64_t>(<uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | <uint32_t>p[3])


cdef inline int32_t take_i32(Cursor *c) except? -1:
    return <int32_t><uint32_t>take_u32(c)


cdef inline uint64_t take_u64(Cursor *c) except? 0xFFFFFFFFFFFFFFFF:
    cdef const uint8_t *p = take(c, 8)
    cdef uint64_t value = 0
    cdef int i
    for i in range(8):
        value = value << 8 | p[i]
    return value


cdef str take_string(Cursor *c):
    cdef const uint8_t *stop = <const uint8_t *>memchr(c.pos, 0, <size_t>(c.end - c.pos))
    if stop == NULL:
        raise DecodeError("a string has no end")
    cdef Py_ssize_t n = stop - c.pos
    cdef const uint8_t *start = take(c, n + 1)
    return PyUnicode_DecodeUTF8(<const char *>start, n, NULL)


cdef int finish(Cursor *c) except -1:
    if c.pos != c.end:
        raise DecodeError(f"{c.end - c.pos} bytes too many")
    return 0


# ----------------------------------------------------------------------------------------------- values

cdef inline bint is_digit(uint8_t byte) noexcept:
    return 0x30 <= byte <= 0x39


cdef inline object to_text(const uint8_t *p, Py_ssize_t n):
    return PyUnicode_DecodeUTF8(<const char *>p, n, NULL)


cdef int check_utf8(const uint8_t *p, Py_ssize_t n) except -1:
    """What is embedded as it stands has to be UTF-8 too: a database in SQL_ASCII sends any bytes."""
    cdef Py_ssize_t i
    for i in range(n):
        if p[i] >= 0x80:
            to_text(p, n)
            break
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
        if value > EVERYTHING:
            return to_text(p, n)
        return <int64_t>(0 - value)
    if value >= EVERYTHING:
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


cdef object to_timestamp(const uint8_t *p, Py_ssize_t n, bint has_zone):
    """`2026-01-02 03:04:05.1` with a T, and Z for +00; infinity and BC as they stand."""
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
    text = PyUnicode_New(length + has_zone, 0x7F)
    out = <uint8_t *>PyUnicode_DATA(text)
    memcpy(out, p, <size_t>length)
    out[space] = 0x54
    if has_zone:
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
        return to_timestamp(p, n, False)
    if kind == KIND_TIMESTAMPTZ:
        return to_timestamp(p, n, True)
    if kind == KIND_BYTEA:
        return to_bytea(p, n)
    return to_array(p, n, kind)


def convert(bytes data not None, int kind):
    """PostgreSQL's text of one value as what msgspec encodes. What does not fit its kind stays text."""
    return convert_value(<const uint8_t *><const char *>data, len(data), kind)


# ----------------------------------------------------------------------------------------------- arrays

cdef class NotAnArray(Exception):
    """The text is not an array literal; it stays text."""


cdef object to_array(const uint8_t *p, Py_ssize_t n, int kind):
    cdef Cursor c
    cdef uint8_t delimiter = 0x3B if kind & KIND_ARRAY_SEMICOLON else 0x2C
    c.pos = p
    c.end = p + n
    skip_bounds(&c)
    try:
        array = read_array(&c, kind & KIND_ELEMENT, delimiter, 1)
        if c.pos == c.end:
            return array
    except NotAnArray:
        pass
    return to_text(p, n)


cdef void skip_bounds(Cursor *c) noexcept:
    """Step over `[0:2][1:3]=`; anything else is left alone."""
    cdef const uint8_t *p = c.pos
    cdef int part
    if p == c.end or p[0] != 0x5B:
        return
    while p < c.end and p[0] == 0x5B:
        for part in range(2):
            p += 1
            if p < c.end and (p[0] == 0x2B or p[0] == 0x2D):
                p += 1
            if p == c.end or not is_digit(p[0]):
                return
            while p < c.end and is_digit(p[0]):
                p += 1
            if p == c.end or p[0] != (0x5D if part else 0x3A):
                return
        p += 1
    if p < c.end and p[0] == 0x3D:
        c.pos = p + 1


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
            items.append(read_array(c, kind, delimiter, depth + 1))
        elif byte == 0x22:
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
    cdef uint8_t *text
    cdef Py_ssize_t n = 0
    cdef int byte
    c.pos += 1
    text = <uint8_t *>malloc(<size_t>(c.end - c.pos) + 1)
    if text == NULL:
        raise MemoryError
    try:
        while True:
            byte = peek(c)
            c.pos += 1
            if byte == 0x22:
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
    return convert_value(start, n, kind)


# ------------------------------------------------------------------------------------ times and event ids

cdef inline void put_digits(char *out, int64_t value, int width) noexcept:
    cdef int i
    for i in range(width - 1, -1, -1):
        out[i] = <char>(0x30 + value % 10)
        value //= 10


cdef str format_time(int64_t time_us):
    """µs since 2000-01-01 UTC as RFC 3339. Days to civil date as in Howard Hinnant's published algorithm."""
    cdef int64_t days = time_us // US_PER_DAY  # rounds down, as in Python (cdivision is off)
    cdef int64_t rest = time_us % US_PER_DAY
    cdef int64_t shifted, era, doe, yoe, doy, mp, year, month, day
    cdef char *out
    shifted = days + 730_425  # days from 0000-03-01 to 2000-01-01
    if shifted < 306 or shifted > 3_652_364:  # 0001-01-01 to 9999-12-31
        raise DecodeError(f"a commit time of {time_us} µs")
    era = shifted // 146_097
    doe = shifted - era * 146_097
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    text = PyUnicode_New(27, 0x7F)
    out = <char *>PyUnicode_DATA(text)
    put_digits(out, year, 4)
    put_digits(out + 5, month, 2)
    put_digits(out + 8, day, 2)
    put_digits(out + 11, rest // 3_600_000_000, 2)
    put_digits(out + 14, rest // 60_000_000 % 60, 2)
    put_digits(out + 17, rest // 1_000_000 % 60, 2)
    put_digits(out + 20, rest % 1_000_000, 6)
    out[4] = out[7] = 0x2D
    out[10] = 0x54
    out[13] = out[16] = 0x3A
    out[19] = 0x2E
    out[26] = 0x5A
    return text


cdef str format_uuid(uint64_t high, uint64_t low):
    cdef int i
    cdef uint64_t half
    text = PyUnicode_New(36, 0x7F)
    cdef char *out = <char *>PyUnicode_DATA(text)
    for i in range(32):
        half = high if i < 16 else low
        out[0] = HEX_DIGITS[half >> (60 - 4 * (i & 15)) & 15]
        out += 1
        if i == 7 or i == 11 or i == 15 or i == 19:
            out[0] = 0x2D
            out += 1
    return text


# ---------------------------------------------------------------------------------------------- decoder

cdef class Plan:
    """What is worked out once for a relation."""
    cdef object relation
    cdef str namespace
    cdef str name
    cdef list names
    cdef dict blank  # every column, null: a copy of it is filled a row
    cdef tuple targets
    cdef int count
    cdef uint8_t *kinds   # one a column
    cdef uint8_t *is_key  # one a column

    def __cinit__(self, relation, list column_kinds, targets):
        cdef int i
        self.relation = relation
        self.namespace = relation.namespace
        self.name = relation.name
        self.names = [sys.intern(column.name) for column in relation.columns]
        self.blank = dict.fromkeys(self.names)
        self.targets = tuple(targets)
        if len(self.targets) != 4:
            raise ValueError("select() returns a target for each of the four actions")
        self.count = <int>len(self.names)
        self.kinds = <uint8_t *>malloc(<size_t>self.count + 1)
        self.is_key = <uint8_t *>malloc(<size_t>self.count + 1)
        if self.kinds == NULL or self.is_key == NULL:
            raise MemoryError
        for i, column in enumerate(relation.columns):
            self.kinds[i] = <uint8_t>column_kinds[i]
            self.is_key[i] = 1 if column.is_key else 0

    def __dealloc__(self):
        free(self.kinds)
        free(self.is_key)


cdef class Decoder:
    """Turns the CopyData messages of one replication connection into events.

    `select` is asked once for each Relation message. `id_key` is `event_key(…)`. Changes up to and
    with the position `after` are stored already: they are skipped without being converted.
    """
    cdef object select
    cdef uint64_t key_high
    cdef uint64_t key_low
    cdef uint64_t after_lsn
    cdef uint64_t after_ordinal
    cdef dict plans
    cdef dict types
    cdef Plan last_plan
    cdef int64_t last_oid
    cdef bint is_open
    cdef uint64_t commit_lsn
    cdef object commit_lsn_object
    cdef str commit_time
    cdef uint64_t ordinal
    cdef uint64_t skip_to
    cdef bint is_selected
    cdef uint64_t idle_lsn
    cdef readonly uint64_t skipped_count
    cdef readonly uint64_t filtered_count
    cdef readonly uint64_t logical_message_count
    # the block that is being filled
    cdef list events
    cdef list event_targets
    cdef list commit_lsns
    cdef list ordinals
    cdef Py_ssize_t size
    cdef Py_ssize_t frame_count
    cdef object delivered
    cdef bint is_reply_requested

    def __init__(self, select, *, bytes id_key not None, after=ORIGIN):
        self.select = select
        self.key_high = int.from_bytes(id_key[:8]) >> 4
        self.key_low = int.from_bytes(id_key[8:16]) >> 2
        self.after_lsn, self.after_ordinal = after
        self.plans = {}
        self.types = {}
        self.last_oid = -1
        self.start_block()

    cdef int start_block(self) except -1:
        self.events = []
        self.event_targets = []
        self.commit_lsns = []
        self.ordinals = []
        self.size = 0
        self.frame_count = 0
        self.delivered = None
        self.is_reply_requested = False
        return 0

    cdef object finish_block(self, bint is_drained, bint is_ended):
        block = Block(
            self.events,
            self.event_targets,
            self.commit_lsns,
            self.ordinals,
            self.size,
            self.frame_count,
            self.delivered,
            0 if self.is_open else self.idle_lsn,
            self.is_reply_requested,
            is_drained,
            is_ended,
        )
        self.start_block()
        return block

    def feed(self, bytes frame not None):
        """Decode one CopyData message. Raises DecodeError, after which the decoder is of no more use."""
        self.decode_frame(<const uint8_t *><const char *>frame, len(frame))

    def take(self):
        """Hand over what has been decoded since the last call."""
        return self.finish_block(True, False)

    def read(self, pgconn, *, Py_ssize_t max_events, Py_ssize_t max_bytes, int max_rounds):
        """Drain libpq until it has nothing more, or a limit is reached.

        `max_rounds` bounds how often the socket is read. Raises ConnectionLost and DecodeError.
        """
        cdef int rounds = 0
        cdef Py_ssize_t count_at_read = -1
        cdef bint is_drained = True
        cdef bint is_ended = False
        cdef int length
        cdef int is_alive
        cdef char *buffer = NULL
        cdef void *conn
        if not is_libpq_direct:
            return self.read_plain(pgconn, max_events, max_bytes, max_rounds)
        conn = <void *><intptr_t>pgconn.pgconn_ptr
        if conn == NULL:
            raise ConnectionLost("the replication connection is closed")
        while True:
            if len(self.events) >= max_events or self.size >= max_bytes:
                is_drained = False
                break
            length = pq_get_copy_data(conn, &buffer, 1)
            if length > 0:
                try:
                    self.decode_frame(<const uint8_t *>buffer, length)
                finally:
                    pq_freemem(buffer)
            elif length < 0:
                is_ended = True
                break
            elif rounds == max_rounds or self.frame_count == count_at_read:
                break
            else:
                rounds += 1
                count_at_read = self.frame_count
                with nogil:
                    is_alive = pq_consume_input(conn)
                if not is_alive:
                    raise ConnectionLost("the replication connection broke")
        return self.finish_block(is_drained, is_ended)

    def read_plain(self, pgconn, Py_ssize_t max_events, Py_ssize_t max_bytes, int max_rounds):
        """`read` through psycopg's own methods, where libpq's functions cannot be reached."""
        cdef int rounds = 0
        cdef Py_ssize_t count_at_read = -1
        cdef bint is_drained = True
        cdef bint is_ended = False
        while True:
            if len(self.events) >= max_events or self.size >= max_bytes:
                is_drained = False
                break
            length, data = pgconn.get_copy_data(1)
            if length > 0:
                self.feed(bytes(data))
            elif length < 0:
                is_ended = True
                break
            elif rounds == max_rounds or self.frame_count == count_at_read:
                break
            else:
                rounds += 1
                count_at_read = self.frame_count
                try:
                    pgconn.consume_input()
                except OperationalError as error:
                    raise ConnectionLost("the replication connection broke") from error
        return self.finish_block(is_drained, is_ended)

    # -------------------------------------------------------------------------------- the messages

    cdef int decode_frame(self, const uint8_t *data, Py_ssize_t n) except -1:
        cdef Cursor c
        c.pos = data
        c.end = data + n
        self.frame_count += 1
        self.size += n
        try:
            self.decode_copy(&c)
        except DecodeError as error:
            raise self.explain(error) from error
        except UnicodeDecodeError:  # it quotes the bytes: not to be chained
            raise self.explain(DecodeError("text that is not UTF-8")) from None
        return 0

    cdef object explain(self, error):
        where = f" in the transaction that commits at {format_lsn(self.commit_lsn)}" if self.is_open else ""
        return DecodeError(
            f"cannot decode what PostgreSQL sent{where}: {error.message}",
            hint="nothing is lost, the slot holds the change. Text may be invalid in a SQL_ASCII database; all else "
            "is a fault of Ditto: please report it",
            **error.context,
        )

    cdef int decode_copy(self, Cursor *c) except -1:
        cdef int tag = take_u8(c)
        cdef uint64_t end_lsn
        if tag == COPY_DATA:  # start8 end8 ts8 payload
            take(c, 24)
            return self.decode_message(c)
        if tag == KEEPALIVE:  # end8 ts8 reply1
            end_lsn = take_u64(c)
            take(c, 8)
            if take_u8(c):
                self.is_reply_requested = True
            finish(c)
            if not self.is_open and end_lsn > self.idle_lsn:
                self.idle_lsn = end_lsn
            return 0
        raise DecodeError(f"unknown replication message 0x{tag:02X}")

    cdef int decode_message(self, Cursor *c) except -1:
        cdef int tag = take_u8(c)
        if tag == INSERT or tag == UPDATE or tag == DELETE:
            return self.decode_change(c, tag)
        if tag == BEGIN:
            return self.decode_begin(c)
        if tag == COMMIT:
            return self.decode_commit(c)
        if tag == RELATION:
            return self.decode_relation(c)
        if tag == TYPE:
            return self.decode_type(c)
        if tag == TRUNCATE:
            return self.decode_truncate(c)
        if tag == MESSAGE:
            return self.decode_logical_message(c)
        if tag == ORIGIN_NAME:
            take(c, 8)
            take_string(c)
            return finish(c)
        if chr(tag) in "SEcAbPKrp":
            raise DecodeError(f"a streamed or prepared transaction (message {chr(tag)!r}), which was not asked for")
        raise DecodeError(f"unknown message 0x{tag:02X}")

    cdef int decode_begin(self, Cursor *c) except -1:
        cdef uint64_t final_lsn = take_u64(c)
        cdef int64_t time_us = <int64_t>take_u64(c)
        take(c, 4)
        finish(c)
        if self.is_open:
            raise DecodeError("a Begin inside a transaction")
        if final_lsn <= self.commit_lsn:
            raise DecodeError(f"the transaction at {format_lsn(final_lsn)} comes out of commit order")
        self.is_open = True
        self.commit_lsn = final_lsn
        self.commit_lsn_object = final_lsn
        self.commit_time = format_time(time_us)
        self.ordinal = 0
        self.is_selected = final_lsn <= self.after_lsn
        if final_lsn < self.after_lsn:
            self.skip_to = EVERYTHING
        elif final_lsn == self.after_lsn:
            self.skip_to = self.after_ordinal
        else:
            self.skip_to = 0
        return 0

    cdef int decode_commit(self, Cursor *c) except -1:
        cdef uint64_t commit_lsn, end_lsn
        take(c, 1)
        commit_lsn = take_u64(c)
        end_lsn = take_u64(c)
        take(c, 8)
        finish(c)
        if not self.is_open:
            raise DecodeError("a Commit outside a transaction")
        if commit_lsn != self.commit_lsn or end_lsn <= commit_lsn:
            raise DecodeError(f"a Commit at {format_lsn(commit_lsn)} that does not fit its Begin")
        self.is_open = False
        if end_lsn > self.idle_lsn:
            self.idle_lsn = end_lsn
        if self.is_selected:
            self.delivered = Delivered(commit_lsn, end_lsn, len(self.events))
        return 0

    cdef int decode_type(self, Cursor *c) except -1:
        oid = take_u32(c)
        namespace = take_string(c)
        name = take_string(c)
        finish(c)
        self.types[oid] = name if namespace in ("", "pg_catalog") else f"{namespace}.{name}"
        return 0

    cdef int decode_relation(self, Cursor *c) except -1:
        cdef int identity, flags
        oid = take_u32(c)
        namespace = take_string(c)
        name = take_string(c)
        identity = take_u8(c)
        if chr(identity) not in "dnfi":
            raise DecodeError(f"unknown replica identity 0x{identity:02X}", relation=f"{namespace}.{name}")
        columns = []
        kinds = []
        for _ in range(take_u16(c)):
            flags = take_u8(c)
            if flags > 1:
                raise DecodeError(f"unknown column flags {flags}", relation=f"{namespace}.{name}")
            column_name = take_string(c)
            type_oid = take_u32(c)
            column = Column(column_name, type_oid, take_i32(c), flags == 1)
            columns.append(column)
            kind = KIND_OF_OID.get(type_oid)
            if kind is None:
                kind = KIND_OF_NAME.get(self.types.get(type_oid, ""), KIND_TEXT)
            kinds.append(kind)
        finish(c)
        if len({column.name for column in columns}) != len(columns):
            raise DecodeError("two columns of one name", relation=f"{namespace}.{name}")
        relation = Relation(oid, namespace or "pg_catalog", name, chr(identity), tuple(columns))
        self.plans[oid] = Plan(relation, kinds, self.select(relation))
        self.last_oid = -1
        return 0

    cdef int decode_logical_message(self, Cursor *c) except -1:
        cdef int flags = take_u8(c)
        take(c, 8)
        take_string(c)
        take(c, take_i32(c))
        finish(c)
        if flags > 1:
            raise DecodeError(f"unknown flags {flags} of a logical message")
        if flags == 1:
            self.count_change()
        self.logical_message_count += 1
        return 0

    cdef int count_change(self) except -1:
        if not self.is_open:
            raise DecodeError("a change outside a transaction")
        self.ordinal += 1
        return 0

    cdef int find_plan(self, int64_t oid) except -1:
        """Make `last_plan` the plan of this relation: changes of one table mostly come in a row."""
        cdef PyObject *found
        if oid != self.last_oid:
            found = PyDict_GetItem(self.plans, oid)
            if found == NULL:
                raise DecodeError(f"a change of relation {oid}, which was not described")
            self.last_plan = <Plan>found
            self.last_oid = oid
        return 0

    cdef object find_target(self, int action):
        """The target of this change, or None where it is to be skipped."""
        target = self.last_plan.targets[action]
        if target is None:
            self.filtered_count += 1
        elif self.ordinal <= self.skip_to:
            self.skipped_count += 1
            target = None
        return target

    cdef int decode_truncate(self, Cursor *c) except -1:
        cdef int64_t count = take_u32(c)
        cdef int flags = take_u8(c)
        cdef Cursor oids
        if flags > 3:
            raise DecodeError(f"unknown flags {flags} of a Truncate")
        oids.pos = take(c, 4 * count)
        oids.end = c.pos
        finish(c)
        while oids.pos != oids.end:
            self.count_change()
            self.find_plan(take_u32(&oids))
            target = self.find_target(3)
            if target is not None:
                self.emit(target, A_TRUNCATE, {}, {}, unset)
        return 0

    cdef int decode_change(self, Cursor *c, int tag) except -1:
        self.count_change()
        self.find_plan(take_u32(c))
        target = self.find_target(0 if tag == INSERT else 1 if tag == UPDATE else 2)
        if target is None:
            return 0
        try:
            if tag == INSERT:
                self.decode_insert(c, target)
            elif tag == UPDATE:
                self.decode_update(c, target)
            else:
                self.decode_delete(c, target)
        except DecodeError as error:
            error.context["relation"] = f"{self.last_plan.namespace}.{self.last_plan.name}"
            raise
        except UnicodeDecodeError:  # it quotes the bytes: not to be chained
            raise DecodeError(
                "text that is not UTF-8", relation=f"{self.last_plan.namespace}.{self.last_plan.name}"
            ) from None
        return 0

    cdef int decode_insert(self, Cursor *c, object target) except -1:
        cdef dict data = PyDict_Copy(self.last_plan.blank)
        expect(take_u8(c), NEW_ROW, NEW_ROW)
        unchanged = self.decode_new(c, data, None)
        finish(c)
        return self.emit(target, A_INSERT, data, {}, unchanged)

    cdef int decode_update(self, Cursor *c, object target) except -1:
        cdef dict data = PyDict_Copy(self.last_plan.blank)
        cdef dict old = {}
        cdef int part = take_u8(c)
        if part != NEW_ROW:
            expect(part, KEY_ROW, OLD_ROW)
            self.decode_old(c, old, part == OLD_ROW)
            expect(take_u8(c), NEW_ROW, NEW_ROW)
        unchanged = self.decode_new(c, data, old if part == OLD_ROW else None)
        finish(c)
        return self.emit(target, A_UPDATE, data, old, unchanged)

    cdef int decode_delete(self, Cursor *c, object target) except -1:
        cdef dict old = {}
        cdef int part = take_u8(c)
        expect(part, KEY_ROW, OLD_ROW)
        self.decode_old(c, old, part == OLD_ROW)
        finish(c)
        return self.emit(target, A_DELETE, {}, old, unset)

    cdef int check_count(self, Cursor *c) except -1:
        cdef int count = take_u16(c)
        if count != self.last_plan.count:
            raise DecodeError(f"a row of {count} columns where the relation has {self.last_plan.count}")
        return 0

    cdef object decode_new(self, Cursor *c, dict row, dict full_old):
        """Fill `row`, a copy of the blank one; return the names of the columns that were not sent, or UNSET."""
        cdef Plan plan = self.last_plan
        cdef object unchanged = unset
        cdef const uint8_t *data
        cdef PyObject *old_value
        cdef int i, mark
        cdef Py_ssize_t n
        self.check_count(c)
        for i in range(plan.count):
            mark = take_u8(c)
            if mark == VALUE_TEXT:
                n = take_i32(c)
                data = take(c, n)
                PyDict_SetItem(row, plan.names[i], convert_value(data, n, plan.kinds[i]))
            elif mark == VALUE_NULL:
                pass  # as in the blank row
            elif mark == VALUE_UNCHANGED:
                old_value = NULL
                if full_old is not None:
                    old_value = PyDict_GetItem(full_old, plan.names[i])
                if old_value != NULL:
                    PyDict_SetItem(row, plan.names[i], <object>old_value)
                    continue
                PyDict_DelItem(row, plan.names[i])
                if unchanged is unset:
                    unchanged = [plan.names[i]]
                else:
                    unchanged.append(plan.names[i])
            else:
                raise DecodeError(f"unknown column kind 0x{mark:02X}")
        return unchanged

    cdef int decode_old(self, Cursor *c, dict row, bint is_whole) except -1:
        """Fill `row` with the old row, or its key columns only: the others are sent as nulls."""
        cdef Plan plan = self.last_plan
        cdef const uint8_t *data
        cdef int i, mark
        cdef Py_ssize_t n
        self.check_count(c)
        for i in range(plan.count):
            mark = take_u8(c)
            if mark == VALUE_TEXT:
                n = take_i32(c)
                data = take(c, n)
                if is_whole or plan.is_key[i]:
                    PyDict_SetItem(row, plan.names[i], convert_value(data, n, plan.kinds[i]))
            elif mark == VALUE_NULL:
                if is_whole or plan.is_key[i]:
                    PyDict_SetItem(row, plan.names[i], None)
            elif mark != VALUE_UNCHANGED:
                raise DecodeError(f"unknown column kind 0x{mark:02X}")
        return 0

    cdef int emit(self, object target, str action, dict data, dict old, object unchanged) except -1:
        cdef uint64_t high = (self.commit_lsn >> 4) ^ self.key_high
        cdef uint64_t low = ((self.commit_lsn & 0xF) << 58 | self.ordinal) ^ self.key_low
        event_id = format_uuid(
            (high & ~<uint64_t>0xFFF) << 4 | 0x8000 | (high & 0xFFF),
            EVERYTHING | low,
        )
        PyList_Append(
            self.events,
            make_event(
                event_id,
                self.last_plan.namespace,
                self.last_plan.name,
                action,
                data,
                old,
                self.commit_time,
                unchanged,
            ),
        )
        PyList_Append(self.event_targets, target)
        PyList_Append(self.commit_lsns, self.commit_lsn_object)
        PyList_Append(self.ordinals, self.ordinal)
        self.is_selected = True
        return 0


cdef inline int expect(int part, int first, int second) except -1:
    if part != first and part != second:
        raise DecodeError(f"unknown part of a change 0x{part:02X}")
    return 0
