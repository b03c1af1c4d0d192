# cython: language_level=3
"""Rows of a table that a snapshot read, compiled. Same interface and results as `pure/snapshot_rows.py`.

All rows are in one buffer, each as pgoutput's TupleData: a row costs its bytes and the 16 of its place.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy

from ditto.decoding._cells cimport (
    CELL_NULL, CELL_TEXT, CELL_UNCHANGED, Cell, ChangedRow, key_cell, key_of, key_text, read_cells,
)
from ditto.decoding._cursor cimport Cursor
from ditto.decoding._libpq cimport CopyStream

from ditto.errors import DecodeError

cdef enum:
    TAB = 0x09
    NEWLINE = 0x0A
    BACKSLASH = 0x5C

cdef enum:
    HEAD = 2        # bytes of a row before its columns
    CELL_HEAD = 5   # bytes of a column before its value
    SMALLEST_WASTE = 1 << 20

# What a letter after a backslash means; any other byte means itself.
cdef uint8_t[256] MEANT
for _byte in range(256):
    MEANT[_byte] = _byte
for _letter, _byte in zip(b"bfnrtv", b"\b\f\n\r\t\v"):
    MEANT[_letter] = _byte


cdef class Rows:
    """Rows of one relation, each as pgoutput's TupleData; a COPY fills them, and an overlay brings them up to date.

    COPY's text format: https://www.postgresql.org/docs/current/sql-copy.html.
    """

    def __cinit__(self, int column_count):
        self.column_count = column_count
        self.is_drained = True
        self.cells = <Cell *>malloc((<size_t>column_count + 1) * sizeof(Cell))
        if self.cells == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.buffer)
        free(self.spans)
        free(self.cells)

    @property
    def count(self):
        """How many rows there are."""
        return self.span_count

    def read(self, pgconn, *, Py_ssize_t max_bytes):
        """Take what libpq and the socket have of a COPY TO STDOUT in text format; True at its end.

        After the end the connection's next result says whether it failed. After about `max_bytes` bytes it stops, and
        `is_drained` is False: to be called again without waiting for the socket. Raises ConnectionLost, DecodeError.
        """
        cdef CopyStream stream = CopyStream(pgconn, "the connection that reads rows")
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t taken = 0
        cdef bint has_read = False
        cdef int length
        self.is_drained = True
        while taken < max_bytes:
            length = stream.next_message(&data)
            if length > 0:
                self.add_line(data, length)
                taken += length
                has_read = False
            elif length < 0:
                return True
            elif has_read:
                return False
            else:
                stream.read_socket()
                has_read = True
        self.is_drained = False
        return False

    def add(self, bytes line not None):
        """Add the row of one CopyData message, which ends with a newline. Raises DecodeError."""
        self.add_line(<const uint8_t *><const char *>line, len(line))

    def row(self, Py_ssize_t index):
        """TupleData."""
        self.check_index(index)
        cdef const char *start = <const char *>self.buffer + self.spans[index].start
        return start[:self.spans[index].size]

    def key(self, Py_ssize_t index, columns):
        """The text of these columns, which are not null. Raises DecodeError."""
        self.check_index(index)
        self.read_row(index)
        return [key_text(key_cell(self.cells, column, self.column_count)) for column in columns]

    def piece(self, Py_ssize_t start, *, Py_ssize_t max_rows, Py_ssize_t max_bytes):
        """Where the rows from `start` on reach one of the limits: at least one row further, unless there is none."""
        cdef Py_ssize_t stop = start
        cdef Py_ssize_t size = 0
        if start < 0:
            raise IndexError(f"row {start}")
        while stop < self.span_count and stop - start < max_rows:
            size += self.spans[stop].size
            if size > max_bytes and stop > start:
                break
            stop += 1
        return stop

    def overlay(self, messages, columns):
        """Bring the rows up to date: `messages` are changes of the relation that the rows do not have yet, in order.

        Each is an Insert, Update or Delete from its tag on; `columns` are those of the key. A row that is deleted, or
        whose key changes, is left out; one that comes with a change is not added, because the change says it all.
        """
        cdef ChangedRow change
        cdef tuple key_columns = tuple(columns)
        cdef dict index_of = {}
        cdef bytes message, key
        cdef Py_ssize_t index
        if not messages:
            return
        for index in range(self.span_count):
            self.read_row(index)
            index_of[key_of(self.cells, key_columns, self.column_count)] = index
        change = ChangedRow(self.column_count)
        try:
            for message in messages:
                change.read(<const uint8_t *><const char *>message, len(message))
                key = key_of(change.before, key_columns, self.column_count)
                found = index_of.get(key)
                if found is None:
                    continue
                index = found
                if change.is_delete or key_of(change.after, key_columns, self.column_count) != key:
                    del index_of[key]
                    self.size -= self.spans[index].size
                    self.spans[index].size = -1
                else:
                    self.merge(index, change)
        finally:
            self.drop_left_out()

    # ------------------------------------------------------------------------------------ buffer

    cdef int check_index(self, Py_ssize_t index) except -1:
        if not 0 <= index < self.span_count:
            raise IndexError(f"row {index} of {self.span_count}")
        return 0

    cdef int read_row(self, Py_ssize_t index) except -1:
        """Into `cells`."""
        cdef Cursor c
        c.pos = self.buffer + self.spans[index].start
        c.end = c.pos + self.spans[index].size
        return read_cells(&c, self.cells, self.column_count)

    cdef int reserve(self, Py_ssize_t n) except -1:
        """Let there be room for so many bytes, and for one row more."""
        cdef void *grown
        cdef Py_ssize_t room
        if self.room - self.used < n:
            room = (self.used + n) // 2 * 3 + 4096
            grown = realloc(self.buffer, <size_t>room)
            if grown == NULL:
                raise MemoryError
            self.buffer = <uint8_t *>grown
            self.room = room
        if self.span_count == self.span_room:
            room = self.span_room // 2 * 3 + 64
            grown = realloc(self.spans, <size_t>room * sizeof(Span))
            if grown == NULL:
                raise MemoryError
            self.spans = <Span *>grown
            self.span_room = room
        return 0

    cdef int add_row(self, Py_ssize_t n) except -1:
        """The bytes behind those that are used are a row of this size."""
        self.spans[self.span_count] = Span(self.used, n)
        self.span_count += 1
        self.used += n
        self.size += n
        return 0

    cdef int add_line(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef const uint8_t *end = p + n - 1
        cdef const uint8_t *stop
        cdef uint8_t *out
        cdef bint has_escapes
        cdef int count = 0
        if n == 0 or end[0] != NEWLINE:
            raise DecodeError("a row of a COPY that does not end")
        self.reserve(HEAD + CELL_HEAD * <Py_ssize_t>self.column_count + n)
        out = self.buffer + self.used
        out[0] = <uint8_t>(self.column_count >> 8)
        out[1] = <uint8_t>(self.column_count & 0xFF)
        out += HEAD
        has_escapes = memchr(p, BACKSLASH, <size_t>(end - p)) != NULL
        if self.column_count or p != end:
            while True:
                stop = <const uint8_t *>memchr(p, TAB, <size_t>(end - p))
                if stop == NULL:
                    stop = end
                count += 1
                if count <= self.column_count:
                    out = write_escaped(out, p, stop) if has_escapes else write_text(out, p, stop - p)
                if stop == end:
                    break
                p = stop + 1
        if count != self.column_count:
            raise DecodeError(f"a row of {count} columns where the relation has {self.column_count}")
        return self.add_row(out - self.buffer - self.used)

    cdef int merge(self, Py_ssize_t index, ChangedRow change) except -1:
        """Replace a row by what it is after the change; a column that is not sent keeps its value."""
        cdef Py_ssize_t size = HEAD
        cdef const Cell *cell
        cdef uint8_t *start
        cdef uint8_t *out
        cdef int i
        self.read_row(index)
        for i in range(self.column_count):
            cell = &change.after[i] if change.after[i].mark != CELL_UNCHANGED else &self.cells[i]
            size += CELL_HEAD + cell.size if cell.mark == CELL_TEXT else 1
        if self.used - self.size > self.size + SMALLEST_WASTE:
            self.compact()
        self.reserve(size)
        self.read_row(index)  # the buffer may be another one
        start = out = self.buffer + self.used
        out[0] = <uint8_t>(self.column_count >> 8)
        out[1] = <uint8_t>(self.column_count & 0xFF)
        out += HEAD
        for i in range(self.column_count):
            cell = &change.after[i] if change.after[i].mark != CELL_UNCHANGED else &self.cells[i]
            if cell.mark == CELL_TEXT:
                out = write_text(out, cell.data, cell.size)
            else:
                out[0] = CELL_NULL
                out += 1
        self.size += size - self.spans[index].size
        self.spans[index] = Span(start - self.buffer, size)
        self.used += size
        return 0

    cdef int compact(self) except -1:
        """Give up the bytes of rows that have been replaced or left out."""
        cdef Py_ssize_t room = self.size + self.size // 2 + 4096
        cdef Py_ssize_t used = 0
        cdef Py_ssize_t index
        cdef uint8_t *fresh = <uint8_t *>malloc(<size_t>room)
        if fresh == NULL:
            raise MemoryError
        for index in range(self.span_count):
            if self.spans[index].size >= 0:
                memcpy(fresh + used, self.buffer + self.spans[index].start, <size_t>self.spans[index].size)
                self.spans[index].start = used
                used += self.spans[index].size
        free(self.buffer)
        self.buffer, self.room, self.used = fresh, room, used
        return 0

    cdef int drop_left_out(self) noexcept:
        cdef Py_ssize_t first_moved = self.span_count - self.moved_count
        cdef Py_ssize_t kept = 0
        cdef Py_ssize_t index
        for index in range(self.span_count):
            if self.spans[index].size >= 0:
                self.spans[kept] = self.spans[index]
                kept += 1
            elif index >= first_moved:
                self.moved_count -= 1
        self.span_count = kept
        return 0


cdef inline uint8_t *write_text(uint8_t *out, const uint8_t *data, Py_ssize_t n) noexcept:
    """A column that has a value; returns what follows it."""
    out[0] = CELL_TEXT
    put_size(out + 1, n)
    memcpy(out + CELL_HEAD, data, <size_t>n)
    return out + CELL_HEAD + n


cdef inline int put_size(uint8_t *out, Py_ssize_t n) noexcept:
    out[0] = <uint8_t>(n >> 24 & 0xFF)
    out[1] = <uint8_t>(n >> 16 & 0xFF)
    out[2] = <uint8_t>(n >> 8 & 0xFF)
    out[3] = <uint8_t>(n & 0xFF)
    return 0


cdef uint8_t *write_escaped(uint8_t *out, const uint8_t *p, const uint8_t *stop) except NULL:
    """The same of a column that may have backslashes."""
    cdef uint8_t *start = out
    if stop - p == 2 and p[0] == BACKSLASH and p[1] == 0x4E:
        out[0] = CELL_NULL
        return out + 1
    out += CELL_HEAD
    while p < stop:
        if p[0] == BACKSLASH:
            p += 1
            if p == stop:
                raise DecodeError("a column of a COPY that ends with a backslash")
            out[0] = MEANT[p[0]]
        else:
            out[0] = p[0]
        out += 1
        p += 1
    start[0] = CELL_TEXT
    put_size(start + 1, out - start - CELL_HEAD)
    return out
