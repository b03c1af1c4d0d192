from libc.stdint cimport int64_t, uint8_t


cdef bint to_moment_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept
cdef bint to_span_us(const uint8_t *p, Py_ssize_t n, int64_t *value) noexcept


cdef class Membership:
    cdef bytes element
    cdef const uint8_t *wanted  # in it
    cdef Py_ssize_t wanted_size
    cdef uint8_t delimiter
    cdef object otherwise
    cdef int find(self, const uint8_t *p, Py_ssize_t n) noexcept
    cdef int skip_quoted(self, const uint8_t **at, const uint8_t *end) noexcept
    cdef int skip_bare(self, const uint8_t **at, const uint8_t *end) noexcept
