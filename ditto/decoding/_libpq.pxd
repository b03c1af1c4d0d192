from libc.stdint cimport uint8_t


cdef class CopyStream:
    cdef object pgconn
    cdef object held
    cdef str name  # in errors
    cdef void *conn
    cdef char *buffer
    cdef int next_message(self, const uint8_t **data) except? -3
    cdef int read_socket(self) except -1
