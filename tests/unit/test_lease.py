"""The lease: what its holder writes, what a standby concludes, and how a lease is written down."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest

from ditto.errors import AccessDenied, AckTimeout, NotNow, SinkDenied, SinkError, SinkLost, SlotInUse
from ditto.monitoring.counters import Counters
from ditto.pipeline.lease import Lease, Silence, Terms, read_terms
from ditto.sinks.base import Entry
from ditto.sinks.jetstream.lease_bucket import lease_key
from ditto.tasks import end
from unit.fakes import FakeLeaseStore, fake_time, now

TTL_S = 9.0
PID = 4711


def test_silence_is_counted_from_the_answer_to_the_next_request() -> None:
    """What happened while a request was under way is not known: it does not count."""
    silence = Silence()
    assert silence.note("a", asked_at=10.0, answered_at=12.0) == 0
    assert silence.note("a", asked_at=13.0, answered_at=17.0) == 1.0
    assert silence.note("a", asked_at=22.0, answered_at=22.5) == 10.0
    assert silence.note("b", asked_at=30.0, answered_at=31.0) == 0
    assert silence.note("b", asked_at=32.0, answered_at=32.0) == 1.0


def test_a_standby_that_was_frozen_has_not_counted() -> None:
    """The answer waited for it in the socket: it tells of the moment when it was asked for, long ago."""
    silence = Silence()
    silence.note("a", asked_at=10.0, answered_at=10.0)
    assert silence.note("a", asked_at=11.0, answered_at=500.0) == 1.0


def test_what_cannot_be_read_starts_the_count_anew() -> None:
    silence = Silence()
    silence.note("a", asked_at=10.0, answered_at=10.0)
    silence.forget()
    assert silence.note("a", asked_at=50.0, answered_at=51.0) == 0
    assert silence.note("a", asked_at=53.0, answered_at=53.0) == 2.0


def test_terms_survive_being_written_down() -> None:
    terms = Terms("run", "host", 4711, 10.0)
    assert read_terms(msgspec.json.encode(terms)) == terms


@pytest.mark.parametrize("value", [b"", b"{}", b"null", b"\xff", b'{"run_id":"a","host":"b","walsender_pid":"1"}'])
def test_what_is_no_lease_says_nothing(value: bytes) -> None:
    assert read_terms(value) is None


@pytest.mark.parametrize(
    ("stream", "key"),
    [
        ("ORDERS", "ORDERS.shop_1"),
        ("a-b_c", "a-b_c.shop_1"),
        ("a=b", "a=3Db.shop_1"),
        ("Größe", "Gr=C3=B6=C3=9Fe.shop_1"),
        ("$a:b", "=24a=3Ab.shop_1"),
    ],
)
def test_a_key_holds_only_what_keys_may(stream: str, key: str) -> None:
    assert lease_key(stream, "shop_1") == key


def test_two_streams_never_share_a_key() -> None:
    assert lease_key("a=3D", "s") != lease_key("a=", "s")


# ---------------------------------------------------------------------------------------- the holder


def make_lease(store: FakeLeaseStore | None, counters: Counters | None = None, *, ttl_s: float = TTL_S) -> Lease:
    return Lease(store, ttl_s=ttl_s, slot="s", clock=now, counters=counters or Counters())


async def holds() -> None:
    """PostgreSQL says that the walsender holds the slot."""


async def holds_no_longer() -> None:
    raise SlotInUse("somebody else's")


def hold(lease: Lease, *, stored: Callable[[], int] = lambda: 0) -> asyncio.Task[None]:
    return asyncio.create_task(lease.hold(PID, check_slot=holds, stored_count=stored))


def anothers(store: FakeLeaseStore, *, ttl_s: float = TTL_S, pid: int = 99) -> None:
    """Another process has written the lease."""
    value = msgspec.json.encode(Terms("another run", "another host", pid, ttl_s))
    store.entry = Entry(store.entry.revision + 1, value)


@fake_time
async def test_a_holder_renews_every_third_of_the_time_to_live() -> None:
    store, began_at = FakeLeaseStore(), now()
    holding = hold(make_lease(store))
    await asyncio.sleep(TTL_S + 1)
    await end(holding)
    assert store.writes == [(began_at, 0), (began_at + 3, 1), (began_at + 6, 2), (began_at + 9, 3)]
    terms = read_terms(store.entry.value)
    assert terms is not None
    assert (terms.walsender_pid, terms.ttl_s) == (PID, TTL_S)


@fake_time
async def test_without_a_store_there_is_no_lease() -> None:
    lease = make_lease(None)
    await lease.hold(PID, check_slot=holds_no_longer, stored_count=lambda: 0)
    await lease.watch(never_ends)
    await lease.release()
    assert not await lease.has_been_held()


@fake_time
async def test_a_holder_whose_walsender_is_gone_does_not_renew() -> None:
    store = FakeLeaseStore()
    with pytest.raises(SlotInUse):
        await make_lease(store).hold(PID, check_slot=holds_no_longer, stored_count=lambda: 0)
    assert store.writes == []


@fake_time
async def test_a_lost_comparison_is_decided_by_postgresql() -> None:
    """Another revision is in the store: who holds the slot overwrites it, another one ends its session."""
    store, answers = FakeLeaseStore(), [holds, holds]

    async def check_slot() -> None:
        await (answers.pop(0) if answers else holds_no_longer)()

    anothers(store)
    lease = make_lease(store)
    holding = asyncio.create_task(lease.hold(PID, check_slot=check_slot, stored_count=lambda: 0))
    await asyncio.sleep(1)
    assert [after for _, after in store.writes] == [0, 1]
    assert answers == []  # asked before the first write, and again after the lost comparison
    terms = read_terms(store.entry.value)
    assert terms is not None
    assert terms.walsender_pid == PID
    anothers(store)
    with pytest.raises(SlotInUse):
        await holding
    terms = read_terms(store.entry.value)
    assert terms is not None
    assert terms.run_id == "another run"


@fake_time
async def test_a_holder_that_cannot_renew_ends_its_session() -> None:
    store = FakeLeaseStore()
    holding = hold(make_lease(store))
    await asyncio.sleep(1)
    answered_at = now()
    store.fault, store.answer_s = AckTimeout("no answer"), 2.0
    with pytest.raises(AckTimeout, match=r"9 s \(delivery.lease_ttl\): no answer"):
        await holding
    assert TTL_S - 1 <= now() - answered_at <= TTL_S + store.answer_s


@fake_time
async def test_a_holder_whose_sink_stores_events_goes_on() -> None:
    """The renewal is late, and the sink is there: that is no reason to end."""
    store = FakeLeaseStore()
    holding = hold(make_lease(store), stored=lambda: int(now()))
    await asyncio.sleep(1)
    store.fault, store.answer_s = AckTimeout("no answer"), 2.0
    await asyncio.sleep(10 * TTL_S)
    assert not holding.done()
    await end(holding)


@fake_time
async def test_a_silence_of_postgresql_is_not_the_sinks() -> None:
    store = FakeLeaseStore()

    async def slow() -> None:
        await asyncio.sleep(2 * TTL_S)

    holding = asyncio.create_task(make_lease(store).hold(PID, check_slot=slow, stored_count=lambda: 0))
    await asyncio.sleep(2 * TTL_S + 1)
    store.fault, store.answer_s = AckTimeout("no answer"), 1.0
    await asyncio.sleep(4 * TTL_S)
    assert not holding.done()
    await end(holding)


@fake_time
async def test_a_store_that_was_never_written_does_not_end_the_session() -> None:
    store, counters = FakeLeaseStore(), Counters()
    store.fault, store.answer_s = AckTimeout("no answer"), 2.0
    holding = hold(make_lease(store, counters))
    await asyncio.sleep(4 * TTL_S)
    assert not holding.done()
    assert counters.is_without_lease
    await end(holding)


@pytest.mark.parametrize("fault", [SinkDenied("no rights"), NotNow("no leader")])
@fake_time
async def test_a_refusal_is_said_and_the_holder_goes_on(fault: SinkError) -> None:
    store, counters = FakeLeaseStore(), Counters()
    store.fault = fault
    holding = hold(make_lease(store, counters))
    await asyncio.sleep(4 * TTL_S)
    assert counters.is_without_lease
    assert not holding.done() or holding.exception() is None
    store.fault = None
    await asyncio.sleep(TTL_S)
    assert counters.is_without_lease == isinstance(fault, SinkDenied)  # rights are not tried again
    await end(holding)


@fake_time
async def test_an_orderly_stop_removes_the_lease_unless_it_is_anothers() -> None:
    store = FakeLeaseStore()
    lease = make_lease(store)
    await end(await held(lease))
    await lease.release()
    assert store.entry.value == b""
    lease = make_lease(store)
    await end(await held(lease))
    anothers(store)
    await lease.release()
    assert store.entry.value != b""
    store.fault = SinkLost("gone")
    await lease.release()  # who stops has nothing to lose by it


async def held(lease: Lease) -> asyncio.Task[None]:
    holding = hold(lease)
    await asyncio.sleep(0.1)
    return holding


@fake_time
async def test_a_lease_that_has_been_held_leaves_a_trace() -> None:
    store = FakeLeaseStore()
    lease = make_lease(store)
    assert not await lease.has_been_held()
    await end(await held(lease))
    await lease.release()
    assert await make_lease(store).has_been_held()
    store.fault = SinkDenied("no rights")
    assert not await lease.has_been_held()


# ---------------------------------------------------------------------------------------- a standby


class Walsenders:
    """Ends walsenders: which ones, and when."""

    def __init__(self, fault: AccessDenied | None = None) -> None:
        self.asked: list[tuple[float, int]] = []
        self.fault = fault

    async def end(self, pid: int) -> bool:
        self.asked.append((now(), pid))
        if self.fault is not None:
            raise self.fault
        return len(self.asked) == 1


async def never_ends(pid: int) -> bool:
    raise AssertionError(f"walsender {pid} must not be ended")


@fake_time
async def test_a_standby_ends_a_holder_that_is_silent_for_its_time_to_live() -> None:
    store, counters, walsenders = FakeLeaseStore(), Counters(), Walsenders()
    anothers(store, ttl_s=30.0)  # the holder's own, not the standby's
    began_at = now()
    watching = asyncio.create_task(make_lease(store, counters).watch(walsenders.end))
    await asyncio.sleep(60)
    ended_at, pid = walsenders.asked[0]
    assert pid == 99
    assert 30.0 <= ended_at - began_at <= 31.0
    assert counters.ended_holders == 1
    await end(watching)


@fake_time
async def test_a_holder_that_is_suspected_by_other_signs_is_ended_after_half_of_that() -> None:
    store, walsenders = FakeLeaseStore(), Walsenders()
    anothers(store, ttl_s=30.0)
    began_at = now()
    lease = Lease(store, ttl_s=TTL_S, slot="s", clock=now, counters=Counters(), suspects_holder=True)
    watching = asyncio.create_task(lease.watch(walsenders.end))
    await asyncio.sleep(60)
    ended_at, pid = walsenders.asked[0]
    assert pid == 99
    assert 15.0 <= ended_at - began_at <= 16.0
    await end(watching)


@pytest.mark.parametrize("moves", ["revision", "activity"])
@fake_time
async def test_a_standby_leaves_a_holder_that_moves(moves: str) -> None:
    store = FakeLeaseStore()
    anothers(store)
    watching = asyncio.create_task(make_lease(store).watch(never_ends))
    for _ in range(20):
        await asyncio.sleep(TTL_S - 2)
        if moves == "revision":
            anothers(store)
        else:
            store.stored += 1
    assert not watching.done()
    await end(watching)


@fake_time
async def test_what_a_standby_cannot_read_counts_for_nothing() -> None:
    store, walsenders = FakeLeaseStore(), Walsenders()
    anothers(store)
    watching = asyncio.create_task(make_lease(store).watch(walsenders.end))
    for _ in range(10):
        await asyncio.sleep(TTL_S - 3)
        store.fault = SinkLost("gone for a moment")
        await asyncio.sleep(2)
        store.fault = None
    assert walsenders.asked == []
    back_at = now()
    await asyncio.sleep(TTL_S + 2)
    assert walsenders.asked[0][0] - back_at >= TTL_S - 1
    await end(watching)


@fake_time
async def test_a_lease_that_may_not_be_read_is_given_up() -> None:
    store, counters = FakeLeaseStore(), Counters()
    store.fault = SinkDenied("no rights")
    await make_lease(store, counters).watch(never_ends)
    assert counters.is_without_lease


@pytest.mark.parametrize("value", [b"", b"not a lease"])
@fake_time
async def test_a_holder_without_a_readable_lease_is_never_ended(value: bytes) -> None:
    store = FakeLeaseStore()
    store.entry = Entry(7, value)
    watching = asyncio.create_task(make_lease(store).watch(never_ends))
    await asyncio.sleep(100 * TTL_S)
    assert not watching.done()
    await end(watching)


@fake_time
async def test_the_lease_of_an_own_earlier_session_is_not_waited_for() -> None:
    store, counters, walsenders = FakeLeaseStore(), Counters(), Walsenders()
    await end(await held(make_lease(store, counters)))
    began_at = now()
    watching = asyncio.create_task(make_lease(store, counters).watch(walsenders.end))
    await asyncio.sleep(0.5)
    assert walsenders.asked[0] == (began_at, PID)
    await end(watching)


@fake_time
async def test_a_holder_that_may_not_be_ended_is_tried_again_after_the_time_to_live() -> None:
    store, counters, walsenders = FakeLeaseStore(), Counters(), Walsenders(AccessDenied("no rights"))
    anothers(store)
    watching = asyncio.create_task(make_lease(store, counters).watch(walsenders.end))
    await asyncio.sleep(4 * TTL_S)
    times = [at for at, _ in walsenders.asked]
    assert 3 <= len(times) <= 4
    assert all(later - earlier >= TTL_S for earlier, later in pairwise(times))
    assert counters.ended_holders == 0
    await end(watching)
