# cython: language_level=3
"""A MessagePack array as its elements, compiled: the same as `msgpack_arrays.pure_split_array`."""

from libc.stdint cimport uint8_t, uint64_t


cdef inline uint64_t number(const uint8_t *p, int size) noexcept:
    cdef uint64_t value = 0
    cdef int i
    for i in range(size):
        value = value << 8 | p[i]
    return value


cdef const uint8_t *skip(const uint8_t *p, const uint8_t *end) except NULL:
    """Where what follows a value begins; a value within another one is one more to pass over."""
    cdef uint64_t pending = 1
    cdef uint64_t size
    cdef int tag, width
    while pending:
        if p >= end:
            raise ValueError("the document is not complete")
        pending -= 1
        tag = p[0]
        p += 1
        size = 0
        if tag < 0x80 or tag >= 0xE0:
            continue
        if tag < 0x90:
            pending += 2 * (tag & 0x0F)
            continue
        if tag < 0xA0:
            pending += tag & 0x0F
            continue
        if tag < 0xC0:
            size = tag & 0x1F
        elif tag == 0xC0 or tag == 0xC2 or tag == 0xC3:
            continue
        elif tag == 0xCA:
            size = 4
        elif tag == 0xCB:
            size = 8
        elif 0xCC <= tag <= 0xD3:
            size = 1 << (tag - 0xCC & 3)
        elif 0xD4 <= tag <= 0xD8:
            size = 1 + (1 << tag - 0xD4)
        elif tag >= 0xDC:
            width = 2 if tag == 0xDC or tag == 0xDE else 4
            if end - p < width:
                raise ValueError("the document is not complete")
            pending += number(p, width) * (2 if tag >= 0xDE else 1)
            p += width
            continue
        elif 0xC4 <= tag <= 0xC9 or 0xD9 <= tag <= 0xDB:
            width = 1 << ((tag - 0xC4) % 3 if tag < 0xD9 else tag - 0xD9)
            if end - p < width:
                raise ValueError("the document is not complete")
            size = number(p, width) + (1 if 0xC7 <= tag <= 0xC9 else 0)
            p += width
        else:
            raise ValueError(f"no MessagePack: tag {tag:#x}")
        if <uint64_t>(end - p) < size:
            raise ValueError("the document is not complete")
        p += size
    return p


def split_array(bytes data not None):
    """The elements one after the other, and where each ends. Raises ValueError for another document."""
    cdef const uint8_t *first = <const uint8_t *><const char *>data
    cdef const uint8_t *end = first + len(data)
    cdef const uint8_t *p = first
    cdef uint64_t count
    cdef Py_ssize_t start = 1
    cdef list ends = []
    if p != end and 0x90 <= p[0] <= 0x9F:
        count = p[0] & 0x0F
    elif end - p >= 5 and p[0] == 0xDD:
        start = 5
        count = number(p + 1, 4)
    elif end - p >= 3 and p[0] == 0xDC:
        start = 3
        count = number(p + 1, 2)
    else:
        raise ValueError("no array")
    p += start
    while count:
        count -= 1
        p = skip(p, end)
        ends.append(p - first - start)
    if p != end:
        raise ValueError("something follows the array")
    return data[start:], ends
