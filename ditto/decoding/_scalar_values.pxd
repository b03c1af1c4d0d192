from libc.stdint cimport uint8_t

cdef object convert_scalar(const uint8_t *p, Py_ssize_t n, int kind)
cdef int check_utf8(const uint8_t *p, Py_ssize_t n) except -1
cdef bint is_number(const uint8_t *p, Py_ssize_t n) noexcept
cdef bint is_json_null(const uint8_t *p, Py_ssize_t n) noexcept
cdef Py_ssize_t find_space(const uint8_t *p, Py_ssize_t n, bint has_zone) noexcept
cdef bint is_ascii(const uint8_t *p, Py_ssize_t n) noexcept
