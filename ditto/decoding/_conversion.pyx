# cython: language_level=3
"""What makes the value of a column of kind CALL out of its text, without a call of Python for each."""

from libc.stdint cimport uint8_t


cdef class Conversion:
    """A function of a plan that the compiled decoder gives the bytes. NULL is None."""

    def __call__(self, text):
        if text is None:
            return None
        cdef bytes data = text.encode()
        return self.make(<const uint8_t *><const char *>data, len(data))

    cdef object make(self, const uint8_t *p, Py_ssize_t n):
        """The value. Raises UnicodeDecodeError for text that is not UTF-8."""
        raise NotImplementedError

    cdef int write(self, const uint8_t *p, Py_ssize_t n, char *out) except -2:
        """The value as JSON; returns how many bytes it has, or -1 where only `make` can tell."""
        return -1
