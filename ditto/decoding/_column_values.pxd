from libc.stdint cimport uint8_t

from ditto.decoding._conversion cimport Conversion
from ditto.decoding._scalar_values cimport convert_scalar

# The kinds of ditto/decoding/column_kinds.py that _scalars does not know.
cdef enum:
    KIND_HSTORE = 9
    KIND_ARRAY = 16


cdef bint is_plain_int(const uint8_t *p, Py_ssize_t n) noexcept
cdef object convert_container(const uint8_t *p, Py_ssize_t n, int kind)
cdef object convert_array(const uint8_t *p, Py_ssize_t n, int kind, Conversion element)
cdef object pack_array(const uint8_t *p, Py_ssize_t n, int kind, object read)


cdef inline object convert_value(const uint8_t *p, Py_ssize_t n, int kind):
    if kind == KIND_HSTORE or kind >= KIND_ARRAY:
        return convert_container(p, n, kind)
    return convert_scalar(p, n, kind)
