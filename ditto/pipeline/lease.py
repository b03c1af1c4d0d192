"""The lease: how a standby tells a holder of the slot that is dead or cut off from one that is only quiet.

Several `ditto run` on one slot form a group: one works, the others are standbys. PostgreSQL alone decides who works:
one walsender holds the slot. The chain of messages decides what is stored. **Correctness does not depend on the
lease**: a lease that is lost, forged, late or absent costs at most a needless takeover, or a later one. A process
that dies closes its connections, the slot becomes free, and a standby takes it without a lease. The lease is for the
machine that is gone, the network that is cut and the process that is frozen: PostgreSQL still believes in their
walsender then, for `wal_sender_timeout` or for ever.

The lease has a second use. Where the sink is new and PostgreSQL's statistics are lost, a lease that has existed is
the only sign that the slot was read before; Ditto then stops, in place of passing over what is gone.

The holder writes the lease after START_REPLICATION has succeeded, and again every third of the time to live; each
time against the revision that it wrote last. Before each write it asks PostgreSQL whether its walsender still holds
the slot, so that a holder which is cut off from PostgreSQL does not renew either. Renewal runs beside the stream:
blocks of events take milliseconds of the event loop, a third of the time to live is seconds. Where the store has
another revision, PostgreSQL is asked again, and its answer decides: a holder whose walsender holds the slot
overwrites the lease, another one ends its session. An orderly stop removes the lease.

A standby takes the holder for dead when neither the lease's revision nor the activity of the sink has changed for the
time to live that the lease itself states. The standby counts on its own monotonic clock, from the answer that first
showed this state to the request that last did: no clock of two machines is compared, and a standby that was frozen
itself has not counted. What cannot be read counts for nothing and starts the count anew, so that nobody takes over
while the sink is away for all. A busy holder whose renewal is late is not dead: the sink's activity shows that. The
standby then ends the walsender with the pid that the lease names, if that one holds the slot; the slot becomes free,
and one of the standbys gets it. A reader of the slot that has no lease (another tool, a Ditto without rights for the
store) is never ended. A process that finds the lease of its own earlier session need not wait.

A holder whose store has not answered for the time to live ends its session: it could not store anything either, and
so the slot is free for one that can. Where the store answers, but refuses the lease (no rights, no room, no leader),
the holder goes on without one. A holder that was frozen finds its walsender gone, another revision in the store or
another message in the chain when it thaws, whichever comes first: its session ends, and it becomes a standby.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NoReturn

import msgspec
import structlog

from ditto.errors import AccessDenied, AckTimeout, SinkDenied, SinkError, SinkLost
from ditto.formats import deep_json
from ditto.monitoring.counters import Counters
from ditto.sinks.base import LeaseStore

log = structlog.get_logger()

_LOOK_PERIOD_S: Final = 1.0
_SUSPECTED: Final = 0.5
"""The part of the time to live that is enough for a holder which is suspected already: one renewal and a half."""
_WITHOUT: Final = (
    "takeover works without a lease when a process dies; when its machine does, or the network, a standby waits for "
    "PostgreSQL's wal_sender_timeout. delivery.lease_ttl: 0s switches the lease off"
)

CheckSlot = Callable[[], Coroutine[Any, Any, None]]


class Terms(msgspec.Struct, frozen=True):
    """What the lease says."""

    run_id: str
    """Of the process that wrote it."""
    host: str
    walsender_pid: int
    """Which process of PostgreSQL serves it."""
    ttl_s: float
    """It is renewed every third of this."""
    pid: int | None = None
    """Of that process, on its host."""


_terms: Final = msgspec.json.Decoder(Terms)


def read_terms(value: bytes) -> Terms | None:
    """None for an entry that was deleted, and for one that nobody wrote who knows how."""
    try:
        return deep_json.decode(value, _terms)
    except msgspec.MsgspecError:
        return None


class Silence:
    """For how long what is seen has been the same."""

    def __init__(self) -> None:
        self._seen: object = None
        self._since = 0.0

    def note(self, seen: object, *, asked_at: float, answered_at: float) -> float:
        """`seen` was the state at some moment between the two; for how many seconds it surely has been."""
        if seen != self._seen:
            self._seen, self._since = seen, answered_at
        return max(0.0, asked_at - self._since)

    def forget(self) -> None:
        """Nothing is known: the count starts anew."""
        self._seen = None


async def has_been_held(store: LeaseStore | None) -> bool:
    """Whether a Ditto has ever filled a sink of this name from a slot of this name: its lease leaves a trace.

    A lease that may not be read tells nothing.
    """
    try:
        return store is not None and (await store.read()).revision > 0
    except SinkDenied:
        return False


class Lease:
    """The lease of one session, as its holder or as a standby. Without a `store` it does nothing."""

    def __init__(
        self,
        store: LeaseStore | None,
        *,
        ttl_s: float,
        slot: str,
        clock: Callable[[], float],
        counters: Counters,
        suspects_holder: bool = False,
    ) -> None:
        """`suspects_holder`: the holder is dead by other signs, too (a fleet does not see its node any more)."""
        self._store = store
        self._ttl_s = ttl_s
        self._slot = slot
        self._clock = clock
        self._counters = counters
        self._patience = _SUSPECTED if suspects_holder else 1.0
        self._revision = 0
        self._ended_pid = 0
        self._refused_pid = 0
        self._refused_at = 0.0

    async def has_been_held(self) -> bool:
        """See the function of that name."""
        return await has_been_held(self._store)

    # ------------------------------------------------------------------------------------ the holder

    async def hold(self, walsender_pid: int, *, check_slot: CheckSlot, stored_count: Callable[[], int]) -> None:
        """Write it and renew it until cancelled.

        `check_slot` raises when this walsender holds the slot no longer; `stored_count` tells how far the sink
        has got. Raises what `check_slot` does, and AckTimeout when the store has been silent for the time to live.
        """
        store = self._store
        if store is None:
            return
        value = msgspec.json.encode(
            Terms(self._counters.run_id, socket.gethostname(), walsender_pid, self._ttl_s, os.getpid())
        )
        answered_at = self._clock()
        count = stored_count()
        while True:
            checked_at = self._clock()
            await check_slot()
            answered_at += self._clock() - checked_at  # what PostgreSQL took is not the sink's fault
            if stored_count() != count:  # it stores events: the sink is there
                count, answered_at = stored_count(), self._clock()
            try:
                await self._write(store, value, check_slot)
            except AckTimeout as error:
                if not self._revision:
                    self._do_without(error)
                elif self._clock() - answered_at >= self._ttl_s:
                    self._give_up(error)
                continue
            except SinkLost:
                pass  # the task that watches the sink ends the session
            except SinkError as error:
                self._do_without(error)
                if isinstance(error, SinkDenied):
                    return
            else:
                self._counters.is_without_lease = False
            answered_at = self._clock()
            await asyncio.sleep(self._ttl_s / 3)

    async def _write(self, store: LeaseStore, value: bytes, check_slot: CheckSlot) -> None:
        revision = await store.write(value, after=self._revision)
        while revision is None:
            # Another holder's, or an earlier one of this session whose answer was lost. PostgreSQL knows.
            await check_slot()
            revision = await store.write(value, after=(await store.read()).revision)
        self._revision = revision

    def _give_up(self, error: AckTimeout) -> NoReturn:
        raise AckTimeout(
            f"the sink has answered nothing for {self._ttl_s:g} s (delivery.lease_ttl): {error.message}",
            hint="the session ends, so that another Ditto may take the slot",
        ) from error

    async def release(self) -> None:
        """Remove it, when the session ends in order."""
        if self._store is not None and self._revision:
            try:
                await self._store.remove(after=self._revision)
            except SinkError as error:
                log.debug("lease.not_removed", reason=error.message)

    # ------------------------------------------------------------------------------------ a standby

    async def watch(self, end_walsender: Callable[[int], Awaitable[bool]]) -> None:
        """Until cancelled: end the walsender of a holder that is dead.

        `end_walsender` takes its pid, returns whether that one held the slot, and raises AccessDenied where this
        role may not end it.
        """
        store = self._store
        if store is None:
            return
        silence = Silence()
        while True:
            asked_at = self._clock()
            try:
                entry = await store.read()
                sequence = await store.activity()
            except SinkDenied as error:
                self._do_without(error)
                return
            except SinkError as error:
                log.debug("lease.not_read", reason=error.message)
                silence.forget()
            else:
                state = (entry.revision, sequence)
                silent_s = silence.note(state, asked_at=asked_at, answered_at=self._clock())
                terms = read_terms(entry.value)
                if terms is not None and (
                    terms.run_id == self._counters.run_id or silent_s >= terms.ttl_s * self._patience
                ):
                    await self._end(terms, silent_s, end_walsender)
            await asyncio.sleep(min(_LOOK_PERIOD_S, self._ttl_s / 10))

    async def _end(self, terms: Terms, silent_s: float, end_walsender: Callable[[int], Awaitable[bool]]) -> None:
        pid, now = terms.walsender_pid, self._clock()
        is_refused = pid == self._refused_pid
        if is_refused and now - self._refused_at < self._ttl_s:
            return
        try:
            is_ended = await end_walsender(pid)
        except AccessDenied as error:
            self._refused_pid, self._refused_at = pid, now
            if not is_refused:
                log.warning(
                    "slot.holder_not_ended",
                    slot=self._slot,
                    host=terms.host,
                    walsender_pid=pid,
                    silent_s=round(silent_s, 1),
                    reason=error.message,
                    hint="let all Dittos of a slot connect as the same role, or GRANT pg_signal_backend to this one's; "
                    "until then PostgreSQL's wal_sender_timeout decides",
                )
            return
        if is_ended and pid != self._ended_pid:
            self._ended_pid = pid
            self._counters.ended_holders += 1
            log.warning(
                "slot.holder_ended",
                slot=self._slot,
                host=terms.host,
                walsender_pid=pid,
                silent_s=round(silent_s, 1),
                reason="its lease was not renewed: its machine or its network is gone, or it is frozen",
            )

    def _do_without(self, error: SinkError) -> None:
        """Said once, until it works again."""
        if not self._counters.is_without_lease:
            self._counters.is_without_lease = True
            hint = f"{error.hint}; {_WITHOUT}" if error.hint else _WITHOUT
            log.warning("lease.unavailable", slot=self._slot, reason=error.message, hint=hint)
