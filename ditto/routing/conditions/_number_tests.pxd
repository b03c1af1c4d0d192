from libc.stdint cimport int64_t, uint8_t

from ditto.routing.conditions._texts cimport Bytes


cdef struct Digits:
    int sign        # -1, 0, 1
    Bytes whole     # before the point, without zeros at their start
    Bytes fraction  # behind it, without zeros at their end


cdef bint to_int64(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_digits(const uint8_t *p, Py_ssize_t n, Digits *digits) noexcept
cdef int order_of_digits(const Digits *one, const Digits *other) noexcept
cdef int to_double(const uint8_t *p, Py_ssize_t n, double *value) except -1


cdef inline int order_of_doubles(double one, double other) noexcept:
    """Neither is NaN."""
    return (one > other) - (one < other)


cdef inline int order_of_int64s(int64_t one, int64_t other) noexcept:
    return (one > other) - (one < other)
