# cython: language_level=3
"""What a plan does with rows besides converting them, compiled. Same results as `pure/shape.py`.

A rule decides about a change before any of its values is converted; some columns are left out, and functions make the
values of others. A plan without any of it has no Shape, and its changes do not come here.
"""

cimport cython
from cpython.dict cimport PyDict_Copy, PyDict_DelItem, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

import sys

from ditto.decoding._cells cimport CELL_NULL, CELL_TEXT, CELL_UNCHANGED, Cell, read_cells
from ditto.decoding._column_values cimport convert_value
from ditto.decoding._conversion cimport Conversion
from ditto.decoding._cursor cimport Cursor, finish, take_u8
from ditto.decoding._scalar_values cimport is_json_null

from msgspec import UNSET

from ditto.decoding.column_kinds import CALL, CHAR, CHAR_OIDS, JSON, SKIP, TEXT
from ditto.decoding.pure.shape import check_shape
from ditto.errors import DecodeError

cdef enum:
    INSERT = 0x49
    DELETE = 0x44
    NEW_ROW = 0x4E
    KEY_ROW = 0x4B
    OLD_ROW = 0x4F

cdef object unset = UNSET
cdef uint8_t skip_kind = SKIP
cdef uint8_t call_kind = CALL
cdef uint8_t json_kind = JSON
cdef uint8_t char_kind = CHAR
cdef uint8_t text_kind = TEXT


@cython.final
cdef class Shape:
    """What makes the rows of one relation, where its plan has a rule, a function or columns that are left out."""

    def __cinit__(self, plan):
        cdef int i
        cdef bytes kinds = plan.kinds
        check_shape(plan)
        self.count = <int>len(plan.relation.columns)
        if len(kinds) != self.count:
            raise ValueError(f"a plan of {len(kinds)} columns where the relation has {self.count}")
        self.names = [sys.intern(column.name) for column in plan.relation.columns]
        self.blank = {name: None for name, kind in zip(self.names, kinds) if kind != skip_kind}
        self.functions = tuple(plan.functions)
        rule = plan.rule
        columns = () if rule is None else rule.columns
        self.apply = None if rule is None else rule.apply
        self.row_rule = None if rule is None else rule.row_rule
        self.skips_unchanged = rule is not None and rule.skips_unchanged
        self.column_count = <int>len(columns)
        self.kinds = <uint8_t *>malloc(<size_t>self.count + 1)
        self.text_kinds = <uint8_t *>malloc(<size_t>self.count + 1)
        self.is_key = <uint8_t *>malloc(<size_t>self.count + 1)
        self.columns = <int *>malloc((<size_t>self.column_count + 1) * sizeof(int))
        self.before = <Cell *>malloc((<size_t>self.count + 1) * sizeof(Cell))
        self.after = <Cell *>malloc((<size_t>self.count + 1) * sizeof(Cell))
        if (
            self.kinds == NULL or self.text_kinds == NULL or self.is_key == NULL
            or self.columns == NULL or self.before == NULL or self.after == NULL
        ):
            raise MemoryError
        for i, column in enumerate(plan.relation.columns):
            self.kinds[i] = <uint8_t>kinds[i]
            self.text_kinds[i] = char_kind if column.type_oid in CHAR_OIDS else text_kind
            self.is_key[i] = 1 if column.is_key else 0
        for i in range(self.column_count):
            self.columns[i] = columns[i]

    def __dealloc__(self):
        free(self.kinds)
        free(self.text_kinds)
        free(self.is_key)
        free(self.columns)
        free(self.before)
        free(self.after)

    # ------------------------------------------------------------------------------------ in

    cdef int read_change(self, Cursor *c, int tag) except -1:
        """What follows the relation's OID in an Insert, Update or Delete."""
        cdef int part = take_u8(c)
        self.has_old = tag != INSERT and (part == KEY_ROW or part == OLD_ROW)
        self.is_old_whole = part == OLD_ROW
        self.has_new = tag != DELETE
        if self.has_old:
            read_cells(c, self.before, self.count)
            if self.has_new:
                part = take_u8(c)
        elif tag == DELETE:
            raise DecodeError(f"unknown part of a change 0x{part:02X}")
        if self.has_new:
            if part != NEW_ROW:
                raise DecodeError(f"unknown part of a change 0x{part:02X}")
            read_cells(c, self.after, self.count)
        finish(c)
        if self.has_old:
            self.complete()
        return 0

    cdef int complete(self) noexcept:
        """A key comes with nulls beside it; and some values are only sent with the old row."""
        cdef int i
        for i in range(self.count):
            if not self.is_old_whole and not self.is_key[i]:
                self.before[i].mark = CELL_UNCHANGED
            if self.has_new and self.after[i].mark == CELL_UNCHANGED:
                self.after[i] = self.before[i]
        return 0

    # ------------------------------------------------------------------------------------ rule

    cdef object route_change(self, str action):
        """Route, headers and key of the change that was read; None where the rule, which there is, drops it."""
        if self.skips_unchanged and self.has_new and self.has_old and self.is_old_whole and self.is_same():
            return None
        return self.route_rows(
            action, self.after if self.has_new else NULL, self.before if self.has_old else NULL
        )

    cdef object route_rows(self, str action, const Cell *new, const Cell *old):
        """What the rule says of these rows; NULL for one that is not there."""
        if self.row_rule is not None:
            routed = self.row_rule.routed_of(action, new, old)
            if routed is not unset:
                return routed
        return self.apply(
            action, None if new == NULL else self.texts(new), None if old == NULL else self.texts(old)
        )

    cdef bint is_same(self) noexcept:
        """Whether no column of the event differs from the old row, which is whole."""
        cdef int i
        for i in range(self.count):
            if self.kinds[i] != skip_kind and not are_same(&self.before[i], &self.after[i]):
                return False
        return True

    cdef list texts(self, const Cell *cells):
        """Of the columns that the rule reads."""
        cdef list found = []
        cdef int i
        for i in range(self.column_count):
            found.append(self.text(&cells[self.columns[i]], self.columns[i]))
        return found

    cdef object text(self, const Cell *cell, int column):
        if cell.mark == CELL_TEXT:
            return convert_value(cell.data, cell.size, self.text_kinds[column])
        return None if cell.mark == CELL_NULL else unset

    # ------------------------------------------------------------------------------------ out

    cdef object value(self, const Cell *cell, int column):
        """Of a column that was sent, as it is in the event."""
        if self.kinds[column] == call_kind:
            function = self.functions[column]
            if cell.mark == CELL_TEXT and isinstance(function, Conversion) and self.text_kinds[column] == text_kind:
                return (<Conversion>function).make(cell.data, cell.size)
            return function(self.text(cell, column))
        if cell.mark == CELL_NULL:
            return None
        return convert_value(cell.data, cell.size, self.kinds[column])

    cdef dict old_row(self, bint *has_json_null):
        """The old row or its key, of the change that was read."""
        cdef dict row = {}
        cdef int i
        for i in range(self.count):
            if self.before[i].mark != CELL_UNCHANGED and self.kinds[i] != skip_kind:
                PyDict_SetItem(row, <str>PyList_GET_ITEM(self.names, i), self.value(&self.before[i], i))
                if self.kinds[i] == json_kind and is_null_document(&self.before[i]):
                    has_json_null[0] = True
        return row

    cdef object fill_new_row(self, dict row, dict old, bint *has_json_null):
        """Fill `row`, a copy of the blank one; return the names of the columns that were not sent, or UNSET.

        Values of the old row serve again where they have not changed.
        """
        cdef object unchanged = unset
        cdef const Cell *cell
        cdef int i
        for i in range(self.count):
            cell = &self.after[i]
            if self.kinds[i] == skip_kind:
                continue
            name = <str>PyList_GET_ITEM(self.names, i)
            if cell.mark == CELL_UNCHANGED:
                PyDict_DelItem(row, name)
                if unchanged is unset:
                    unchanged = [name]
                else:
                    unchanged.append(name)
                continue
            if self.has_old and are_same(&self.before[i], cell):
                PyDict_SetItem(row, name, old[name])
            else:
                PyDict_SetItem(row, name, self.value(cell, i))
            if self.kinds[i] == json_kind and is_null_document(cell):
                has_json_null[0] = True
        return unchanged

    cdef dict read_row(self, const Cell *cells, bint *has_json_null):
        """A row that a snapshot read."""
        cdef dict row = PyDict_Copy(self.blank)
        cdef int i
        for i in range(self.count):
            if self.kinds[i] != skip_kind:
                PyDict_SetItem(row, <str>PyList_GET_ITEM(self.names, i), self.value(&cells[i], i))
                if self.kinds[i] == json_kind and is_null_document(&cells[i]):
                    has_json_null[0] = True
        return row

    cdef bint hides(self, tuple columns) except -1:
        """Whether one of these columns is no part of events, or not as it is."""
        cdef int column
        for column in columns:
            if not 0 <= column < self.count:
                raise IndexError(f"column {column} of {self.count}")
            if self.kinds[column] == skip_kind or self.kinds[column] == call_kind:
                return True
        return False


cdef inline bint are_same(const Cell *one, const Cell *other) noexcept:
    if one.mark != CELL_TEXT or other.mark != CELL_TEXT:
        return one.mark == other.mark
    return one.size == other.size and memcmp(one.data, other.data, <size_t>one.size) == 0


cdef inline bint is_null_document(const Cell *cell) noexcept:
    return cell.mark == CELL_TEXT and is_json_null(cell.data, cell.size)
