# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
# The directives touch only indexing of raw pointers, which Cython would not check anyway, and divisions as C does them.
"""Numbers that are computed from columns on the wire, and tests of their order.

Integers, numerics and times are exact: decimal digits and a scale, times in seconds. What does not fit, and what would
be an error, is not known; then Python says what it is. Doubles are computed as the hardware does.
"""

cimport cython
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t

from ditto.decoding._cells cimport CELL_TEXT, Cell
from ditto.decoding._row_tests cimport IS_UNKNOWN, RowTest, cell_of, row_of
from ditto.routing.conditions._number_tests cimport Digits, order_of_doubles, to_digits, to_double, to_int64
from ditto.routing.conditions._readers cimport to_moment_us, to_span_us
from ditto.routing.conditions._texts cimport holds

cdef extern from *:
    ctypedef long long int128 "__int128"
    bint add_overflows "__builtin_add_overflow"(int128 one, int128 other, int128 *found) noexcept
    bint subtract_overflows "__builtin_sub_overflow"(int128 one, int128 other, int128 *found) noexcept
    bint multiply_overflows "__builtin_mul_overflow"(int128 one, int128 other, int128 *found) noexcept

cdef enum:
    MOST_DIGITS = 38  # so many always fit 128 bits
    POWERS_SIZE = 18  # so many zeros fit 64 bits
    US_SCALE = 6

cdef enum:
    OF_INTEGERS
    OF_NUMERICS
    OF_MOMENTS
    OF_SPANS
    OF_DOUBLES

cdef enum:
    ADD
    SUBTRACT
    MULTIPLY
    DIVIDE
    REMAINDER

KINDS = {
    "int": OF_INTEGERS,
    "numeric": OF_NUMERICS,
    "timestamp": OF_MOMENTS,
    "duration": OF_SPANS,
    "double": OF_DOUBLES,
}
OPERATIONS = {"_+_": ADD, "_-_": SUBTRACT, "_*_": MULTIPLY, "_/_": DIVIDE, "_%_": REMAINDER}

cdef int64_t[POWERS_SIZE + 1] POWERS
for _power in range(POWERS_SIZE + 1):
    POWERS[_power] = 10 ** _power

cdef int64_t FIRST_US = -62_135_596_800_000_000  # 0001-01-01, the first moment that CEL has
cdef int64_t LAST_US = 253_402_300_799_999_999


cdef struct Exact:
    int128 digits
    int scale  # digits behind the point


cdef bint to_exact(const uint8_t *p, Py_ssize_t n, Exact *value) noexcept:
    """Of a finite number without an exponent and of at most 38 digits; zeros at the end of a fraction do not count."""
    cdef Digits found
    cdef int128 digits = 0
    cdef Py_ssize_t i
    if not to_digits(p, n, &found) or found.whole.size + found.fraction.size > MOST_DIGITS:
        return False
    for i in range(found.whole.size):
        digits = digits * 10 + (found.whole.data[i] - 0x30)
    for i in range(found.fraction.size):
        digits = digits * 10 + (found.fraction.data[i] - 0x30)
    value.digits = digits * found.sign
    value.scale = <int>found.fraction.size
    return True


cdef bint to_scale(Exact *value, int scale) noexcept:
    """With more digits behind the point; False where there is no room for them."""
    cdef int more
    while value.scale < scale:
        more = min(scale - value.scale, <int>POWERS_SIZE)
        if multiply_overflows(value.digits, POWERS[more], &value.digits):
            return False
        value.scale += more
    return True


cdef inline bint to_one_scale(Exact *one, Exact *other) noexcept:
    return one.scale == other.scale or (to_scale(one, other.scale) and to_scale(other, one.scale))


cdef bint is_in_range(int kind, const Exact *value) noexcept:
    """Whether CEL has such a value: integers of 64 bits, durations of so many nanoseconds, the years 1 to 9999."""
    cdef int128 finer = 1
    if kind == OF_NUMERICS:
        return True
    if kind == OF_INTEGERS:
        return INT64_MIN <= value.digits <= INT64_MAX
    finer = POWERS[value.scale - US_SCALE]
    if kind == OF_SPANS:
        # 1,000 nanoseconds are a microsecond: what is a nanosecond from the limit is left to Python.
        return INT64_MIN // 1000 * finer < value.digits < INT64_MAX // 1000 * finer
    return FIRST_US * finer <= value.digits < (LAST_US + 1) * finer


cdef class Number:
    """A number of a change's rows; of this one nothing is known."""

    cdef bint find_exact(self, const Cell *new, const Cell *old, Exact *value) noexcept:
        """False where it is not known."""
        return False

    cdef int find_double(self, const Cell *new, const Cell *old, double *value) except -1:
        """0 where it is not known."""
        return 0


cdef class ColumnNumber(Number):
    """A number that is read from one column's text."""

    cdef int row
    cdef int column

    def __cinit__(self, str row, int column, *_):
        self.row = row_of(row)
        self.column = column

    cdef bint find_exact(self, const Cell *new, const Cell *old, Exact *value) noexcept:
        cdef const Cell *cell = cell_of(self.row, self.column, new, old)
        return cell != NULL and cell.mark == CELL_TEXT and self.exact_of(cell.data, cell.size, value)

    cdef int find_double(self, const Cell *new, const Cell *old, double *value) except -1:
        cdef const Cell *cell = cell_of(self.row, self.column, new, old)
        return cell != NULL and cell.mark == CELL_TEXT and to_double(cell.data, cell.size, value)

    cdef bint exact_of(self, const uint8_t *p, Py_ssize_t n, Exact *value) noexcept:
        return False


@cython.final
cdef class ColumnValue(ColumnNumber):
    """A column of numbers or times; as a double any column of numbers."""

    cdef int kind

    def __cinit__(self, row, column, str kind):
        self.kind = KINDS[kind]

    cdef bint exact_of(self, const uint8_t *p, Py_ssize_t n, Exact *value) noexcept:
        cdef int64_t found = 0
        if self.kind == OF_NUMERICS:
            return to_exact(p, n, value)
        if self.kind == OF_INTEGERS:
            value.scale = 0
            if not to_int64(p, n, &found):
                return False
        else:
            value.scale = US_SCALE
            if not (to_moment_us(p, n, &found) if self.kind == OF_MOMENTS else to_span_us(p, n, &found)):
                return False
        value.digits = found
        return is_in_range(self.kind, value)


@cython.final
cdef class TextSize(ColumnNumber):
    """The number of a text's characters."""

    cdef bint exact_of(self, const uint8_t *p, Py_ssize_t n, Exact *value) noexcept:
        cdef const uint8_t *end = p + n
        cdef int64_t count = 0
        while p < end:
            count += p[0] & 0xC0 != 0x80
            p += 1
        value.digits = count
        value.scale = 0
        return True


cdef enum:
    YEAR
    MONTH
    DATE
    DAY_OF_MONTH
    DAY_OF_WEEK
    HOURS
    MINUTES
    SECONDS
    MILLISECONDS

GETTERS = {
    "getFullYear": YEAR,
    "getMonth": MONTH,
    "getDate": DATE,
    "getDayOfMonth": DAY_OF_MONTH,
    "getDayOfWeek": DAY_OF_WEEK,
    "getHours": HOURS,
    "getMinutes": MINUTES,
    "getSeconds": SECONDS,
    "getMilliseconds": MILLISECONDS,
}


@cython.final
cdef class MomentPart(ColumnNumber):
    """The year of a timestamp in UTC, its month, hour, …"""

    cdef int getter

    def __cinit__(self, row, column, str getter):
        self.getter = GETTERS[getter]

    cdef bint exact_of(self, const uint8_t *p, Py_ssize_t n, Exact *value) noexcept:
        cdef int64_t us = 0
        value.scale = 0
        if not to_moment_us(p, n, &us) or not FIRST_US <= us <= LAST_US:
            return False
        value.digits = part_of(self.getter, us - FIRST_US)
        return True


cdef int64_t part_of(int getter, int64_t us) noexcept:
    """Of microseconds since the year 1."""
    cdef int64_t days = us // 86_400_000_000
    if getter == HOURS:
        return us // 3_600_000_000 % 24
    if getter == MINUTES:
        return us // 60_000_000 % 60
    if getter == SECONDS:
        return us // 1_000_000 % 60
    if getter == MILLISECONDS:
        return us // 1000 % 1000
    if getter == DAY_OF_WEEK:
        return (days + 1) % 7  # the year 1 begins on a Monday, and a week on Sunday
    return part_of_date(getter, days)


cdef int64_t part_of_date(int getter, int64_t days) noexcept:
    """Of days since the year 1. Years are counted from March, so that a leap day is the last one of its year."""
    cdef int64_t day = days + 306  # since March of the year 0
    cdef int64_t era = day // 146_097  # of 400 years
    cdef int64_t of_era = day % 146_097
    cdef int64_t year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    cdef int64_t of_year = of_era - (365 * year + year // 4 - year // 100)
    cdef int64_t month = (5 * of_year + 2) // 153  # from March, 0 to 11
    cdef int64_t date = of_year - (153 * month + 2) // 5  # from 0
    if getter == DATE:
        return date + 1
    if getter == DAY_OF_MONTH:
        return date
    if getter == MONTH:
        return (month + 2) % 12
    return era * 400 + year + (month >= 10)


@cython.final
cdef class ConstantNumber(Number):
    """`digits` divided by ten to the power of `scale`, and the double nearest to it."""

    cdef Exact value
    cdef double nearest

    def __cinit__(self, int64_t digits, int scale, double nearest):
        self.value.digits = digits
        self.value.scale = scale
        self.nearest = nearest

    cdef bint find_exact(self, const Cell *new, const Cell *old, Exact *value) noexcept:
        value[0] = self.value
        return True

    cdef int find_double(self, const Cell *new, const Cell *old, double *value) except -1:
        value[0] = self.nearest
        return 1


@cython.final
cdef class Computed(Number):
    """A sum, difference, product, quotient or remainder, of this kind."""

    cdef int operation
    cdef int kind
    cdef Number one
    cdef Number other

    def __cinit__(self, str operation, str kind, Number one not None, Number other not None):
        self.operation = OPERATIONS[operation]
        self.kind = KINDS[kind]
        self.one = one
        self.other = other

    cdef bint find_exact(self, const Cell *new, const Cell *old, Exact *value) noexcept:
        cdef Exact other
        if not self.one.find_exact(new, old, value) or not self.other.find_exact(new, old, &other):
            return False
        if self.operation == MULTIPLY:
            if multiply_overflows(value.digits, other.digits, &value.digits):
                return False
            value.scale += other.scale
        elif self.operation == ADD:
            if not to_one_scale(value, &other) or add_overflows(value.digits, other.digits, &value.digits):
                return False
        elif self.operation == SUBTRACT:
            if not to_one_scale(value, &other) or subtract_overflows(value.digits, other.digits, &value.digits):
                return False
        else:  # of integers, rounded towards zero
            if other.digits == 0 or (other.digits == -1 and value.digits == INT64_MIN):
                return False
            if self.operation == DIVIDE:
                value.digits = value.digits // other.digits
            else:
                value.digits = value.digits % other.digits
        return is_in_range(self.kind, value)

    cdef int find_double(self, const Cell *new, const Cell *old, double *value) except -1:
        cdef double other = 0
        if not self.one.find_double(new, old, value) or not self.other.find_double(new, old, &other):
            return 0
        if self.operation == ADD:
            value[0] += other
        elif self.operation == SUBTRACT:
            value[0] -= other
        elif self.operation == MULTIPLY:
            value[0] *= other
        else:
            value[0] /= other
        return 1


@cython.final
cdef class NumberOrder(RowTest):
    """The order of two numbers is a wanted one."""

    cdef Number one
    cdef Number other
    cdef bint are_doubles
    cdef int wanted

    def __cinit__(self, Number one not None, Number other not None, bint are_doubles, int wanted):
        self.one = one
        self.other = other
        self.are_doubles = are_doubles
        self.wanted = wanted

    cdef int of_rows(self, str action, const Cell *new, const Cell *old) except -1:
        cdef Exact one, other
        cdef double number = 0, other_number = 0
        if self.are_doubles:
            if not self.one.find_double(new, old, &number) or not self.other.find_double(new, old, &other_number):
                return IS_UNKNOWN
            if number != number or other_number != other_number:
                return IS_UNKNOWN
            return holds(self.wanted, order_of_doubles(number, other_number))
        if not self.one.find_exact(new, old, &one) or not self.other.find_exact(new, old, &other):
            return IS_UNKNOWN
        if not to_one_scale(&one, &other):
            return IS_UNKNOWN
        return holds(self.wanted, (one.digits > other.digits) - (one.digits < other.digits))
