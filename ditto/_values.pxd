from libc.stdint cimport uint8_t

cdef object convert_value(const uint8_t *p, Py_ssize_t n, int kind)
cdef bint is_json_null(const uint8_t *p, Py_ssize_t n) noexcept
