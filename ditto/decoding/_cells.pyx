# cython: language_level=3
"""The columns of a row as they are sent, not converted, compiled. Same results as `pure/cells.py`."""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from ditto.decoding._cursor cimport Cursor, finish, take, take_i32, take_u8, take_u16, take_u32

from ditto.errors import DecodeError
from ditto.hints import NOT_UTF8_ROW


cdef extern from "Python.h":
    bytes new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size)
    char *PyBytes_AS_STRING(object bytes_object)

cdef enum:
    INSERT = 0x49
    DELETE = 0x44
    NEW_ROW = 0x4E
    KEY_ROW = 0x4B
    OLD_ROW = 0x4F


cdef class ChangedRow:
    """What an Insert, an Update or a Delete of a relation with so many columns sends; to be filled again and again."""

    def __cinit__(self, int count):
        self.count = count
        self.before = <Cell *>malloc((<size_t>count + 1) * sizeof(Cell))
        self.after = <Cell *>malloc((<size_t>count + 1) * sizeof(Cell))
        if self.before == NULL or self.after == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.before)
        free(self.after)

    cdef int read(self, const uint8_t *data, Py_ssize_t n) except -1:
        """Read the message from its tag on; what was read before is gone."""
        cdef Cursor c
        c.pos = data
        c.end = data + n
        cdef int tag = take_u8(&c)
        take_u32(&c)
        cdef int part = take_u8(&c)
        cdef bint is_whole = part == OLD_ROW
        cdef bint has_old = tag != INSERT and (is_whole or part == KEY_ROW)
        self.is_delete = tag == DELETE
        if has_old:
            read_cells(&c, self.before, self.count)
            if self.is_delete:
                return finish(&c)
            part = take_u8(&c)
        if part != NEW_ROW or self.is_delete:
            raise DecodeError(f"unknown part of a change 0x{part:02X}")
        read_cells(&c, self.after, self.count)
        if has_old:
            self.complete(is_whole)
        else:
            memcpy(self.before, self.after, <size_t>self.count * sizeof(Cell))
        return finish(&c)

    cdef int complete(self, bint is_old_whole) noexcept:
        """Values that are only sent with the old row, because they did not change."""
        cdef int i
        for i in range(self.count):
            if self.after[i].mark == CELL_UNCHANGED and (is_old_whole or self.before[i].mark != CELL_NULL):
                self.after[i] = self.before[i]
        return 0

    cdef bint lacks_columns(self) noexcept:
        """Whether a value is not sent at all: neither with the new row nor with the old one."""
        cdef int i
        if self.is_delete:
            return False
        for i in range(self.count):
            if self.after[i].mark == CELL_UNCHANGED:
                return True
        return False


cdef int read_cells(Cursor *c, Cell *cells, int count) except -1:
    """TupleData, of which there are so many columns."""
    cdef int found = take_u16(c)
    cdef int i
    if found != count:
        raise DecodeError(f"a row of {found} columns where the relation has {count}")
    for i in range(count):
        cells[i].mark = take_u8(c)
        if cells[i].mark == CELL_TEXT:
            cells[i].size = take_i32(c)
            cells[i].data = take(c, cells[i].size)
        elif cells[i].mark != CELL_NULL and cells[i].mark != CELL_UNCHANGED:
            raise DecodeError(f"unknown column kind 0x{cells[i].mark:02X}")
    return 0


cdef const Cell *key_cell(const Cell *cells, object column, int count) except NULL:
    cdef Py_ssize_t index = column
    if not 0 <= index < count:
        raise IndexError(f"column {index} of {count}")
    return &cells[index]


cdef bytes key_of(const Cell *cells, tuple columns, int count):
    """The values of these columns, as one object to look up."""
    cdef const Cell *cell
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t width
    for column in columns:
        cell = key_cell(cells, column, count)
        size += sizeof(Py_ssize_t) + (cell.size if cell.mark == CELL_TEXT else 0)
    cdef bytes key = new_bytes(NULL, size)
    cdef char *out = PyBytes_AS_STRING(key)
    for column in columns:
        cell = key_cell(cells, column, count)
        width = cell.size if cell.mark == CELL_TEXT else -cell.mark
        memcpy(out, &width, sizeof(Py_ssize_t))
        out += sizeof(Py_ssize_t)
        if cell.mark == CELL_TEXT:
            memcpy(out, cell.data, <size_t>cell.size)
            out += cell.size
    return key


cdef str key_text(const Cell *cell):
    """The value of a key's column. Raises DecodeError."""
    if cell.mark != CELL_TEXT:
        raise DecodeError("a key that has a column without a value")
    try:
        return PyUnicode_DecodeUTF8(<const char *>cell.data, cell.size, NULL)
    except UnicodeDecodeError:  # it quotes the bytes: not to be chained
        raise DecodeError("text that is not UTF-8 in a key", hint=NOT_UTF8_ROW) from None
