# cython: language_level=3
"""Rows of a snapshot as Ditto's own events, written from what PostgreSQL sent: the same bytes as of a `ReadRow`.

Nothing is made of a row but its bytes. Values whose text has no usual form become what msgspec encodes first.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.list cimport PyList_Append, PyList_GET_ITEM
from libc.stdint cimport uint64_t

from ditto.decoding._block cimport BlockBuilder, Plan
from ditto.decoding._cells cimport CELL_TEXT, Cell, key_cell, key_text
from ditto.decoding._column_values cimport convert_value, is_plain_int
from ditto.decoding._scalar_values cimport check_utf8, find_space, is_ascii, is_json_null, is_number
from ditto.formats._output cimport (
    Output, add_buffer, add_bytes, close_output, expect, open_output, put, put_bytes, reserve,
)
from ditto.formats._texts cimport add_json_data, add_json_text

import msgspec

# The kinds of ditto/decoding/column_kinds.py that are written without making an object.
cdef enum:
    KIND_TEXT = 0
    KIND_BOOL = 1
    KIND_INT = 2
    KIND_FLOAT = 3
    KIND_JSON = 4
    KIND_TIMESTAMP = 5
    KIND_TIMESTAMPTZ = 6
    KIND_TIMESTAMP_UTC = 8

cdef enum:
    FIRST_ROOM = 1024
    ID_SIZE = 36
    AROUND = 16  # bytes that have room beside a value or an id

cdef object encode = msgspec.json.Encoder().encode
cdef object make_raw = msgspec.Raw


cdef class ReadLines:
    """The events of one block after the other, of one plan that has no shape."""

    def __init__(self, Plan plan not None):
        cdef list names = [encode(name) + b":" for name in plan.names]
        self.plan = plan
        self.names = names[:1] + [b"," + name for name in names[1:]]
        self.head = b'","schema":%b,"table":%b,"action":"READ","data":{' % (encode(plan.namespace), encode(plan.name))

    cdef int begin(self, str run, str commit_time, Py_ssize_t row_count) except -1:
        """The next block, of so many rows."""
        self.tail = b'},"dataOld":{},"commitTime":' + encode(commit_time)
        self.mark = b',"snapshot":{"run":' + encode(run)
        self.data = open_output(&self.out, FIRST_ROOM)
        self.ends = []
        self.row_count = row_count
        return 0

    cdef int close(self) except -1:
        """`data` and `ends` are complete."""
        return close_output(&self.out)

    cdef int add(
        self, BlockBuilder builder, const Cell *cells, tuple key, list cursor, uint64_t commit_lsn, uint64_t ordinal
    ) except -1:
        """A row, with the key's columns or the texts of `cursor` as its cursor; both None: without one."""
        cdef Output *out = &self.out
        cdef Plan plan = self.plan
        cdef bytes name
        cdef int i
        cdef bint has_json_null = False
        reserve(out, AROUND + ID_SIZE + PyBytes_GET_SIZE(self.head))
        put(out, b'{"id":"', 7)
        builder.put_id(commit_lsn, ordinal, out.start + out.used)
        out.used += ID_SIZE
        put_bytes(out, self.head)
        for i in range(plan.count):
            name = <bytes>PyList_GET_ITEM(self.names, i)
            reserve(out, PyBytes_GET_SIZE(name) + AROUND)
            put_bytes(out, name)
            self.add_value(&cells[i], plan.kinds[i])
            if plan.kinds[i] == KIND_JSON and cells[i].mark == CELL_TEXT and is_json_null(cells[i].data, cells[i].size):
                has_json_null = True
        add_bytes(out, self.tail)
        if has_json_null:
            add_bytes(out, b',"jsonNull":' + encode(find_json_nulls(cells, plan)))
        add_bytes(out, self.mark)
        self.add_cursor(cells, key, cursor)
        reserve(out, 3)
        put(out, b"}}\n", 3)
        PyList_Append(self.ends, out.used - 1)
        if len(self.ends) == 1:
            expect(out, self.row_count)
        return 0

    cdef int add_value(self, const Cell *cell, int kind) except -1:
        """There is room for AROUND bytes."""
        cdef Output *out = &self.out
        if cell.mark != CELL_TEXT:
            put(out, b"null", 4)
            return 0
        if kind == KIND_TEXT:
            check_utf8(cell.data, cell.size)
            return add_json_data(out, <const char *>cell.data, cell.size)
        if kind == KIND_BOOL and cell.size == 1:
            if cell.data[0] == 0x74:
                put(out, b"true", 4)
                return 0
            if cell.data[0] == 0x66:
                put(out, b"false", 5)
                return 0
        if (kind == KIND_INT and is_plain_int(cell.data, cell.size)) or (
            kind == KIND_FLOAT and is_number(cell.data, cell.size)
        ) or (kind == KIND_JSON and cell.size and check_utf8(cell.data, cell.size) == 0):
            reserve(out, cell.size)
            put(out, <const char *>cell.data, cell.size)
            return 0
        if kind in (KIND_TIMESTAMP, KIND_TIMESTAMPTZ, KIND_TIMESTAMP_UTC) and self.add_timestamp(cell, kind):
            return 0
        value = convert_value(cell.data, cell.size, kind)
        if type(value) is str:
            return add_json_text(out, value)
        return add_buffer(out, value if type(value) is make_raw else encode(value))

    cdef bint add_timestamp(self, const Cell *cell, int kind) except -1:
        """False where the text is to stay as it is."""
        cdef Output *out = &self.out
        cdef bint has_zone = kind == KIND_TIMESTAMPTZ
        cdef Py_ssize_t space = find_space(cell.data, cell.size, has_zone)
        cdef Py_ssize_t size = cell.size - 3 if has_zone else cell.size
        cdef Py_ssize_t begin = out.used
        if space < 0 or space >= size:
            return False
        add_json_data(out, <const char *>cell.data, size)
        if out.used - begin != size + 2:  # with escapes, as no timestamp has them
            out.used = begin
            return False
        out.start[begin + 1 + space] = 0x54
        if kind != KIND_TIMESTAMP:
            out.used -= 1
            reserve(out, AROUND)
            put(out, b'Z"', 2)
        return True

    cdef int add_cursor(self, const Cell *cells, tuple key, list cursor) except -1:
        cdef Output *out = &self.out
        cdef const Cell *cell
        cdef bint is_first = True
        if cursor is not None:
            return add_bytes(out, b',"cursor":' + encode(cursor))
        if key is None:
            return 0
        add_bytes(out, b',"cursor":[')
        for column in key:
            cell = key_cell(cells, column, self.plan.count)
            if not is_first:
                add_bytes(out, b",")
            is_first = False
            if cell.mark == CELL_TEXT and is_ascii(cell.data, cell.size):
                add_json_data(out, <const char *>cell.data, cell.size)
            else:
                add_json_text(out, key_text(cell))
        return add_bytes(out, b"]")


cdef list find_json_nulls(const Cell *cells, Plan plan):
    """The columns that are JSON's null."""
    cdef list found = []
    cdef int i
    for i in range(plan.count):
        if plan.kinds[i] == KIND_JSON and cells[i].mark == CELL_TEXT and is_json_null(cells[i].data, cells[i].size):
            found.append(plan.names[i])
    return found
