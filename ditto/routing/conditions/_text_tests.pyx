# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# The directives touch only indexing of raw pointers, which Cython would not check anyway.
"""Tests of a text with constants: of columns that a condition sees as texts, and of others by PostgreSQL's text."""

cimport cython
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memset

from ditto.decoding._row_tests cimport IS_FALSE, IS_TRUE, IS_UNKNOWN, ColumnTest
from ditto.routing.conditions._readers cimport Membership
from ditto.routing.conditions._texts cimport Bytes, are_equal, bytes_of, holds, order_of_bytes

cdef enum:
    AT_START
    AT_END
    ANYWHERE

cdef dict PLACES = {"startsWith": AT_START, "endsWith": AT_END, "contains": ANYWHERE}


@cython.final
cdef class TextIsOneOf(ColumnTest):
    """The text is one of few."""

    cdef tuple texts
    cdef Bytes *wanted
    cdef Py_ssize_t count

    def __cinit__(self, row, column, of_null, texts):
        self.texts = tuple(texts)
        self.count = len(self.texts)
        self.wanted = <Bytes *>malloc((<size_t>self.count + 1) * sizeof(Bytes))
        if self.wanted == NULL:
            raise MemoryError
        for i, text in enumerate(self.texts):
            self.wanted[<Py_ssize_t>i] = bytes_of(text)

    def __dealloc__(self):
        free(self.wanted)

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef Py_ssize_t i
        for i in range(self.count):
            if are_equal(self.wanted[i], p, n):
                return IS_TRUE
        return IS_FALSE


@cython.final
cdef class TextOrder(ColumnTest):
    """`<` and its like, by code points."""

    cdef bytes text
    cdef Bytes other
    cdef int wanted

    def __cinit__(self, row, column, of_null, int wanted, bytes text not None):
        self.text = text
        self.other = bytes_of(text)
        self.wanted = wanted

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef Bytes text
        text.data = p
        text.size = n
        return holds(self.wanted, order_of_bytes(text, self.other))


@cython.final
cdef class TextHas(ColumnTest):
    """The text begins with another one, ends with it, or has it in it."""

    cdef bytes part
    cdef Bytes wanted
    cdef int where

    def __cinit__(self, row, column, of_null, bytes part not None, str where):
        self.part = part
        self.wanted = bytes_of(part)
        self.where = PLACES[where]

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef const uint8_t *wanted = self.wanted.data
        cdef size_t size = <size_t>self.wanted.size
        cdef const uint8_t *last  # where it begins at the latest
        if n < self.wanted.size:
            return IS_FALSE
        if size == 0:
            return IS_TRUE
        last = p + n - size
        if self.where == AT_START:
            return memcmp(p, wanted, size) == 0
        if self.where == AT_END:
            return memcmp(last, wanted, size) == 0
        while p <= last:
            p = <const uint8_t *>memchr(p, wanted[0], <size_t>(last - p + 1))
            if p == NULL:
                return IS_FALSE
            if memcmp(p, wanted, size) == 0:
                return IS_TRUE
            p += 1
        return IS_FALSE


cdef struct Step:
    uint8_t[128] characters
    bint has_others  # all that are not ASCII
    Py_ssize_t least
    Py_ssize_t most  # -1: any number


@cython.final
cdef class TextMatches(ColumnTest):
    """A pattern of `simple_patterns` is found: from the start each part takes what it can, as no other reading fits."""

    cdef Step *steps
    cdef Py_ssize_t count
    cdef bint is_from_start
    cdef bint is_to_end

    def __cinit__(self, row, column, of_null, parts, bint is_from_start, bint is_to_end):
        self.count = len(parts)
        self.is_from_start = is_from_start
        self.is_to_end = is_to_end
        self.steps = <Step *>malloc((<size_t>self.count + 1) * sizeof(Step))
        if self.steps == NULL:
            raise MemoryError
        memset(self.steps, 0, (<size_t>self.count + 1) * sizeof(Step))
        for i, (characters, has_others, least, most) in enumerate(parts):
            for character in <bytes?>characters:
                self.steps[<Py_ssize_t>i].characters[<int>character & 0x7F] = 1
            self.steps[<Py_ssize_t>i].has_others = has_others
            self.steps[<Py_ssize_t>i].least = least
            self.steps[<Py_ssize_t>i].most = most

    def __dealloc__(self):
        free(self.steps)

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef const uint8_t *end = p + n
        if self.is_from_start:
            return self.fits(p, end)
        while not self.fits(p, end):
            if p == end:
                return IS_FALSE
            p += 1
            while p < end and p[0] & 0xC0 == 0x80:
                p += 1
        return IS_TRUE

    cdef bint fits(self, const uint8_t *p, const uint8_t *end) noexcept:
        """Whether it is found here."""
        cdef const Step *step
        cdef Py_ssize_t i, taken
        for i in range(self.count):
            step = &self.steps[i]
            taken = 0
            while p < end and taken != step.most:
                if p[0] < 0x80:
                    if not step.characters[p[0]]:
                        break
                    p += 1
                else:
                    if not step.has_others:
                        break
                    p += 1
                    while p < end and p[0] & 0xC0 == 0x80:
                        p += 1
                taken += 1
            if taken < step.least:
                return False
        return p == end or not self.is_to_end


@cython.final
cdef class ArrayHas(ColumnTest):
    """An array has an element with a text; no element is made."""

    cdef Membership membership

    def __cinit__(self, row, column, of_null, Membership membership not None):
        self.membership = membership

    cdef int of_text(self, const uint8_t *p, Py_ssize_t n) except -1:
        cdef int found = self.membership.find(p, n)
        return IS_UNKNOWN if found < 0 else found
