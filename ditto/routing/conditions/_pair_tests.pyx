# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Tests of two columns, or of the new and the old value of one, with each other."""

cimport cython
from libc.stdint cimport int64_t

from ditto.decoding._cells cimport CELL_NULL, CELL_UNCHANGED, Cell
from ditto.decoding._row_tests cimport IS_UNKNOWN, RowTest, cell_of, row_of
from ditto.routing.conditions._number_tests cimport (
    Digits,
    order_of_digits,
    order_of_doubles,
    order_of_int64s,
    to_digits,
    to_double,
    to_int64,
)
from ditto.routing.conditions._readers cimport to_moment_us, to_span_us
from ditto.routing.conditions._texts cimport Bytes, holds, order_of_bytes

cdef enum:
    OF_TEXTS
    OF_INTEGERS
    OF_DOUBLES
    OF_NUMERICS
    OF_MOMENTS
    OF_SPANS

cdef dict KINDS = {
    "string": OF_TEXTS,
    "bool": OF_TEXTS,
    "int": OF_INTEGERS,
    "double": OF_DOUBLES,
    "numeric": OF_NUMERICS,
    "timestamp": OF_MOMENTS,
    "duration": OF_SPANS,
}


cdef inline Bytes bytes_in(const Cell *cell) noexcept:
    cdef Bytes found
    found.data = cell.data
    found.size = cell.size
    return found


@cython.final
cdef class PairOrder(RowTest):
    """The order of two columns' values is a wanted one. With `takes_null` NULL is equal to NULL alone."""

    cdef int kind
    cdef int row
    cdef int column
    cdef int other_row
    cdef int other_column
    cdef int wanted
    cdef bint takes_null

    def __cinit__(
        self, str kind, str row, int column, str other_row, int other_column, int wanted, bint takes_null
    ):
        self.kind = KINDS[kind]
        self.row = row_of(row)
        self.column = column
        self.other_row = row_of(other_row)
        self.other_column = other_column
        self.wanted = wanted
        self.takes_null = takes_null

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef const Cell *one = cell_of(self.row, self.column, new, old)
        cdef const Cell *other = cell_of(self.other_row, self.other_column, new, old)
        cdef int order = 0
        if one == NULL or other == NULL or one.mark == CELL_UNCHANGED or other.mark == CELL_UNCHANGED:
            return IS_UNKNOWN
        if one.mark == CELL_NULL or other.mark == CELL_NULL:
            # Beside NULL an interval of months is an error, too.
            return one.mark == other.mark if self.takes_null and self.kind != OF_SPANS else IS_UNKNOWN
        return holds(self.wanted, order) if self.compare(one, other, &order) else IS_UNKNOWN

    cdef bint compare(self, const Cell *one, const Cell *other, int *order) except -1:
        """False where a value is not as usual."""
        cdef int64_t integer = 0, other_integer = 0
        cdef double number = 0, other_number = 0
        cdef Digits digits, other_digits
        if self.kind == OF_TEXTS:
            order[0] = order_of_bytes(bytes_in(one), bytes_in(other))
            return True
        if self.kind == OF_DOUBLES:
            if not to_double(one.data, one.size, &number) or not to_double(other.data, other.size, &other_number):
                return False
            order[0] = order_of_doubles(number, other_number)
            return True
        if self.kind == OF_NUMERICS:
            if not to_digits(one.data, one.size, &digits) or not to_digits(other.data, other.size, &other_digits):
                return False
            order[0] = order_of_digits(&digits, &other_digits)
            return True
        if not self.to_integer(one, &integer) or not self.to_integer(other, &other_integer):
            return False
        order[0] = order_of_int64s(integer, other_integer)
        return True

    cdef bint to_integer(self, const Cell *cell, int64_t *value) noexcept:
        if self.kind == OF_INTEGERS:
            return to_int64(cell.data, cell.size, value)
        if self.kind == OF_MOMENTS:
            return to_moment_us(cell.data, cell.size, value)
        return to_span_us(cell.data, cell.size, value)
