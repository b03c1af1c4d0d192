# cython: language_level=3
"""The decoder, compiled: CopyData messages of a replication connection in, changes out.

Same interface and same results as `decoding/pure/decoder.py`, where the layouts are easier to read. It drains libpq
itself: one call a wake-up.
"""

cimport cython
from cpython.dict cimport PyDict_Copy, PyDict_DelItem, PyDict_GetItem, PyDict_SetItem
from cpython.list cimport PyList_GET_ITEM
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from ditto.decoding._block cimport OldValue, Plan, TableCount, format_time, place
from ditto.decoding._cursor cimport Cursor, finish, take, take_i32, take_string, take_u8, take_u16, take_u32, take_u64
from ditto.decoding._libpq cimport CopyStream
from ditto.decoding._column_values cimport convert_value
from ditto.decoding._scalar_values cimport is_json_null
from ditto.decoding._shape cimport Shape
from ditto.decoding._snapshots cimport SnapshotSupport

from msgspec import UNSET, Raw

from ditto.hints import NOT_UTF8
from ditto.lsn import Transaction
from ditto.decoding.change import MessageEvent
from ditto.decoding.column_kinds import JSON
from ditto.decoding.invalid_text import not_utf8
from ditto.errors import ConnectionLost, DecodeError
from ditto.lsn import ORIGIN, format_lsn
from ditto.decoding.messages import (
    BEFORE_MESSAGE_END,
    MARKER_PREFIX,
    MESSAGE_ACTION,
    NO_DESCRIPTIONS,
    NO_EXTRAS,
    OWN_PREFIXES,
    SNAPSHOT_PREFIX,
    TRACE_PREFIX,
    TRACEPARENT_SIZE,
    WAIT_PREFIX,
    WATCHED,
    ChangeRefused,
    Column,
    LogicalMessage,
    Relation,
    RuleFailed,
)
from ditto.decoding.size_limit import check_size


cdef extern from "Python.h":
    object PyMemoryView_FromMemory(char *data, Py_ssize_t size, int flags)
    int PyBUF_READ

# pgoutput's and the replication protocol's bytes, as integers.
cdef enum:
    COPY_DATA = 0x77      # w
    KEEPALIVE = 0x6B      # k
    BEGIN = 0x42          # B
    COMMIT = 0x43         # C
    RELATION = 0x52       # R
    TYPE = 0x59           # Y
    INSERT = 0x49         # I
    UPDATE = 0x55         # U
    DELETE = 0x44         # D
    TRUNCATE = 0x54       # T
    MESSAGE = 0x4D        # M
    ORIGIN_NAME = 0x4F    # O
    NEW_ROW = 0x4E        # N
    KEY_ROW = 0x4B        # K
    OLD_ROW = 0x4F        # O
    VALUE_TEXT = 0x74     # t
    VALUE_NULL = 0x6E     # n
    VALUE_UNCHANGED = 0x75  # u

# Why a drain ended, where more may be waiting (at a limit, or at a Relation message), or nothing more can come.
cdef enum:
    IS_LIMITED = 1
    IS_ENDED = 2

cdef enum:
    MANY_TYPES = 2000

# libpq reads 16 KB at once, which may be only a few messages.
cdef enum:
    FEW_BYTES = 6144

cdef enum:
    TRUNCATE_ACTION = 3  # among the routes and counts

cdef enum:
    BEGIN_SIZE = 46   # of the whole CopyData message
    MESSAGE_HEAD = 26  # of the same, up to a message's tag

cdef uint64_t EVERYTHING = <uint64_t>1 << 63
cdef str A_INSERT = "INSERT"
cdef str A_UPDATE = "UPDATE"
cdef str A_DELETE = "DELETE"
cdef str A_TRUNCATE = "TRUNCATE"
cdef object unset = UNSET
cdef tuple NO_TYPE = ("", "")  # a built-in one: no Type message comes for it
# Where a change has no row: one dict for all of them, which nobody changes.
cdef dict nothing = {}
cdef uint8_t json_kind = JSON
cdef str wait_prefix = WAIT_PREFIX
cdef str trace_prefix = TRACE_PREFIX
cdef str snapshot_prefix = SNAPSHOT_PREFIX
cdef frozenset RESERVED_PREFIXES = OWN_PREFIXES
cdef frozenset SNAPSHOT_PREFIXES = frozenset({SNAPSHOT_PREFIX, MARKER_PREFIX})
cdef Py_ssize_t TRACEPARENT = TRACEPARENT_SIZE
cdef uint64_t BEFORE_END = BEFORE_MESSAGE_END


@cython.final
cdef class Decoder(SnapshotSupport):
    """Turns the CopyData messages of one replication connection into changes.

    A Relation message ends the block; its changes can be decoded once `define` has given the plan. `id_key` is
    `event_key(…)`. Changes up to and with the position `after` are stored already: they are skipped without being
    converted. `watched` are the first two transactions that commit at `watch_lsn` or later. `described` are, by route,
    the versions of the descriptions that are stored. A change whose event certainly takes more than `max_size` bytes
    raises ChangeTooLarge instead; 0 is no limit. Of logical messages become events those that `message_rule` routes.
    """
    cdef uint64_t after_lsn
    cdef uint64_t after_ordinal
    cdef uint64_t watch_lsn
    cdef Py_ssize_t unwatched
    cdef readonly list watched
    cdef dict plans
    cdef dict undefined  # relations that wait for their plans
    cdef dict types
    cdef Plan last_plan
    cdef int64_t last_oid
    cdef bint has_forgotten
    cdef object message_rule
    cdef object refused  # to be raised when what comes before it has been handed over
    cdef uint64_t skip_to
    cdef readonly uint64_t skipped_count
    cdef readonly uint64_t logical_message_count
    cdef readonly uint64_t void_request_count  # of snapshots, by messages that are not transactional

    def __init__(
        self,
        *,
        bytes id_key not None,
        after=ORIGIN,
        watch_lsn=0,
        extras=NO_EXTRAS,
        described=NO_DESCRIPTIONS,
        Py_ssize_t max_size=0,
        message_rule=None,
    ):
        super().__init__(id_key, extras, described, max_size)
        self.message_rule = message_rule
        self.watch_lsn = watch_lsn
        self.unwatched = WATCHED
        self.watched = []
        self.after_lsn, self.after_ordinal = after
        self.plans = {}
        self.undefined = {}
        self.types = {}
        self.last_oid = -1

    def feed(self, bytes frame not None):
        """Decode one CopyData message. Raises DecodeError, after which the decoder is of no more use."""
        if self.waiting is not None:
            self.resume()
            if self.waiting is not None:
                raise ValueError("the decoder waits at the barrier")
        self.decode_frame(<const uint8_t *><const char *>frame, len(frame))

    def define(self, oid, plan):
        """Give the plan of a relation that has been described. Raises ValueError for a plan of another one."""
        relation = plan.relation
        if self.undefined.get(oid) is not relation:
            raise ValueError(f"relation {oid} does not wait for this plan")
        count_of = self.table_counts.setdefault((relation.namespace, relation.name), TableCount())
        self.plans[oid] = Plan(plan, count_of)
        del self.undefined[oid]

    def last_transaction(self):
        """The last one that has begun; None where none has."""
        return Transaction(self.commit_lsn, self.commit_time, self.xid) if self.commit_lsn else None

    def passed_counts(self):
        """By schema and table, how many changes were handed on: inserts, updates, deletes, truncates, rows read."""
        cdef TableCount count
        found = {}
        for table, count in self.table_counts.items():
            found[table] = tuple([count.passed[i] for i in range(5)])
        return found

    def dropped_counts(self):
        """By schema and table, how many changes its rule has dropped; they are part of `filtered_count`."""
        cdef TableCount count
        return {table: count.dropped for table, count in self.table_counts.items() if count.dropped}

    @property
    def relation_count(self):
        """How many relations are defined."""
        return len(self.plans)

    @property
    def passed_lsn(self):
        """Everything that began to commit before this LSN has been decoded."""
        return max(self.commit_lsn, self.idle_lsn)

    def relations(self):
        """What is defined, by OID."""
        return {oid: (<Plan>plan).relation for oid, plan in self.plans.items()}

    def forget(self, relations):
        """Give up these relations, unless they have been described anew since. Returns the tables that are left out.

        Should one come again all the same, it raises ConnectionLost: the next connection describes everything.
        """
        cdef Plan plan
        routes = {}
        for oid, relation in relations.items():
            plan = self.plans.get(oid)
            if plan is not None and plan.relation is relation:
                del self.plans[oid]
                routes[plan.namespace, plan.name] = plan.description_route
        gone = set(routes)
        gone -= {((<Plan>each).namespace, (<Plan>each).name) for each in self.plans.values()}
        gone -= {(each.namespace, each.name) for each in self.undefined.values()}
        for table in gone:
            self.table_counts.pop(table, None)
            self.described.pop(routes[table], None)
        self.last_plan = None
        self.last_oid = -1
        self.has_forgotten = True
        return gone

    def take(self):
        """Hand over what has been decoded since the last call."""
        return self.finish_block(True, False)

    def read(self, pgconn, *, Py_ssize_t max_events, Py_ssize_t max_bytes, Py_ssize_t enough=1):
        """Drain libpq and the socket until nothing new comes, a limit is reached or something ends the block.

        A Relation, a message of a snapshot and the barrier end it. With `enough` it also ends where a read of the
        socket brings less than so many messages, and few bytes.

        Raises ConnectionLost, DecodeError, and ChangeRefused once all before that change has been handed over.
        """
        cdef int state = 0
        if self.refused is not None:
            raise self.refused
        try:
            state = self.drain(pgconn, max_events, max_bytes, enough)
        except ChangeRefused as error:
            self.release(False)
            if not self.changes:
                raise
            self.refused = error
            state = IS_LIMITED  # the next call raises, whatever the socket has
        return self.finish_block(state != IS_LIMITED, state == IS_ENDED)

    cdef int drain(self, pgconn, Py_ssize_t max_events, Py_ssize_t max_bytes, Py_ssize_t enough) except -1:
        cdef CopyStream stream = CopyStream(pgconn)
        cdef const uint8_t *data = NULL
        cdef Py_ssize_t count_at_read = -1
        cdef Py_ssize_t size_at_read = 0
        cdef int length
        self.resume()
        if self.is_stopped:
            return IS_LIMITED
        while True:
            if len(self.changes) >= max_events or self.size >= max_bytes:
                return IS_LIMITED
            length = stream.next_message(&data)
            if length > 0:
                self.decode_frame(data, length)
                if self.is_stopped:
                    return IS_LIMITED
            elif length < 0:
                return IS_ENDED
            elif self.frame_count == count_at_read or (
                count_at_read > 0
                and self.frame_count - count_at_read < enough
                and self.size - size_at_read < FEW_BYTES
            ):
                return 0
            else:
                count_at_read = self.frame_count
                size_at_read = self.size
                stream.read_socket()

    cdef int resume(self) except -1:
        """Decode the Begin that waits at the barrier: if the barrier is still there, it goes on waiting."""
        frame, self.waiting = self.waiting, None
        if frame is not None:
            self.decode_copy_data(<const uint8_t *><const char *>frame, len(frame))
        return 0

    cdef int decode_frame(self, const uint8_t *data, Py_ssize_t n) except -1:
        self.frame_count += 1
        self.size += n
        return self.decode_copy_data(data, n)

    cdef int decode_copy_data(self, const uint8_t *data, Py_ssize_t n) except -1:
        cdef Cursor c
        c.pos = data
        c.end = data + n
        try:
            self.decode_copy(&c)
        except DecodeError as error:
            raise self.explain(error) from error
        except UnicodeDecodeError:  # it quotes the bytes: not to be chained
            raise self.explain(DecodeError("text that is not UTF-8", hint=NOT_UTF8)) from None
        return 0

    cdef object explain(self, error):
        where = f" in the transaction that commits at {format_lsn(self.commit_lsn)}" if self.is_open else ""
        if relation := error.context.get("relation"):
            where += f", table {relation}"
        return DecodeError(
            f"cannot decode what PostgreSQL sent{where}: {error.message}",
            hint=error.hint or "nothing is lost, the slot holds the change. It is a fault of Ditto: please report it",
            **error.context,
        )

    cdef int decode_copy(self, Cursor *c) except -1:
        cdef int tag = take_u8(c)
        cdef uint64_t end_lsn
        if tag == COPY_DATA:  # start8 end8 ts8 payload
            take(c, 24)
            return self.decode_message(c)
        if tag == KEEPALIVE:  # end8 ts8 reply1
            end_lsn = take_u64(c)
            take(c, 8)
            if take_u8(c):
                self.is_reply_requested = True
            finish(c)
            if not self.is_open and end_lsn > self.idle_lsn:
                self.idle_lsn = end_lsn
            return 0
        raise DecodeError(f"unknown replication message 0x{tag:02X}")

    cdef int decode_message(self, Cursor *c) except -1:
        cdef int tag = take_u8(c)
        if tag == INSERT or tag == UPDATE or tag == DELETE:
            return self.decode_change(c, tag)
        if tag == BEGIN:
            return self.decode_begin(c)
        if tag == COMMIT:
            return self.decode_commit(c)
        if tag == RELATION:
            return self.decode_relation(c)
        if tag == TYPE:
            return self.decode_type(c)
        if tag == TRUNCATE:
            return self.decode_truncate(c)
        if tag == MESSAGE:
            return self.decode_logical_message(c)
        if tag == ORIGIN_NAME:
            take(c, 8)
            self.origin = take_string(c)
            return finish(c)
        if chr(tag) in "SEcAbPKrp":
            raise DecodeError(f"a streamed or prepared transaction (message {chr(tag)!r}), which was not asked for")
        raise DecodeError(f"unknown message 0x{tag:02X}")

    cdef int decode_begin(self, Cursor *c) except -1:
        cdef uint64_t final_lsn = take_u64(c)
        cdef int64_t time_us = <int64_t>take_u64(c)
        cdef int64_t xid = take_u32(c)
        finish(c)
        if self.is_open:
            raise DecodeError("a Begin inside a transaction")
        if final_lsn <= self.commit_lsn:
            raise DecodeError(f"the transaction at {format_lsn(final_lsn)} comes out of commit order")
        if final_lsn >= self.barrier:
            self.waiting = (<const char *>c.end - BEGIN_SIZE)[:BEGIN_SIZE]
            self.is_stopped = True
            return 0
        self.is_open = True
        self.xid = xid
        self.commit_lsn = final_lsn
        self.commit_lsn_object = final_lsn
        self.commit_time = format_time(time_us)
        self.commit_time_us = time_us
        if self.unwatched and final_lsn >= self.watch_lsn:
            self.unwatched -= 1
            self.watched.append(Transaction(final_lsn, self.commit_time, self.xid))
        if self.recorded_oid >= 0:
            self.judge_transaction()
        self.origin = None
        self.ordinal = 0
        self.is_selected = final_lsn <= self.after_lsn
        if final_lsn < self.after_lsn:
            self.skip_to = EVERYTHING
        elif final_lsn == self.after_lsn:
            self.skip_to = self.after_ordinal
        else:
            self.skip_to = 0
        return 0

    cdef int decode_commit(self, Cursor *c) except -1:
        cdef uint64_t commit_lsn, end_lsn
        take(c, 1)
        commit_lsn = take_u64(c)
        end_lsn = take_u64(c)
        take(c, 8)
        finish(c)
        if not self.is_open:
            raise DecodeError("a Commit outside a transaction")
        if commit_lsn != self.commit_lsn or end_lsn <= commit_lsn:
            raise DecodeError(f"a Commit at {format_lsn(commit_lsn)} that does not fit its Begin")
        self.is_open = False
        self.release(True)
        if end_lsn > self.idle_lsn:
            self.idle_lsn = end_lsn
        if self.is_selected:
            self.delivered_lsn = commit_lsn
            self.delivered_end_lsn = end_lsn
            self.delivered_count = len(self.changes)
        return 0

    cdef int decode_type(self, Cursor *c) except -1:
        oid = take_u32(c)
        namespace = take_string(c)
        name = take_string(c)
        finish(c)
        self.types[oid] = namespace, name
        return 0

    cdef int decode_relation(self, Cursor *c) except -1:
        cdef int identity, flags
        oid = take_u32(c)
        namespace = take_string(c)
        name = take_string(c)
        identity = take_u8(c)
        if chr(identity) not in "dnfi":
            raise DecodeError(f"unknown replica identity 0x{identity:02X}", relation=f"{namespace}.{name}")
        columns = []
        for _ in range(take_u16(c)):
            flags = take_u8(c)
            if flags > 1:
                raise DecodeError(f"unknown column flags {flags}", relation=f"{namespace}.{name}")
            column_name = take_string(c)
            type_oid = take_u32(c)
            typmod = take_i32(c)
            type_namespace, type_name = self.types.get(type_oid, NO_TYPE)
            columns.append(Column(column_name, type_oid, typmod, flags == 1, type_namespace, type_name))
        finish(c)
        if len({column.name for column in columns}) != len(columns):
            raise DecodeError("two columns of one name", relation=f"{namespace}.{name}")
        relation = Relation(oid, namespace or "pg_catalog", name, chr(identity), tuple(columns))
        self.plans.pop(oid, None)
        self.undefined[oid] = self.relation = relation
        self.is_stopped = True
        self.last_plan = None
        self.last_oid = -1
        if len(self.types) > MANY_TYPES:  # those of a relation come anew right before it
            self.types.clear()
        return 0

    cdef int decode_logical_message(self, Cursor *c) except -1:
        cdef const uint8_t *frame = c.pos - MESSAGE_HEAD
        cdef int flags = take_u8(c)
        cdef uint64_t lsn = take_u64(c)
        cdef const uint8_t *content
        cdef Py_ssize_t n
        prefix = take_string(c)
        n = take_i32(c)
        content = take(c, n)
        finish(c)
        if flags > 1:
            raise DecodeError(f"unknown flags {flags} of a logical message")
        if prefix == wait_prefix:
            self.wanted_lsn = lsn
            if not self.is_open and lsn > self.idle_lsn:
                # Not part of a transaction: it comes at its place in the WAL, after every commit before it.
                self.idle_lsn = lsn
        if flags == 1:
            self.count_change()
            if prefix in SNAPSHOT_PREFIXES and self.ordinal > self.skip_to:
                self.release(False)  # what is stored for the message comes after it
                self.message = LogicalMessage(
                    prefix,
                    (<const char *>content)[:n],
                    self.commit_lsn,
                    self.ordinal,
                    self.commit_time,
                    self.xid,
                )
                self.is_stopped = True
            if n == TRACEPARENT and prefix == trace_prefix:
                self.traceparents.append((self.commit_lsn_object, self.ordinal, (<const char *>content)[:n]))
        elif prefix == snapshot_prefix:
            self.void_request_count += 1
        self.logical_message_count += 1
        if self.message_rule is not None and prefix not in RESERVED_PREFIXES:
            if flags == 1:
                self.add_message(prefix, (<const char *>content)[:n])
            elif not self.add_message_beside(prefix, (<const char *>content)[:n], lsn):
                self.waiting = (<const char *>frame)[:c.end - frame]
                self.is_stopped = True
                self.logical_message_count -= 1  # it is decoded again
        return 0

    cdef int add_message(self, str prefix, bytes content) except -1:
        """The event of a message that is part of the open transaction, if it is one."""
        if self.ordinal <= self.skip_to:
            return 0
        routing = self.route_message(prefix, content, True, self.commit_lsn, self.ordinal)
        if routing is None:
            return 0
        event = MessageEvent(self.event_id(self.commit_lsn, self.ordinal), prefix, content, True, self.commit_time)
        self.release(False)
        return self.hand_on(event, route_of(routing), routing, None)

    cdef bint add_message_beside(self, str prefix, bytes content, uint64_t end_lsn) except -1:
        """That of one that is part of no transaction: it comes at its place in the WAL, between the commits.

        False where it has to wait at the barrier.
        """
        cdef uint64_t lsn = end_lsn - BEFORE_END
        if lsn < self.after_lsn or (lsn == self.after_lsn and self.after_ordinal >= 1):
            return True
        routing = self.route_message(prefix, content, False, lsn, 1)
        if routing is None:
            return True
        if self.is_open or lsn <= self.commit_lsn or lsn <= self.message_lsn:
            raise DecodeError(f"the logical message at {format_lsn(lsn)} comes out of order")
        if lsn >= self.barrier:
            return False
        self.message_lsn = lsn
        event = MessageEvent(self.event_id(lsn, 1), prefix, content, False, "")
        self.append(event, route_of(routing), routing, lsn, 1, None)
        self.delivered_lsn = lsn
        self.delivered_end_lsn = end_lsn
        self.delivered_count = len(self.changes)
        self.idle_lsn = max(self.idle_lsn, self.delivered_end_lsn)
        return True

    cdef object route_message(self, str prefix, bytes content, bint is_transactional, uint64_t lsn, uint64_t ordinal):
        try:
            return self.message_rule(prefix, content, is_transactional)
        except RuleFailed as error:
            error.relation, error.action = prefix, MESSAGE_ACTION
            error.commit_lsn, error.ordinal = lsn, ordinal
            raise

    cdef int count_change(self) except -1:
        if not self.is_open:
            raise DecodeError("a change outside a transaction")
        self.ordinal += 1
        return 0

    cdef Plan find_plan(self, int64_t oid):
        """The plan of this relation; the last one is at hand, because changes of one table mostly come in a row."""
        cdef PyObject *found
        if oid != self.last_oid:
            found = PyDict_GetItem(self.plans, oid)
            if found == NULL:
                if oid in self.undefined:
                    raise DecodeError(f"a change of relation {oid}, which was not defined")
                if self.has_forgotten:
                    raise ConnectionLost(f"a change of relation {oid}, which had been dropped: it is described again")
                raise DecodeError(f"a change of relation {oid}, which was not described")
            self.last_plan = <Plan>found
            self.last_oid = oid
        return self.last_plan

    cdef object find_route(self, Plan plan, int action):
        """The route of this change, or None where it is to be skipped."""
        route = plan.routes[action]
        if route is None:
            self.filtered_count += 1
        elif self.ordinal <= self.skip_to:
            self.skipped_count += 1
            route = None
        elif plan.shape is None:
            plan.count_of.passed[action] += 1
        return route

    cdef object routing(self, Plan plan, int index, str action):
        """What the plan's rule says of the change that its shape holds: route, headers and key, or None."""
        try:
            if index == TRUNCATE_ACTION:
                routing = plan.shape.route_rows(action, NULL, NULL)
            else:
                routing = plan.shape.route_change(action)
        except RuleFailed as error:
            place(error, plan, action, self.commit_lsn, self.ordinal)
            raise
        if routing is None:
            plan.count_of.dropped += 1
            self.filtered_count += 1
        else:
            plan.count_of.passed[index] += 1
        return routing

    cdef int decode_truncate(self, Cursor *c) except -1:
        cdef int64_t count = take_u32(c)
        cdef int flags = take_u8(c)
        cdef Cursor oids
        cdef Plan plan
        if flags > 3:
            raise DecodeError(f"unknown flags {flags} of a Truncate")
        oids.pos = take(c, 4 * count)
        oids.end = c.pos
        finish(c)
        while oids.pos != oids.end:
            self.count_change()
            plan = self.find_plan(take_u32(&oids))
            route = self.find_route(plan, TRUNCATE_ACTION)
            if route is None:
                continue
            routing = None
            if plan.shape is not None and plan.shape.apply is None:
                plan.count_of.passed[TRUNCATE_ACTION] += 1
            elif plan.shape is not None:
                routing = self.routing(plan, TRUNCATE_ACTION, A_TRUNCATE)
                if routing is None:
                    continue
                route, routing = route_of(routing), own_of(routing)
            self.emit(plan, route, A_TRUNCATE, nothing, nothing, unset, None, routing)
        return 0

    cdef int decode_change(self, Cursor *c, int tag) except -1:
        self.count_change()
        cdef int64_t oid = take_u32(c)
        cdef Plan plan = self.find_plan(oid)
        if oid == self.recorded_oid:
            self.record_change(c, plan)
        route = self.find_route(plan, 0 if tag == INSERT else 1 if tag == UPDATE else 2)
        if route is None:
            return 0
        cdef const uint8_t *start = c.pos
        try:
            if plan.shape is not None:
                return self.decode_shaped(c, plan, tag, route)
            if c.end - start > self.max_size:
                self.refuse_too_large(start, c.end - start, plan, tag)
            if tag == INSERT:
                self.decode_insert(c, plan, route)
            elif tag == UPDATE:
                self.decode_update(c, plan, route)
            else:
                self.decode_delete(c, plan, route)
        except DecodeError as error:
            error.context["relation"] = f"{plan.namespace}.{plan.name}"
            raise
        except UnicodeDecodeError:  # it quotes the bytes: not to be chained
            change, kinds = start[:c.end - start], plan.kinds[:plan.count]
            raise not_utf8(change, plan.names, kinds, relation=f"{plan.namespace}.{plan.name}") from None
        return 0

    cdef int decode_shaped(self, Cursor *c, Plan plan, int tag, object route) except -1:
        """A change of a table that has a rule, functions or columns that are left out."""
        cdef Shape shape = plan.shape
        cdef const uint8_t *start = c.pos
        cdef int index = 0 if tag == INSERT else 1 if tag == UPDATE else 2
        cdef str action = A_INSERT if tag == INSERT else A_UPDATE if tag == UPDATE else A_DELETE
        cdef dict data = nothing
        cdef dict old = nothing
        cdef tuple json_nulls = None
        cdef object routing = None
        cdef bint has_json_null = False
        cdef bint has_json_null_old = False
        unchanged = unset
        shape.read_change(c, tag)
        if shape.apply is None:
            plan.count_of.passed[index] += 1
        else:
            routing = self.routing(plan, index, action)
            if routing is None:
                return 0
            route, routing = route_of(routing), own_of(routing)
        if c.end - start > self.max_size:
            self.refuse_too_large(start, c.end - start, plan, tag)
        if shape.has_old:
            old = shape.old_row(&has_json_null_old)
        if shape.has_new:
            data = PyDict_Copy(shape.blank)
            unchanged = shape.fill_new_row(data, old, &has_json_null)
        if has_json_null or has_json_null_old:
            json_nulls = find_json_nulls(plan, data), find_json_nulls(plan, old)
        return self.emit(plan, route, action, data, old, unchanged, json_nulls, routing)

    cdef int refuse_too_large(self, const uint8_t *start, Py_ssize_t n, Plan plan, int tag) except -1:
        change = PyMemoryView_FromMemory(<char *>start, n, PyBUF_READ)
        try:
            check_size(change, plan.names, plan.kinds[:plan.count], plan.is_key[:plan.count], limit=self.max_size)
        except ChangeRefused as error:
            action = A_INSERT if tag == INSERT else A_UPDATE if tag == UPDATE else A_DELETE
            place(error, plan, action, self.commit_lsn, self.ordinal)
            raise
        return 0

    cdef int decode_insert(self, Cursor *c, Plan plan, object route) except -1:
        cdef dict data = PyDict_Copy(plan.blank)
        cdef bint has_json_null = False
        expect(take_u8(c), NEW_ROW, NEW_ROW)
        unchanged = decode_new(c, plan, data, False, &has_json_null)
        finish(c)
        json_nulls = (find_json_nulls(plan, data), unset) if has_json_null else None
        return self.emit(plan, route, A_INSERT, data, nothing, unchanged, json_nulls, None)

    cdef int decode_update(self, Cursor *c, Plan plan, object route) except -1:
        cdef dict data = PyDict_Copy(plan.blank)
        cdef dict old = nothing
        cdef tuple json_nulls = None
        cdef bint has_json_null = False
        cdef bint has_json_null_old = False
        cdef int part = take_u8(c)
        if part != NEW_ROW:
            expect(part, KEY_ROW, OLD_ROW)
            old = {}
            decode_old(c, plan, old, part == OLD_ROW, &has_json_null_old)
            expect(take_u8(c), NEW_ROW, NEW_ROW)
        unchanged = decode_new(c, plan, data, part != NEW_ROW, &has_json_null)
        finish(c)
        if has_json_null or has_json_null_old:
            json_nulls = find_json_nulls(plan, data), find_json_nulls(plan, old)
        return self.emit(plan, route, A_UPDATE, data, old, unchanged, json_nulls, None)

    cdef int decode_delete(self, Cursor *c, Plan plan, object route) except -1:
        cdef dict old = {}
        cdef bint has_json_null_old = False
        cdef int part = take_u8(c)
        expect(part, KEY_ROW, OLD_ROW)
        decode_old(c, plan, old, part == OLD_ROW, &has_json_null_old)
        finish(c)
        json_nulls = (unset, find_json_nulls(plan, old)) if has_json_null_old else None
        return self.emit(plan, route, A_DELETE, nothing, old, unset, json_nulls, None)


cdef int check_count(Cursor *c, Plan plan) except -1:
    cdef int count = take_u16(c)
    if count != plan.count:
        raise DecodeError(f"a row of {count} columns where the relation has {plan.count}")
    return 0


cdef object decode_new(Cursor *c, Plan plan, dict row, bint has_old, bint *has_json_null):
    """Fill `row`, a copy of the blank one; return the names of the columns that were not sent, or UNSET.

    With `has_old` the old row or its key was read before: its values serve again where they have not changed.
    """
    cdef object unchanged = unset
    cdef const uint8_t *data
    cdef OldValue *old = NULL
    cdef int i, mark
    cdef Py_ssize_t n
    check_count(c, plan)
    for i in range(plan.count):
        mark = take_u8(c)
        if has_old:
            old = &plan.old[i]
        if mark == VALUE_TEXT:
            n = take_i32(c)
            data = take(c, n)
            if old != NULL and old.value != NULL and old.size == n and memcmp(old.data, data, <size_t>n) == 0:
                value = <object>old.value
            else:
                value = convert_value(data, n, plan.kinds[i])
            PyDict_SetItem(row, <str>PyList_GET_ITEM(plan.names, i), value)
            if plan.kinds[i] == json_kind and is_json_null(data, n):
                has_json_null[0] = True
        elif mark == VALUE_NULL:
            pass  # as in the blank row
        elif mark == VALUE_UNCHANGED:
            if old != NULL and old.value != NULL:
                PyDict_SetItem(row, plan.names[i], <object>old.value)
                if plan.kinds[i] == json_kind and old.data != NULL and is_json_null(old.data, old.size):
                    has_json_null[0] = True
                continue
            PyDict_DelItem(row, plan.names[i])
            if unchanged is unset:
                unchanged = [plan.names[i]]
            else:
                unchanged.append(plan.names[i])
        else:
            raise DecodeError(f"unknown column kind 0x{mark:02X}")
    return unchanged


cdef int decode_old(Cursor *c, Plan plan, dict row, bint is_whole, bint *has_json_null) except -1:
    """Fill `row` with the old row, or its key columns only: the others are sent as nulls."""
    cdef const uint8_t *data
    cdef int i, mark
    cdef Py_ssize_t n
    check_count(c, plan)
    for i in range(plan.count):
        plan.old[i].value = NULL
        mark = take_u8(c)
        if mark == VALUE_TEXT:
            n = take_i32(c)
            data = take(c, n)
            if is_whole or plan.is_key[i]:
                value = convert_value(data, n, plan.kinds[i])
                PyDict_SetItem(row, <str>PyList_GET_ITEM(plan.names, i), value)
                plan.old[i] = OldValue(data, n, <PyObject *>value)
                if plan.kinds[i] == json_kind and is_json_null(data, n):
                    has_json_null[0] = True
        elif mark == VALUE_NULL:
            if is_whole or plan.is_key[i]:
                PyDict_SetItem(row, plan.names[i], None)
                plan.old[i] = OldValue(NULL, -1, <PyObject *>None)
        elif mark != VALUE_UNCHANGED:
            raise DecodeError(f"unknown column kind 0x{mark:02X}")
    return 0


cdef object find_json_nulls(Plan plan, dict row):
    """The columns of a row whose value is JSON's null, or UNSET: looked for only where there is one in the change."""
    cdef const uint8_t[::1] text
    cdef int i
    found = []
    for i in range(plan.count):
        value = row.get(plan.names[i])
        if plan.kinds[i] == json_kind and isinstance(value, Raw):
            text = value
            if is_json_null(&text[0], text.shape[0]):
                found.append(plan.names[i])
    return found or unset


cdef inline object route_of(object routing):
    if not isinstance(routing, tuple) or len(<tuple>routing) != 3:
        raise TypeError("a rule gives route, headers and key, or None")
    return (<tuple>routing)[0]


cdef inline object own_of(object routing):
    """The same where it has headers or a key; else None: the route is all."""
    return routing if (<tuple>routing)[1] or (<tuple>routing)[2] is not None else None


cdef inline int expect(int part, int first, int second) except -1:
    if part != first and part != second:
        raise DecodeError(f"unknown part of a change 0x{part:02X}")
    return 0
