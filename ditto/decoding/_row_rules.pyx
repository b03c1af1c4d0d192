# cython: language_level=3
"""A table's rule for rows that are as usual, from the bytes on the wire: no text is made, and no Python is called.

Same results as the rule's function, which is asked for all other rows.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from ditto.decoding._cells cimport CELL_TEXT, Cell
from ditto.decoding._row_tests cimport IS_FALSE, IS_TRUE, RowTest, cells_of
from ditto.decoding._scalar_values cimport check_utf8

from msgspec import UNSET

cdef object unset = UNSET


@cython.final
cdef class Template:
    """Literals, which depend on the action, and texts of columns by turns.

    A slot is a column, the length of the longest text that it takes, and 128 bytes: not 0 for characters of ASCII that
    stay as they are.
    """

    def __cinit__(self, literals, slots):
        cdef Py_ssize_t i
        self.kept = tuple([(column, longest, bytes(allowed)) for column, longest, allowed in slots])
        self.literals = {action: tuple(texts) for action, texts in literals.items()}
        self.count = len(self.kept)
        for texts in self.literals.values():
            if len(texts) != self.count + 1 or not all(type(text) is bytes for text in texts):
                raise ValueError("literals and texts of columns by turns")
        self.slots = <Slot *>malloc((<size_t>self.count + 1) * sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError
        for i, (column, longest, allowed) in enumerate(self.kept):
            if len(allowed) != 128:
                raise ValueError("128 characters are allowed or not")
            self.slots[i].column = column
            self.slots[i].longest = longest
            self.slots[i].allowed = <const uint8_t *><const char *>(<bytes>allowed)

    def __dealloc__(self):
        free(self.slots)

    cdef object made_of(self, str action, const Cell *cells):
        """The bytes; UNSET where a text is not as usual, or there is none for this action."""
        cdef tuple literals
        cdef const Cell *cell
        cdef char *out
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t i
        found = self.literals.get(action)
        if found is None:
            return unset
        literals = <tuple>found
        if self.count == 0:
            return literals[0]
        for i in range(self.count):
            cell = &cells[self.slots[i].column]
            if cell.mark != CELL_TEXT or not fits(cell, &self.slots[i]):
                return unset
            size += cell.size + len(<bytes>literals[i])
        made = PyBytes_FromStringAndSize(NULL, size + len(<bytes>literals[self.count]))
        out = PyBytes_AS_STRING(made)
        for i in range(self.count):
            out = put(out, <bytes>literals[i])
            cell = &cells[self.slots[i].column]
            memcpy(out, cell.data, <size_t>cell.size)
            out += cell.size
        put(out, <bytes>literals[self.count])
        return made


cdef inline char *put(char *out, bytes text) noexcept:
    memcpy(out, <const char *>text, <size_t>len(text))
    return out + len(text)


cdef inline bint fits(const Cell *cell, const Slot *slot) noexcept:
    cdef Py_ssize_t i
    if not 0 < cell.size <= slot.longest:
        return False
    for i in range(cell.size):
        if cell.data[i] >= 0x80 or not slot.allowed[cell.data[i]]:
            return False
    return True


@cython.final
cdef class RowRule:
    """What passes, and where it goes. `columns` are all that the rule reads.

    Without a test everything passes. Without a route the function is asked for what passes; headers and key may be
    missing where there are none.
    """

    def __cinit__(self, columns, RowTest test, Template route, Template headers, Template key):
        self.columns = tuple(columns)
        self.test = test
        self.route = route
        self.headers = headers
        self.key = key

    cdef object routed_of(self, str action, const Cell *new, const Cell *old):
        """Route, headers and key; None where the change is dropped; UNSET where the function has to be asked."""
        cdef const Cell *cells = new if new != NULL else old
        cdef int found
        if cells == NULL:
            return unset
        for column in self.columns:
            # As the function does that gets all of them as texts: what is no text ends it, whatever the test says.
            check_text(new, column)
            check_text(old, column)
        if self.test is not None:
            found = self.test.of_rows(action, new, old)
            if found != IS_TRUE:
                return None if found == IS_FALSE else unset
        if self.route is None:
            return unset
        route = self.route.made_of(action, cells)
        headers = b"" if self.headers is None else self.headers.made_of(action, cells)
        key = None if self.key is None else self.key.made_of(action, cells)
        if route is unset or headers is unset or key is unset:
            return unset
        return route, headers, key

    def routed(self, str action, new, old):
        """The same of texts, one for each column of the table."""
        cdef Cell *after = NULL
        cdef Cell *before = NULL
        kept = []
        try:
            after = cells_of(new, kept)
            before = cells_of(old, kept)
            return self.routed_of(action, after, before)
        finally:
            free(after)
            free(before)


cdef inline int check_text(const Cell *cells, int column) except -1:
    if cells != NULL and cells[column].mark == CELL_TEXT:
        check_utf8(cells[column].data, cells[column].size)
    return 0
