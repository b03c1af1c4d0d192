# cython: language_level=3
"""CopyData messages straight from libpq: 0.18 µs each, where psycopg's method costs 0.5.

libpq is found in the module that psycopg itself loaded, never linked: two copies of libpq in a process must not share
a connection.
"""

from libc.stdint cimport intptr_t, uint8_t

import sys

from psycopg import OperationalError, pq

from ditto.errors import ConnectionLost


cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *filename, int flags)
    void *dlsym(void *handle, const char *symbol)
    int RTLD_NOW
    int RTLD_NOLOAD

ctypedef int (*get_copy_data_t)(void *conn, char **buffer, int is_async) noexcept nogil
ctypedef int (*consume_input_t)(void *conn) noexcept nogil
ctypedef void (*freemem_t)(void *ptr) noexcept nogil

cdef get_copy_data_t pq_get_copy_data = NULL
cdef consume_input_t pq_consume_input = NULL
cdef freemem_t pq_freemem = NULL


cdef bint find_libpq() except -1:
    """Resolve the three functions from psycopg's own module; False where psycopg is plain Python (ctypes)."""
    global pq_get_copy_data, pq_consume_input, pq_freemem
    path = getattr(sys.modules[pq.PGconn.__module__], "__file__", None)
    if pq.__impl__ == "python" or path is None:
        return False
    encoded = path.encode()
    cdef void *module = dlopen(encoded, RTLD_NOW | RTLD_NOLOAD)
    if module == NULL:
        return False
    pq_get_copy_data = <get_copy_data_t>dlsym(module, "PQgetCopyData")
    pq_consume_input = <consume_input_t>dlsym(module, "PQconsumeInput")
    pq_freemem = <freemem_t>dlsym(module, "PQfreemem")
    return pq_get_copy_data != NULL and pq_consume_input != NULL and pq_freemem != NULL


IS_DIRECT = bool(find_libpq())
cdef bint is_direct = IS_DIRECT


cdef class CopyStream:
    """The messages of one connection, as long as libpq has some; through psycopg where libpq cannot be reached."""

    def __init__(self, pgconn, str name="the replication connection"):
        self.pgconn = pgconn
        self.name = name
        self.conn = NULL
        self.buffer = NULL
        if is_direct:
            self.conn = <void *><intptr_t>pgconn.pgconn_ptr
            if self.conn == NULL:
                raise ConnectionLost(f"{name} is closed")

    def __dealloc__(self):
        if self.buffer != NULL:
            pq_freemem(self.buffer)

    cdef int next_message(self, const uint8_t **data) except? -3:
        """The length of the next message, 0 where there is none yet, less than 0 at the end of the COPY.

        `data` is valid until the next call.
        """
        cdef const uint8_t[:] view
        cdef int length
        if self.conn == NULL:
            try:
                length, self.held = self.pgconn.get_copy_data(1)
            except OperationalError as error:
                raise ConnectionLost(f"{self.name} broke") from error
            if length > 0:
                view = self.held
                data[0] = &view[0]
            return length
        if self.buffer != NULL:
            pq_freemem(self.buffer)
            self.buffer = NULL
        length = pq_get_copy_data(self.conn, &self.buffer, 1)
        data[0] = <const uint8_t *>self.buffer
        return length

    cdef int read_socket(self) except -1:
        """Let libpq read what the socket has. Raises ConnectionLost."""
        cdef int is_alive
        if self.conn == NULL:
            try:
                self.pgconn.consume_input()
            except OperationalError as error:
                raise ConnectionLost(f"{self.name} broke") from error
            return 0
        with nogil:
            is_alive = pq_consume_input(self.conn)
        if not is_alive:
            raise ConnectionLost(f"{self.name} broke")
        return 0
