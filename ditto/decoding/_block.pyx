# cython: language_level=3
"""A block of changes while it is being filled, and what a change gets besides its row: id, position and time."""

from cpython.list cimport PyList_Append
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import sys

from ditto.decoding._shape cimport Shape

from ditto.errors import DecodeError
from ditto.decoding.change import Change, DetailedChange, Meta
from ditto.lsn import format_lsn
from ditto.decoding.messages import PG_EPOCH_US, Begun, Block, Delivered
from ditto.decoding.pure.shape import has_shape

from msgspec import UNSET


cdef extern from "Python.h":
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)
    void *PyUnicode_DATA(object o)

cdef int64_t US_PER_DAY = 86_400_000_000
cdef uint64_t NO_BARRIER = <uint64_t>-1  # after every LSN
cdef uint64_t VARIANT = <uint64_t>1 << 63  # of a UUID, RFC 9562
cdef bytes HEX = bytes(range(256)).hex().encode()
cdef const char *HEX_PAIRS = HEX
cdef object make_change = Change
cdef object make_detailed = DetailedChange
cdef object make_meta = Meta
cdef object make_begun = Begun
cdef int64_t EPOCH_US = PG_EPOCH_US
cdef object unset = UNSET


cdef class TableCount:
    """Zeros at first. A table keeps it when its Relation message comes again."""


cdef class Plan:
    """A `TablePlan` as the decoder uses it."""

    def __cinit__(self, plan, TableCount count_of not None):
        cdef int i
        cdef bytes kinds = plan.kinds
        relation = plan.relation
        self.relation = relation
        self.namespace = relation.namespace
        self.name = relation.name
        self.names = [sys.intern(column.name) for column in relation.columns]
        self.blank = dict.fromkeys(self.names)
        self.routes = tuple(plan.routes)
        self.primary_key = unset if plan.primary_key is None else list(plan.primary_key)
        self.schema_version = unset if plan.schema_version is None else plan.schema_version
        self.layout = plan.layout
        self.description = plan.description
        self.description_route = None if plan.description is None else plan.description.route
        self.count_of = count_of
        self.count = <int>len(self.names)
        if len(kinds) != self.count:
            raise ValueError(f"a plan of {len(kinds)} columns where the relation has {self.count}")
        self.kinds = <uint8_t *>malloc(<size_t>self.count + 1)
        self.is_key = <uint8_t *>malloc(<size_t>self.count + 1)
        self.old = <OldValue *>malloc((<size_t>self.count + 1) * sizeof(OldValue))
        if self.kinds == NULL or self.is_key == NULL or self.old == NULL:
            raise MemoryError
        for i, column in enumerate(relation.columns):
            self.kinds[i] = <uint8_t>kinds[i]
            self.is_key[i] = 1 if column.is_key else 0
        self.shape = Shape(plan) if has_shape(plan) else None

    def __dealloc__(self):
        free(self.kinds)
        free(self.is_key)
        free(self.old)


cdef class BlockBuilder:
    """What all messages of a connection fill; `id_key` is `event_key(…)`."""

    def __init__(self, bytes id_key not None, extras, described):
        self.key_high = int.from_bytes(id_key[:8]) >> 4
        self.key_low = int.from_bytes(id_key[8:16]) >> 2
        self.wants_lsn = "lsn" in extras.metadata
        self.wants_xid = "xid" in extras.metadata
        self.wants_ordinal = "ordinal" in extras.metadata
        self.wants_primary_key = "primary_key" in extras.metadata
        self.wants_origin = "origin" in extras.metadata
        self.wants_schema_version = "schema_version" in extras.metadata
        self.has_meta = bool(extras.metadata)
        self.marks_last = extras.marks_last
        self.has_transactions = extras.has_transactions
        self.described = dict(described)
        self.barrier = NO_BARRIER
        self.start_block()

    cdef int start_block(self) except -1:
        self.changes = []
        self.routes = []
        self.commit_lsns = []
        self.ordinals = []
        self.headers = None
        self.keys = None
        self.layouts = None
        self.transactions = {}
        self.begun_lsn = None
        self.has_more = self.has_transactions
        self.size = 0
        self.frame_count = 0
        self.delivered_end_lsn = 0
        self.is_reply_requested = False
        self.wanted_lsn = 0
        self.traceparents = []
        self.relation = None
        self.message = None
        self.is_stopped = False
        return 0

    cdef object finish_block(self, bint is_drained, bint is_ended):
        delivered = None
        if self.delivered_end_lsn:
            delivered = Delivered(self.delivered_lsn, self.delivered_end_lsn, self.delivered_count)
        block = Block(
            self.changes,
            self.routes,
            self.commit_lsns,
            self.ordinals,
            self.size,
            self.frame_count,
            delivered,
            0 if self.is_open else min(self.idle_lsn, self.barrier - 1),
            self.is_reply_requested,
            self.wanted_lsn,
            is_drained,
            is_ended,
            self.traceparents,
            self.relation,
            self.message,
            self.is_at_barrier(),
            "",
            self.headers,
            self.keys,
            self.layouts,
            self.transactions,
        )
        self.start_block()
        return block

    def stop_before(self, uint64_t lsn):
        """Decode nothing that commits at this LSN or later; 0: go on. Raises ValueError where such a one has begun.

        Until then no block says that everything before this LSN is decoded: something else may have to be stored there.
        """
        if lsn and lsn <= self.commit_lsn:
            raise ValueError(f"the transaction at {format_lsn(self.commit_lsn)} has begun, after {format_lsn(lsn)}")
        if lsn and lsn <= self.message_lsn:
            raise ValueError(f"the message at {format_lsn(self.message_lsn)} was decoded, after {format_lsn(lsn)}")
        self.barrier = lsn or NO_BARRIER

    def mark_selected(self):
        """The open transaction has an event of the session's own: it is one of those that are `delivered`."""
        self.is_selected = True

    cdef bint is_at_barrier(self) noexcept:
        return self.waiting is not None or (not self.is_open and self.idle_lsn >= self.barrier)

    cdef int emit(
        self,
        Plan plan,
        object route,
        str action,
        dict data,
        dict old,
        object unchanged,
        tuple json_nulls,
        object routing,
    ) except -1:
        """Add a change; `json_nulls` are the columns of the new and of the old row that are JSON's null, or None.

        `routing` is what a rule said, route, headers and key, where it has more than a route.
        """
        event_id = make_id(self, self.commit_lsn, self.ordinal)
        self.is_selected = True
        if json_nulls is None and not self.has_meta:
            change = make_change(
                event_id,
                plan.namespace,
                plan.name,
                action,
                data,
                old,
                self.commit_time,
                unchanged,
            )
        else:
            change = make_detailed(
                event_id,
                plan.namespace,
                plan.name,
                action,
                data,
                old,
                self.commit_time,
                unchanged,
                unset if json_nulls is None else json_nulls[0],
                unset if json_nulls is None else json_nulls[1],
                self.make_meta(plan, self.commit_lsn, self.ordinal, self.xid, self.origin) if self.has_meta else unset,
            )
        if self.held is not None:
            self.release(False)
        if plan.description is not None:
            self.describe(plan)
        if self.has_more or self.marks_last or routing is not None or plan.layout is not None:
            return self.hand_on(change, route, routing, plan.layout)
        PyList_Append(self.changes, change)
        PyList_Append(self.routes, route)
        PyList_Append(self.commit_lsns, self.commit_lsn_object)
        PyList_Append(self.ordinals, self.ordinal)
        return 0

    cdef int hand_on(self, object change, object route, object routing, object layout) except -1:
        """An event of the open transaction; what was held back has been released."""
        self.is_selected = True
        if self.marks_last:
            self.held = change, route, routing, self.commit_lsn_object, self.ordinal, layout
            return 0
        return self.append(change, route, routing, self.commit_lsn_object, self.ordinal, layout)

    cdef int describe(self, Plan plan) except -1:
        """Before a plan's first change: its description, unless its route has this version already."""
        description, plan.description = plan.description, None
        if self.described.get(description.route) != description.version:
            self.described[description.route] = description.version
            self.append(description.table, description.route, None, self.commit_lsn_object, self.ordinal - 1, None)
        return 0

    cdef int append(
        self, object change, object route, object routing, object commit_lsn, object ordinal, object layout
    ) except -1:
        PyList_Append(self.changes, change)
        PyList_Append(self.routes, route)
        PyList_Append(self.commit_lsns, commit_lsn)
        PyList_Append(self.ordinals, ordinal)
        if self.has_more or routing is not None or layout is not None:
            self.add_more(routing, commit_lsn, layout)
        return 0

    cdef int add_more(self, object routing, object commit_lsn, object layout) except -1:
        """What a block seldom says of a change: the one that was just added."""
        cdef Py_ssize_t before = len(self.changes) - 1
        cdef bytes headers = b""
        key = None
        if routing is not None:
            headers, key = (<tuple>routing)[1], (<tuple>routing)[2]
        if headers and self.headers is None:
            self.headers = [b""] * before
            self.has_more = True
        if self.headers is not None:
            self.headers.append(headers)
        if key is not None and self.keys is None:
            self.keys = [None] * before
            self.has_more = True
        if self.keys is not None:
            self.keys.append(key)
        if layout is not None and self.layouts is None:
            self.layouts = [None] * before
            self.has_more = True
        if self.layouts is not None:
            self.layouts.append(layout)
        if self.has_transactions and commit_lsn is not self.begun_lsn and commit_lsn == self.commit_lsn:
            self.begun_lsn = commit_lsn
            self.transactions[commit_lsn] = make_begun(self.xid, self.commit_time_us + EPOCH_US, self.origin)
        return 0

    cdef int release(self, bint is_last) except -1:
        """Let go of the change that was held back."""
        if self.held is None:
            return 0
        change, route, routing, commit_lsn, ordinal, layout = self.held
        self.held = None
        return self.append(change.as_last() if is_last else change, route, routing, commit_lsn, ordinal, layout)

    cdef object make_meta(self, Plan plan, uint64_t commit_lsn, uint64_t ordinal, int64_t xid, object origin):
        if self.wants_lsn and self.lsn_text_of != commit_lsn:
            self.lsn_text = format_lsn(commit_lsn)
            self.lsn_text_of = commit_lsn
        return make_meta(
            self.lsn_text if self.wants_lsn else unset,
            xid if self.wants_xid else unset,
            ordinal if self.wants_ordinal else unset,
            plan.primary_key if self.wants_primary_key else unset,
            origin if self.wants_origin else unset,
            plan.schema_version if self.wants_schema_version else unset,
        )

    cdef str event_id(self, uint64_t commit_lsn, uint64_t ordinal):
        """The id of the event at this position."""
        return make_id(self, commit_lsn, ordinal)

    cdef int put_id(self, uint64_t commit_lsn, uint64_t ordinal, char *out) noexcept:
        """The same as 36 bytes."""
        cdef uint64_t high = (commit_lsn >> 4) ^ self.key_high
        cdef uint64_t low = ((commit_lsn & 0xF) << 58 | ordinal) ^ self.key_low
        put_uuid(out, (high & ~<uint64_t>0xFFF) << 4 | 0x8000 | (high & 0xFFF), VARIANT | low)
        return 0


cdef inline str make_id(BlockBuilder builder, uint64_t commit_lsn, uint64_t ordinal):
    text = PyUnicode_New(36, 0x7F)
    builder.put_id(commit_lsn, ordinal, <char *>PyUnicode_DATA(text))
    return text


cdef inline void put_digits(char *out, int64_t value, int width) noexcept:
    cdef int i
    for i in range(width - 1, -1, -1):
        out[i] = <char>(0x30 + value % 10)
        value //= 10


cdef str format_time(int64_t time_us):
    """µs since 2000-01-01 UTC as RFC 3339. Days to civil date as in Howard Hinnant's published algorithm."""
    cdef int64_t days = time_us // US_PER_DAY  # rounds down, as in Python (cdivision is off)
    cdef int64_t rest = time_us % US_PER_DAY
    cdef int64_t shifted, era, doe, yoe, doy, mp, year, month, day
    cdef char *out
    shifted = days + 730_425  # days from 0000-03-01 to 2000-01-01
    if shifted < 306 or shifted > 3_652_364:  # 0001-01-01 to 9999-12-31
        raise DecodeError(f"a commit time of {time_us} µs")
    era = shifted // 146_097
    doe = shifted - era * 146_097
    yoe = (doe - doe // 1460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    text = PyUnicode_New(27, 0x7F)
    out = <char *>PyUnicode_DATA(text)
    put_digits(out, year, 4)
    put_digits(out + 5, month, 2)
    put_digits(out + 8, day, 2)
    put_digits(out + 11, rest // 3_600_000_000, 2)
    put_digits(out + 14, rest // 60_000_000 % 60, 2)
    put_digits(out + 17, rest // 1_000_000 % 60, 2)
    put_digits(out + 20, rest % 1_000_000, 6)
    out[4] = out[7] = 0x2D
    out[10] = 0x54
    out[13] = out[16] = 0x3A
    out[19] = 0x2E
    out[26] = 0x5A
    return text


cdef void put_uuid(char *out, uint64_t high, uint64_t low) noexcept:
    put_hex(out, high >> 32, 4)
    put_hex(out + 9, high >> 16, 2)
    put_hex(out + 14, high, 2)
    put_hex(out + 19, low >> 48, 2)
    put_hex(out + 24, low, 6)
    out[8] = out[13] = out[18] = out[23] = 0x2D


cdef inline void put_hex(char *out, uint64_t value, int byte_count) noexcept:
    """The lowest bytes of `value`, two digits at a time: an event's id costs 400 instructions less than one by one."""
    cdef int i
    for i in range(byte_count):
        memcpy(out + 2 * i, HEX_PAIRS + 2 * (value >> 8 * (byte_count - 1 - i) & 0xFF), 2)


cdef int place(object error, Plan plan, str action, uint64_t commit_lsn, uint64_t ordinal) except -1:
    """Say which change is refused."""
    error.relation = f"{plan.namespace}.{plan.name}"
    error.action = action
    error.commit_lsn, error.ordinal = commit_lsn, ordinal
    return 0
