"""Taking the slot: at once where it is free, and as a standby where another reader holds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from ditto.config import Postgres
from ditto.errors import AccessDenied, SinkLost, SlotMissing
from ditto.monitoring.counters import Counters
from ditto.monitoring.state import States
from ditto.pipeline.lease import Lease, Terms
from ditto.pipeline.takeover import Takeover
from ditto.sinks.base import Entry
from ditto.source.slot import Slot, existing_slot
from unit.fakes import FakeLeaseStore, FakeReplication, FakeSlot, fake_time, now

CONFIG = Postgres(dsn="", slot="s", publication="p")
TTL_S = 9.0


@dataclass
class Group:
    """One slot, and a Ditto that wants it."""

    slot: FakeSlot = field(default_factory=FakeSlot)
    store: FakeLeaseStore = field(default_factory=FakeLeaseStore)
    states: States = field(default_factory=lambda: States(now=now))
    config: Postgres = CONFIG
    waited: int = 0
    checked: int = 0
    sink_fault: Exception | None = None

    def __post_init__(self) -> None:
        self.source = FakeReplication(self.slot, pid=2)

    async def take(self) -> Slot:
        lease = Lease(self.store, ttl_s=TTL_S, slot="s", clock=now, counters=Counters())
        takeover = Takeover(self.config, control=self.slot, source=self.source, lease=lease, states=self.states)
        return await takeover.take(
            await existing_slot(self.slot, "s"), on_waited=self._on_waited, check_sink=self._check_sink
        )

    def _on_waited(self) -> None:
        self.waited += 1

    async def _check_sink(self) -> None:
        self.checked += 1
        if self.sink_fault is not None:
            raise self.sink_fault


@fake_time
async def test_a_free_slot_is_taken_at_once() -> None:
    group = Group()
    began_at = now()
    slot = await group.take()
    assert slot.active_pid == 2
    assert now() == began_at
    assert "standby" not in [each.state for each in group.states.transitions]
    assert not any(doing.startswith("stand by") for doing in group.slot.asked)


@fake_time
async def test_a_standby_follows_when_the_slot_is_free() -> None:
    group = Group()
    group.slot.holder, group.slot.confirmed_lsn = 1, 0x100
    taking = asyncio.create_task(group.take())
    await asyncio.sleep(3)
    assert group.states.state == "standby"
    assert "stand by visibly" in group.slot.asked
    assert group.waited >= 5
    group.slot.holder, group.slot.confirmed_lsn = None, 0x200  # the holder went on until it died
    slot = await taking
    assert (slot.active_pid, slot.confirmed_lsn) == (2, 0x200)
    assert "stand by no longer" in group.slot.asked
    assert group.slot.ended == []


@fake_time
async def test_another_standby_was_faster() -> None:
    group = Group()
    group.slot.holder = 1
    taking = asyncio.create_task(group.take())
    await asyncio.sleep(0.9)
    group.slot.holder = None
    group.source.start = _once_taken_by(group)  # type: ignore[method-assign]
    await asyncio.sleep(2)
    assert not taking.done()
    group.slot.holder = None
    assert (await taking).active_pid == 2
    assert group.slot.asked.count("stand by visibly") == 1


def _once_taken_by(group: Group):  # type: ignore[no-untyped-def]
    """START_REPLICATION that comes too late the first time."""
    start, is_first = group.source.start, [True]

    async def late(slot: str, publication: str) -> None:
        if is_first.pop() if is_first else False:
            group.slot.holder = 3
        await start(slot, publication)

    return late


@fake_time
async def test_a_standby_ends_a_dead_holder_and_takes_its_slot() -> None:
    group = Group()
    group.slot.holder = 1
    group.store.entry = Entry(5, msgspec.json.encode(Terms("run", "host", 1, TTL_S)))
    began_at = now()
    slot = await group.take()
    assert group.slot.ended == [1]
    assert slot.active_pid == 2
    assert TTL_S <= now() - began_at <= TTL_S + 2


@fake_time
async def test_a_reader_without_a_lease_is_waited_for() -> None:
    """The lease names a walsender that does not hold the slot: its holder is another tool."""
    group = Group()
    group.slot.holder = 1
    group.store.entry = Entry(5, msgspec.json.encode(Terms("run", "host", 99, TTL_S)))
    taking = asyncio.create_task(group.take())
    await asyncio.sleep(100 * TTL_S)
    assert not taking.done()
    assert group.slot.ended == []
    taking.cancel()


@fake_time
async def test_a_standby_that_cannot_reach_the_sink_leaves_the_slot_to_others() -> None:
    group = Group(sink_fault=SinkLost("gone"))
    group.slot.holder = 1
    taking = asyncio.create_task(group.take())
    await asyncio.sleep(2)
    assert group.checked == 0
    group.slot.holder = None
    with pytest.raises(SinkLost):
        await taking
    assert group.slot.holder is None


@fake_time
async def test_a_slot_that_is_dropped_while_one_waits() -> None:
    group = Group()
    group.slot.holder = 1
    taking = asyncio.create_task(group.take())
    await asyncio.sleep(2)
    group.slot.exists = False
    with pytest.raises(SlotMissing):
        await taking


@fake_time
async def test_a_fault_of_the_watch_of_the_lease_ends_the_wait() -> None:
    group = Group()
    group.slot.holder = 1
    group.store.entry = Entry(5, msgspec.json.encode(Terms("run", "host", 1, TTL_S)))
    group.slot.end_fault = RuntimeError("a fault of its own")
    with pytest.raises(RuntimeError, match="a fault of its own"):
        await group.take()


@fake_time
async def test_a_role_that_may_not_end_the_holder_waits_on() -> None:
    group = Group()
    group.slot.holder = 1
    group.store.entry = Entry(5, msgspec.json.encode(Terms("run", "host", 1, TTL_S)))
    group.slot.end_fault = AccessDenied("no rights")
    taking = asyncio.create_task(group.take())
    await asyncio.sleep(10 * TTL_S)
    assert not taking.done()
    group.slot.holder = None
    assert (await taking).active_pid == 2


@fake_time
@pytest.mark.parametrize("is_wanted", [True, False])
async def test_the_slot_is_made_a_failover_slot_where_that_is_configured(is_wanted: bool) -> None:
    group = Group(config=Postgres(dsn="", slot="s", publication="p", failover=is_wanted))
    await group.take()
    assert group.source.is_failover == is_wanted
