# cython: language_level=3
"""Tests of rows on the wire, and what is made of several; those of one column's text are in `routing/conditions`."""

cimport cython
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from ditto.decoding._cells cimport CELL_NULL, CELL_TEXT, CELL_UNCHANGED, Cell

from msgspec import UNSET

cdef dict ROWS = {"data": OF_NEW, "dataOld": OF_OLD, "row": OF_EITHER}
cdef object unset = UNSET


cdef int row_of(str name) except -1:
    """Of an expression: data, dataOld or row."""
    return ROWS[name]


cdef class RowTest:
    """What there is to know about a change's rows; this one knows nothing."""

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        """Of the rows of a change, NULL for one that is not there."""
        return IS_UNKNOWN

    def judge(self, str action, new, old):
        """The same of texts, one for each column of the table: None where it is not known."""
        cdef int found
        cdef Cell *after = NULL
        cdef Cell *before = NULL
        kept = []
        try:
            after = cells_of(new, kept)
            before = cells_of(old, kept)
            found = self.of_rows(action, after, before)
        finally:
            free(after)
            free(before)
        return None if found == IS_UNKNOWN else found == IS_TRUE


cdef Cell *cells_of(texts, list kept) except? NULL:
    """Texts as cells, which are to be freed; their bytes are kept. NULL for no row."""
    cdef Cell *cells
    if texts is None:
        return NULL
    cells = <Cell *>calloc(<size_t>len(texts) + 1, sizeof(Cell))
    if cells == NULL:
        raise MemoryError
    for i, text in enumerate(texts):
        if text is None or text is unset:
            cells[<int>i].mark = CELL_NULL if text is None else CELL_UNCHANGED
            continue
        data = text.encode()
        kept.append(data)
        cells[<int>i].mark = CELL_TEXT
        cells[<int>i].data = data
        cells[<int>i].size = len(data)
    return cells


@cython.final
cdef class Unknown(RowTest):
    """A part of a condition that only Python can tell."""


@cython.final
cdef class Always(RowTest):
    """The same for every row."""

    cdef bint value

    def __cinit__(self, bint value):
        self.value = value

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        return self.value


cdef tuple checked(tests):
    for test in tests:
        if not isinstance(test, RowTest):
            raise TypeError(f"{test!r} is no test of rows")
    return tuple(tests)


@cython.final
cdef class AllOf(RowTest):
    """False where one is false, whatever is not known of others: `&&`."""

    cdef tuple tests

    def __cinit__(self, tests):
        self.tests = checked(tests)

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef int found = IS_TRUE
        cdef int one
        for test in self.tests:
            one = (<RowTest>test).of_rows(action, new, old)
            if one == IS_FALSE:
                return IS_FALSE
            found |= one & IS_UNKNOWN
        return IS_UNKNOWN if found & IS_UNKNOWN else IS_TRUE


@cython.final
cdef class AnyOf(RowTest):
    """True where one is true, whatever is not known of others: `||`."""

    cdef tuple tests

    def __cinit__(self, tests):
        self.tests = checked(tests)

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef int found = IS_FALSE
        cdef int one
        for test in self.tests:
            one = (<RowTest>test).of_rows(action, new, old)
            if one == IS_TRUE:
                return IS_TRUE
            found |= one
        return found


@cython.final
cdef class Not(RowTest):
    """The opposite."""

    cdef RowTest test

    def __cinit__(self, RowTest test not None):
        self.test = test

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef int found = self.test.of_rows(action, new, old)
        return found if found == IS_UNKNOWN else found ^ IS_TRUE


@cython.final
cdef class ActionIs(RowTest):
    """The action is one of these."""

    cdef frozenset actions

    def __cinit__(self, actions):
        self.actions = frozenset(actions)

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        return action in self.actions


cdef class ColumnTest(RowTest):
    """A test of one column's text; of a column that was not sent nothing is known."""

    def __cinit__(self, str row, int column, of_null, *_):
        self.row = row_of(row)
        self.column = column
        self.of_null = IS_UNKNOWN if of_null is None else IS_TRUE if of_null else IS_FALSE

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef const Cell *cell = cell_of(self.row, self.column, new, old)
        if cell == NULL:
            return IS_UNKNOWN
        if cell.mark == CELL_TEXT:
            return self.of_text(cell.data, cell.size)
        return self.of_null if cell.mark == CELL_NULL else IS_UNKNOWN

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        return IS_UNKNOWN


@cython.final
cdef class IsNull(ColumnTest):
    """`of_null` where the column is NULL, and false elsewhere."""

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        return IS_FALSE


@cython.final
cdef class IsSent(RowTest):
    """Whether the column was sent."""

    cdef int row
    cdef int column

    def __cinit__(self, str row, int column):
        self.row = row_of(row)
        self.column = column

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef const Cell *cell = cell_of(self.row, self.column, new, old)
        return cell != NULL and cell.mark != CELL_UNCHANGED


@cython.final
cdef class IsChanged(RowTest):
    """Whether an UPDATE changed the column; `is_key`: an old value that was not sent is the new one."""

    cdef int column
    cdef bint is_key

    def __cinit__(self, int column, bint is_key):
        self.column = column
        self.is_key = is_key

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef const Cell *one = cell_of(OF_NEW, self.column, new, old)
        cdef const Cell *other = cell_of(OF_OLD, self.column, new, old)
        if action != "UPDATE":
            return IS_TRUE
        if one == NULL or one.mark == CELL_UNCHANGED:
            return IS_FALSE
        if other == NULL or other.mark == CELL_UNCHANGED:
            return IS_FALSE if self.is_key else IS_UNKNOWN
        if one.mark != CELL_TEXT or other.mark != CELL_TEXT:
            return one.mark != other.mark
        return one.size != other.size or memcmp(one.data, other.data, <size_t>one.size) != 0
