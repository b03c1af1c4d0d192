"""Each of these returns False, or -1, where a text is not as it usually is."""

from libc.stdint cimport int64_t, uint8_t

cdef bint to_days(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_timestamp_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_timestamp_ms(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_time_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_time_ms(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_interval_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef int to_zoned_timestamp(const uint8_t *p, Py_ssize_t n, int digits, char *out) noexcept
cdef int to_zoned_time(const uint8_t *p, Py_ssize_t n, int parameter, char *out) noexcept
