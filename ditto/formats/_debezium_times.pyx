# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Dates and times, compiled: what `debezium.times` makes of texts as they usually are."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcmp, memcpy

from ditto.formats._debezium_numbers cimport is_digit, quote

cdef extern from *:
    """
    #define DITTO_HOUR_US 3600000000LL
    #define DITTO_DAY_US 86400000000LL
    #define DITTO_MONTH_US 2629800000000LL  /* as debezium.times */
    """
    const int64_t HOUR_US "DITTO_HOUR_US"
    const int64_t DAY_US "DITTO_DAY_US"
    const int64_t MONTH_US "DITTO_MONTH_US"

cdef enum:
    MOST_HOURS = 9         # digits
    MOST_UNITS = 100_000   # years, months and days of an interval: with the hours the sum stays within 64 bits


cdef inline int two(const uint8_t *p) noexcept:
    """A number of two digits, or -1."""
    if not is_digit(p[0]) or not is_digit(p[1]):
        return -1
    return 10 * (p[0] - 0x30) + p[1] - 0x30


cdef inline int read_date(const uint8_t *p, int *year, int *month, int *day) noexcept:
    """`2026-01-02`, of which there are ten bytes; -1 for all else, also for days that not every month has."""
    cdef int high = two(p)
    cdef int low = two(p + 2)
    month[0] = two(p + 5)
    day[0] = two(p + 8)
    if high < 0 or low < 0 or p[4] != 0x2D or p[7] != 0x2D:
        return -1
    year[0] = 100 * high + low
    if year[0] < 1 or not 1 <= month[0] <= 12 or day[0] < 1:
        return -1
    return 0 if day[0] <= 28 or (day[0] <= 30 and month[0] != 2) or day_count(year[0], month[0]) >= day[0] else -1


cdef int day_count(int year, int month) noexcept:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline int64_t days_since_1970(int year, int month, int day) noexcept:
    """As `debezium.times` reckons them; the year is 1 or later."""
    if month <= 2:
        year -= 1
    cdef int era = year // 400
    cdef int of_era = year - era * 400
    cdef int of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return <int64_t>era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719_468


cdef inline int64_t read_minutes(const uint8_t *p, Py_ssize_t n) noexcept:
    """`04:05` with up to six digits behind it, all of it, in microseconds; -1 for all else."""
    cdef int minute, second
    cdef int64_t fraction = 0
    cdef Py_ssize_t i
    if n < 5 or n == 6 or n > 12 or p[2] != 0x3A:
        return -1
    minute = two(p)
    second = two(p + 3)
    if not 0 <= minute <= 59 or not 0 <= second <= 59:
        return -1
    if n > 6:
        if p[5] != 0x2E:
            return -1
        for i in range(6, 12):
            fraction *= 10
            if i < n:
                if not is_digit(p[i]):
                    return -1
                fraction += p[i] - 0x30
    return <int64_t>(minute * 60 + second) * 1_000_000 + fraction


cdef inline int64_t read_clock(const uint8_t *p, Py_ssize_t n) noexcept:
    """`03:04:05.1`, all of it, in microseconds; -1 for all else."""
    cdef int hour
    cdef int64_t rest
    if n < 8 or p[2] != 0x3A:
        return -1
    hour = two(p)
    rest = read_minutes(p + 3, n - 3)
    if not 0 <= hour <= 24 or rest < 0:
        return -1
    return hour * HOUR_US + rest


cdef bint to_days(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    cdef int year = 0, month = 0, day = 0
    if n != 10 or read_date(p, &year, &month, &day) < 0:
        return False
    value[0] = days_since_1970(year, month, day)
    return True


cdef bint to_timestamp_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    cdef int64_t clock
    if n < 19 or p[10] != 0x20 or not to_days(p, 10, value):
        return False
    clock = read_clock(p + 11, n - 11)
    if not 0 <= clock < DAY_US:
        return False
    value[0] = value[0] * DAY_US + clock
    return True


cdef bint to_timestamp_ms(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    if not to_timestamp_us(p, n, value):
        return False
    value[0] //= 1000
    return True


cdef bint to_time_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    value[0] = read_clock(p, n)
    return value[0] >= 0


cdef bint to_time_ms(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    value[0] = read_clock(p, n)
    if value[0] < 0:
        return False
    value[0] //= 1000
    return True


cdef bint to_interval_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept:
    """`1 year 2 mons -3 days -04:05:06.7`, some of it."""
    cdef const uint8_t *end = p + n
    cdef const uint8_t *start
    cdef int64_t number, factor, rest
    cdef int64_t last = 1 << 62
    cdef bint is_negative
    value[0] = 0
    while p < end:
        is_negative = p[0] == 0x2D
        if is_negative or p[0] == 0x2B:
            p += 1
        start = p
        number = 0
        while p < end and is_digit(p[0]) and p - start <= MOST_HOURS:
            number = number * 10 + (p[0] - 0x30)
            p += 1
        if p == start or p - start > MOST_HOURS or p == end:
            return False
        if p[0] == 0x3A:
            rest = read_minutes(p + 1, end - p - 1)
            number = number * HOUR_US + rest
            value[0] += -number if is_negative else number
            return rest >= 0
        factor = unit_us(&p, end)
        if factor >= last or number > MOST_UNITS:  # each unit once, the largest first
            return False
        last = factor
        value[0] += -number * factor if is_negative else number * factor
        if p == end:
            return True
        if p[0] != 0x20:
            return False
        p += 1
    return False


cdef inline int64_t unit_us(const uint8_t **p, const uint8_t *end) noexcept:
    """The unit that follows a number, in microseconds."""
    cdef const uint8_t *at = p[0]
    cdef int64_t found
    if end - at < 4:
        return 1 << 62
    if memcmp(at, b" day", 4) == 0:
        found = DAY_US
        at += 4
    elif memcmp(at, b" mon", 4) == 0:
        found = MONTH_US
        at += 4
    elif end - at >= 5 and memcmp(at, b" year", 5) == 0:
        found = 12 * MONTH_US
        at += 5
    else:
        return 1 << 62
    p[0] = at + 1 if at < end and at[0] == 0x73 else at
    return found


cdef int to_zoned_timestamp(const uint8_t *p, Py_ssize_t n, int digits, char *out) noexcept:
    """`2026-01-02 03:04:05.1+00` with so many digits behind the second."""
    cdef int year = 0, month = 0, day = 0
    cdef int64_t clock
    cdef Py_ssize_t size = n - 14
    cdef Py_ssize_t i
    if n < 22 or p[10] != 0x20 or memcmp(p + n - 3, b"+00", 3) != 0 or read_date(p, &year, &month, &day) < 0:
        return -1
    clock = read_clock(p + 11, size)
    if not 0 <= clock < DAY_US:
        return -1
    memcpy(out + 1, p, 19)
    out[11] = 0x54
    if digits:
        out[20] = 0x2E
        for i in range(digits):
            out[21 + i] = <char>p[20 + i] if 9 + i < size else 0x30
        digits += 1
    out[20 + digits] = 0x5A
    return quote(20 + digits, out)


cdef int to_zoned_time(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept:
    """`03:04:05.1+02:30`: in UTC."""
    cdef Py_ssize_t size = 8
    cdef Py_ssize_t place
    cdef int part, i
    cdef int offset = 0
    cdef int64_t us, fraction
    while size < n and p[size] != 0x2B and p[size] != 0x2D:
        size += 1
    if size + 3 > n or (n - size) % 3:
        return -1
    us = read_clock(p, size)
    if us < 0 or n - size > 9:
        return -1
    place = size
    while place < n:
        part = two(p + place + 1)
        if part < 0 or (place > size and p[place] != 0x3A):
            return -1
        offset = offset * 60 + part
        place += 3
    if n - size < 9:
        offset *= 60 if n - size == 6 else 3600
    us = us + (offset if p[size] == 0x2D else -offset) * <int64_t>1_000_000
    us = (us % DAY_US + DAY_US) % DAY_US
    fraction = us % 1_000_000
    us //= 1_000_000
    put_two(out + 1, us // 3600)
    out[3] = 0x3A
    put_two(out + 4, us // 60 % 60)
    out[6] = 0x3A
    put_two(out + 7, us % 60)
    size = 9
    if fraction:
        out[9] = 0x2E
        for i in range(6):
            out[15 - i] = <char>(0x30 + fraction % 10)
            fraction //= 10
        size = 16
        while out[size - 1] == 0x30:
            size -= 1
    out[size] = 0x5A
    return quote(<int>size, out)


cdef inline void put_two(char *out, int64_t number) noexcept:
    out[0] = <char>(0x30 + number // 10)
    out[1] = <char>(0x30 + number % 10)
