# cython: language_level=3
"""The framing, compiled: a block of encoded events in, one buffer of HPUB messages out.

Same interface and same bytes as `pure_frames.py`.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_FromStringAndSize, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from ditto.sinks.jetstream.pure_frames import FrameTooLarge

# Room for what is around subject, reply and payload: HPUB, two sizes, the header names, and at most
# 20 + 17 + 20 + 20 digits of sequence, LSN, ordinal and number in the batch. A traceparent comes on top.
cdef enum:
    OVERHEAD = 288
    TRACEPARENT = 55
    TRACE_HEADER = 70
    MAX_HEADERS = 128

cdef bytes STATUS_AND_SEQUENCE = b"NATS/1.0\r\nNats-Expected-Last-Sequence: "
cdef bytes TRACE = b"traceparent: "
cdef bytes POSITION = b"\r\nDitto-Position: "
cdef const char *HEX_DIGITS = "0123456789ABCDEF"


cdef inline char *put_bytes(char *out, bytes data) noexcept:
    cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
    memcpy(out, PyBytes_AS_STRING(data), <size_t>n)
    return out + n


cdef inline char *put_number(char *out, uint64_t value) noexcept:
    cdef char[20] digits
    cdef int n = 0
    while True:
        digits[n] = <char>(0x30 + value % 10)
        n += 1
        value //= 10
        if value == 0:
            break
    while n:
        n -= 1
        out[0] = digits[n]
        out += 1
    return out


cdef inline char *put_hex(char *out, uint64_t value) noexcept:
    cdef int shift = 28
    while shift and not value >> shift:
        shift -= 4
    while shift >= 0:
        out[0] = HEX_DIGITS[value >> shift & 15]
        out += 1
        shift -= 4
    return out


cdef inline char *put_line_end(char *out) noexcept:
    out[0] = 0x0D
    out[1] = 0x0A
    return out + 2


def frame_block(
    list subjects not None,
    list commit_lsns not None,
    list ordinals not None,
    const unsigned char[::1] payloads not None,
    list ends not None,
    *,
    Py_ssize_t gap,
    uint64_t last_sequence,
    bytes reply not None,
    uint64_t first_number,
    bint is_committed,
    Py_ssize_t max_size,
    dict traceparents=None,
    bytes headers not None=b"",
    list own_headers=None,
):
    """Frame a block of messages of a batch, each of which expects the stream sequence before its own.

    `payloads` holds their payloads, each with `gap` bytes after it that belong to none, and `ends` where each ends,
    without them. The first message expects `last_sequence`, and is number `first_number` of its batch: 1 begins it, and
    with `is_committed` the block's last message ends it. `reply` is what comes before the number in the reply subjects.
    `traceparents` holds, by index, 55 bytes for the header of that name.
    `headers` are whole lines, the same for every message; at most MAX_HEADERS bytes. `own_headers` are, by message, its
    own, of any length.
    Raises FrameTooLarge when headers and payload of a message exceed `max_size` bytes.
    """
    cdef Py_ssize_t count = len(ends)
    cdef Py_ssize_t index, header_size, payload_size, total
    cdef Py_ssize_t own_size = 0
    cdef Py_ssize_t payload_start = 0
    cdef Py_ssize_t payload_end
    cdef Py_ssize_t capacity = payloads.shape[0]
    cdef const unsigned char *data = &payloads[0] if capacity else NULL
    cdef bytes subject
    cdef bytes own = b""
    cdef uint64_t lsn, ordinal, number
    cdef bint is_last
    cdef char[OVERHEAD + TRACE_HEADER + MAX_HEADERS] header
    cdef char *end
    if gap < 0:
        raise ValueError("a gap of less than nothing")
    if len(headers) > MAX_HEADERS:
        raise ValueError("too many headers")
    if len(subjects) != count or len(commit_lsns) != count or len(ordinals) != count:
        raise ValueError("a block's lists have different lengths")
    if own_headers is not None:
        if len(own_headers) != count:
            raise ValueError("a block's lists have different lengths")
        for own in own_headers:
            capacity += len(own)
    for index in range(count):
        subject = subjects[index]
        payload_end = ends[index]
        if not payload_start <= payload_end <= payloads.shape[0] - gap:
            raise ValueError("an end outside of the payloads")
        payload_start = payload_end + gap
        capacity += len(subject)  # a TypeError for None, which the macros would not notice
    capacity += count * (OVERHEAD + PyBytes_GET_SIZE(reply) + len(headers))
    if traceparents is not None:
        capacity += len(traceparents) * TRACE_HEADER
        for traceparent in traceparents.values():
            if len(<bytes?>traceparent) != TRACEPARENT:
                raise ValueError("a traceparent of another size")
    payload_start = 0
    # A bytearray, because it can give back what it did not need without copying what it holds.
    cdef bytearray block = PyByteArray_FromStringAndSize(NULL, capacity)
    cdef char *start = PyByteArray_AS_STRING(block)
    cdef char *out = start
    for index in range(count):
        subject = subjects[index]
        payload_end = ends[index]
        payload_size = payload_end - payload_start
        lsn = commit_lsns[index]
        ordinal = ordinals[index]
        end = put_bytes(header, STATUS_AND_SEQUENCE)
        end = put_number(end, last_sequence + <uint64_t>index)
        end = put_bytes(end, POSITION)
        end = put_hex(end, lsn >> 32)
        end[0] = 0x2F
        end = put_hex(end + 1, lsn & 0xFFFFFFFF)
        end[0] = 0x3A
        end = put_number(end + 1, ordinal)
        end = put_bytes(put_line_end(end), headers)
        if traceparents is not None:
            traceparent = traceparents.get(index)
            if traceparent is not None:
                end = put_line_end(put_bytes(put_bytes(end, TRACE), traceparent))
        if own_headers is not None:
            own = own_headers[index]
            own_size = PyBytes_GET_SIZE(own)
        header_size = end - header + own_size + 2
        total = header_size + payload_size
        if total > max_size:
            raise FrameTooLarge(index, total)
        memcpy(out, b"HPUB ", 5)
        out = put_bytes(out + 5, subject)
        out[0] = 0x20
        out += 1
        out = put_bytes(out, reply)
        number = first_number + <uint64_t>index
        is_last = index == count - 1
        out = put_number(out, number)
        memcpy(out, b".1.$FI ", 7)
        if is_last and is_committed:
            out[1] = 0x32
        elif number == 1:
            out[1] = 0x30
        out += 7
        out = put_number(out, <uint64_t>header_size)
        out[0] = 0x20
        out = put_number(out + 1, <uint64_t>total)
        out = put_line_end(out)
        memcpy(out, header, <size_t>(end - header))
        out = put_line_end(put_bytes(out + (end - header), own))
        memcpy(out, data + payload_start, <size_t>payload_size)
        out = put_line_end(out + payload_size)
        payload_start = payload_end + gap
    PyByteArray_Resize(block, out - start)
    return block
