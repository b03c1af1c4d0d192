from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t

from ditto.decoding._shape cimport Shape


# A column of the whole old row: its text in the message, and what was made of it (the old row owns that).
cdef struct OldValue:
    const uint8_t *data
    Py_ssize_t size
    PyObject *value  # NULL where it was not sent


# How many changes of a table were handed on, by action; and how many its rule has dropped.
cdef class TableCount:
    cdef uint64_t[5] passed
    cdef uint64_t dropped


cdef class Plan:
    cdef object relation
    cdef str namespace
    cdef str name
    cdef list names
    cdef dict blank  # every column, null: a copy of it is filled a row
    cdef tuple routes      # one an action
    cdef object primary_key
    cdef object schema_version
    cdef object layout  # None for Ditto's own format
    cdef object description  # None after the first change
    cdef object description_route
    cdef TableCount count_of
    cdef int count
    cdef uint8_t *kinds   # one a column
    cdef uint8_t *is_key  # one a column
    cdef OldValue *old    # one a column
    cdef Shape shape      # None where every column is converted, and nothing but the action decides


cdef class BlockBuilder:
    # the open transaction
    cdef bint is_open
    cdef uint64_t commit_lsn
    cdef object commit_lsn_object
    cdef str commit_time
    cdef int64_t commit_time_us  # since 2000
    cdef int64_t xid
    cdef object origin
    cdef uint64_t ordinal
    cdef bint is_selected
    cdef uint64_t idle_lsn
    cdef uint64_t message_lsn  # of the last event that is no part of a transaction
    # half of the events' ids
    cdef uint64_t key_high
    cdef uint64_t key_low
    # what changes get besides
    cdef bint wants_lsn
    cdef bint wants_xid
    cdef bint wants_ordinal
    cdef bint wants_primary_key
    cdef bint wants_origin
    cdef bint wants_schema_version
    cdef object lsn_text  # of the commit LSN `lsn_text_of`
    cdef uint64_t lsn_text_of
    cdef bint has_meta
    cdef bint marks_last
    cdef bint has_transactions
    # change, route, routing, LSN, ordinal and layout of the one that waits to be told whether it is the last
    cdef object held
    cdef dict described  # by route, the version of the last description
    # the block that is being filled
    cdef list changes
    cdef list routes
    cdef list commit_lsns
    cdef list ordinals
    cdef list headers  # None before the first change that has any; so are the keys
    cdef list keys
    cdef list layouts
    cdef dict transactions
    cdef object begun_lsn  # of the last one that is in `transactions`
    cdef bint has_more  # one of these four is to be filled
    cdef Py_ssize_t size
    cdef Py_ssize_t frame_count
    cdef uint64_t delivered_lsn  # of the last transaction that is delivered
    cdef uint64_t delivered_end_lsn  # 0 for none
    cdef Py_ssize_t delivered_count
    cdef bint is_reply_requested
    cdef uint64_t wanted_lsn
    cdef list traceparents
    cdef readonly object relation
    cdef object message
    cdef bint is_stopped  # the block is to be handed over before anything else is decoded
    cdef uint64_t barrier
    cdef bytes waiting  # the Begin at the barrier
    cdef int start_block(self) except -1
    cdef int release(self, bint is_last) except -1
    cdef int append(
        self, object change, object route, object routing, object commit_lsn, object ordinal, object layout
    ) except -1
    cdef int add_more(self, object routing, object commit_lsn, object layout) except -1
    cdef object make_meta(self, Plan plan, uint64_t commit_lsn, uint64_t ordinal, int64_t xid, object origin)
    cdef str event_id(self, uint64_t commit_lsn, uint64_t ordinal)
    cdef int put_id(self, uint64_t commit_lsn, uint64_t ordinal, char *out) noexcept
    cdef bint is_at_barrier(self) noexcept
    cdef object finish_block(self, bint is_drained, bint is_ended)
    cdef int describe(self, Plan plan) except -1
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
    ) except -1
    cdef int hand_on(self, object change, object route, object routing, object layout) except -1


cdef str format_time(int64_t time_us)
cdef int place(object error, Plan plan, str action, uint64_t commit_lsn, uint64_t ordinal) except -1
