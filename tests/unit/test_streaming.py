"""The last phase of a session: blocks become deliveries, and deliveries confirmed LSNs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from ditto.config import Config, Delivery, Events, Group, Nats, Postgres
from ditto.decoding.change import Change, MessageEvent
from ditto.decoding.choose import Decoder
from ditto.decoding.messages import Block, ChangeTooLarge, Delivered, Relation, RuleFailed
from ditto.errors import ConnectionLost, EventTooLarge, NotNow, RuleError, SinkLost, SubjectCollision
from ditto.lsn import Checkpoint, Position, Transaction
from ditto.monitoring.counters import Counters
from ditto.monitoring.session_counters import SessionCounters
from ditto.monitoring.state import States
from ditto.pipeline.beginning import Ready
from ditto.pipeline.confirmer import Confirmer
from ditto.pipeline.dropped_tables import DroppedTables
from ditto.pipeline.preparing import Prepared
from ditto.pipeline.source_history import History
from ditto.pipeline.start_position import Start, Timelines
from ditto.pipeline.streaming import Streaming
from ditto.pipeline.synchronous_commit import SynchronousWatch
from ditto.pipeline.watermark import ConfirmDelay
from ditto.pipeline.window import Window
from ditto.routing.planner import Planner
from ditto.routing.table_plans import Routes, TablePlan
from ditto.sinks.base import Batch, MessageTooLarge
from ditto.source.publication_watch import PublicationWatch
from ditto.source.slot import existing_slot
from ditto.tasks import end
from unit.fakes import FakeReplication, FakeSink, FakeSlot, fake_time, make_ends, now

TIME = "2026-01-01T00:00:00.000001Z"
ORIGIN = Position(0x100, 0)


def too_large(size: int) -> ChangeTooLarge:
    change = ChangeTooLarge(size, "note")
    change.action, change.relation, change.commit_lsn, change.ordinal = "INSERT", "public.t", 0x300, 1
    return change


class NoDecoder:
    """Has seen no transaction; knows in which order relations were planned and defined."""

    filtered_count = skipped_count = 0
    watched: tuple[Transaction, ...] = ()
    moved = ()
    recorded_bytes = 0
    void_request_count = 0

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps

    def last_transaction(self) -> Transaction | None:
        return None

    def define(self, oid: int, plan: TablePlan) -> None:
        assert plan.relation.oid == oid
        self._steps.append(f"define {oid}")

    def record(self, oid: int | None, key: tuple[int, ...], names: tuple[str, ...] = ()) -> None:
        assert (oid, key) == (None, ())

    def stop_before(self, lsn: int) -> None:
        self._steps.append(f"stop before {lsn:X}")

    def passed_counts(self) -> dict[tuple[str, str], tuple[int, ...]]:
        return {}

    def dropped_counts(self) -> dict[tuple[str, str], int]:
        return {}


def event(number: int) -> Change:
    return Change(
        id=f"id-{number}",
        schema="public",
        table="t",
        action="INSERT",
        data={"id": number, "note": "x" * 20},
        data_old={},
        commit_time=TIME,
    )


def block(*commit_lsns: int, is_complete: bool = True, **rest: Any) -> Block:
    """One transaction an LSN, of one event; the last one is complete, or has more events to come."""
    last = commit_lsns[-1] if commit_lsns else 0
    delivered = commit_lsns if is_complete else commit_lsns[:-1]
    return Block(
        changes=[event(lsn) for lsn in commit_lsns],
        routes=[b"ditto.public.t"] * len(commit_lsns),
        commit_lsns=list(commit_lsns),
        ordinals=[1] * len(commit_lsns),
        delivered=Delivered(delivered[-1], delivered[-1] + 8, len(delivered)) if delivered else None,
        idle_lsn=rest.pop("idle_lsn", last + 8 if is_complete and commit_lsns else 0),
        **rest,
    )


def relation(oid: int) -> Relation:
    return Relation(oid, "public", "t", "d", ())


class SlowPlanner:
    """Plans in a second."""

    group_route: bytes | None = None

    def __init__(self, steps: list[str]) -> None:
        self._steps = steps
        self.fault: Exception | None = None

    async def plan(self, relation: Relation) -> TablePlan:
        await asyncio.sleep(1)
        if self.fault is not None:
            raise self.fault
        self._steps.append(f"plan {relation.oid}")
        route = f"r{relation.oid}".encode()
        return TablePlan(relation=relation, routes=Routes(route, route, None, None), kinds=b"")


class Scene:
    """A session that holds the slot and has decided where to begin."""

    def __init__(self, *, start: Start | None = None, max_in_flight: int = 100, max_bytes: int = 0) -> None:
        self.server, self.sink = FakeSlot(confirmed_lsn=0x100), FakeSink(max_bytes=max_bytes)
        self.source, self.counters, self.states = FakeReplication(self.server), Counters(), States(now=now)
        self.leave = asyncio.Event()
        self.steps: list[str] = []
        """How relations were planned and defined."""
        self.planner = SlowPlanner(self.steps)
        self.start = start or Start(ORIGIN, needs_checkpoint=False, gap=None)
        self.config = Config(
            postgres=Postgres(dsn="", slot="s", publication="p"),
            nats=Nats(),
            delivery=Delivery(max_in_flight=max_in_flight, confirm_delay_s=0.0),
        )
        self.window = Window(
            max_count=max_in_flight, max_bytes=10**6, ack_interval=lambda: 1, flush=self.sink.flush, clock=now
        )

    @property
    def sent(self) -> list[int]:
        """The commit LSNs of what the sink was given."""
        return [lsn for batch in self.sink.batches for lsn in batch.commit_lsns]

    async def make(self) -> Streaming:
        ends = make_ends(self.server, self.sink, source=self.source, config=self.config, counters=self.counters)
        prepared = Prepared(
            ends=ends,
            slot=await existing_slot(self.server, "s"),
            planner=cast("Planner", self.planner),
            routes=(),
            watch=cast("PublicationWatch", None),
            timelines=Timelines(1),
            has_new_source=False,
            is_slot_used=True,
            claimed_lsn=None,
            accepted_gap=None,
        )
        history = History(
            tail=self.start.after,
            last=None,
            confirmed_lsn=0x100,
            is_same_publication=True,
            sink=self.sink.capabilities,
        )
        ready = Ready(
            prepared=prepared,
            decoder=cast("Decoder", NoDecoder(self.steps)),
            start=self.start,
            last=None,
            history=history,
            dropped=cast("DroppedTables", None),
        )
        counters = SessionCounters(self.counters, self.source, clock=now)
        synchronous = SynchronousWatch(self.server, 1, counters=self.counters)
        self.confirmer = Confirmer(
            self.source,
            synchronous=synchronous,
            delay=ConfirmDelay(0.0, start_lsn=0x100),
            counters=counters,
            clock=now,
        )
        return Streaming(
            ready,
            window=self.window,
            confirmer=self.confirmer,
            synchronous=synchronous,
            counters=counters,
            states=self.states,
            leave=self.leave,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        self.streaming = await self.make()
        confirming = asyncio.create_task(self.confirmer.run(self.sink.acknowledged, self.window))
        reading = asyncio.create_task(self.streaming.run())
        await asyncio.sleep(0.01)
        yield reading
        await end(reading, confirming)


@fake_time
async def test_events_are_sent_with_numbers_and_confirmed_when_they_are_durable() -> None:
    scene = Scene()
    async with scene.running():
        scene.source.bring(block(0x200, 0x300), block(0x400))
        await asyncio.sleep(1)
        assert [(batch.first, batch.commit_lsns) for batch in scene.sink.batches] == [
            (1, [0x200, 0x300]),
            (3, [0x400]),
        ]
        assert scene.sink.batches[0].routes == [b"ditto.public.t"] * 2
        assert [b'"id":512' in bytes(each) for each in scene.sink.batches[0].payloads.each()] == [True, False]
        assert scene.source.confirmed == [0x100]  # the tail
        scene.sink.acknowledge(2)
        await asyncio.sleep(1)
        assert scene.source.confirmed == [0x100, 0x300]
        scene.sink.acknowledge(3)
        await asyncio.sleep(1)
        assert scene.source.confirmed == [0x100, 0x300, 0x400]
    assert scene.states.state == "streaming"
    assert (scene.counters.events, scene.counters.stored) == (3, 3)


@fake_time
async def test_half_a_transaction_is_not_confirmed() -> None:
    scene = Scene()
    async with scene.running():
        scene.source.bring(block(0x200, 0x300, is_complete=False))
        await asyncio.sleep(1)
        scene.sink.acknowledge(1)  # all events up to the last complete transaction, and not all of the block
        await asyncio.sleep(1)
        assert scene.source.confirmed == [0x100, 0x200]
        scene.sink.acknowledge(2)
        await asyncio.sleep(1)
        assert scene.source.confirmed == [0x100, 0x200]


@fake_time
async def test_a_full_window_pauses_reading() -> None:
    scene = Scene(max_in_flight=2)
    scene.sink.acknowledges_at_flush = False
    async with scene.running():
        scene.source.bring(block(0x200, 0x300), block(0x400), block(0x500))
        await asyncio.sleep(5)
        assert len(scene.sink.batches) == 1
        assert len(scene.source.blocks) == 1
        scene.sink.acknowledge(1)
        await asyncio.sleep(5)
        assert len(scene.sink.batches) == 2
    assert scene.counters.stage_s["room"] == pytest.approx(5.0, abs=0.1)


@fake_time
async def test_a_new_sink_gets_a_checkpoint_first() -> None:
    scene = Scene(start=Start(Position(0, 0), needs_checkpoint=True, gap=None))
    async with scene.running():
        scene.source.bring(block(0x200))
        await asyncio.sleep(1)
        assert scene.sink.saved == [(1, Checkpoint(0x100))]
        assert [batch.first for batch in scene.sink.batches] == [2]
        assert scene.counters.checkpoints == 1


@fake_time
async def test_an_accepted_gap_is_counted() -> None:
    scene = Scene(start=Start(Position(0x50, 1), needs_checkpoint=True, gap=(0x50, 0x100)))
    async with scene.running():
        pass
    assert scene.counters.gap_at is not None


@fake_time
async def test_a_quiet_server_gets_a_checkpoint_once_a_period() -> None:
    scene = Scene()
    scene.sink.is_acknowledging = True
    async with scene.running():
        for lsn in range(0x200, 0x260, 0x10):
            scene.source.bring(block(idle_lsn=lsn))
            await asyncio.sleep(5)
        lsns = [checkpoint.lsn for _, checkpoint in scene.sink.saved]
        assert lsns == [0x220, 0x240]
        assert scene.source.confirmed == [0x100, 0x220, 0x240]


@fake_time
async def test_a_server_that_waits_for_an_answer_gets_everything_confirmed() -> None:
    scene = Scene()
    async with scene.running():
        scene.source.bring(block(0x200, idle_lsn=0x280, is_reply_requested=True))
        await asyncio.sleep(1)
        assert [checkpoint.lsn for _, checkpoint in scene.sink.saved] == [0x280]
        assert scene.source.confirmed[-1] == 0x280
        assert scene.window.outstanding_count == 0


@fake_time
async def test_a_message_that_is_too_large_names_table_position_and_column() -> None:
    scene = Scene(max_bytes=1000)
    scene.sink.send_fault = MessageTooLarge(1, 2000, 1000)
    async with scene.running() as reading:
        scene.source.bring(block(0x200, 0x300))
        with pytest.raises(EventTooLarge, match=r"INSERT at 0/300:1 on table public.t .* 2000 bytes, .*column note"):
            await reading


@fake_time
async def test_a_change_that_is_too_large_is_said_after_what_is_before_it_is_durable() -> None:
    scene = Scene(max_bytes=1000)
    scene.sink.acknowledges_at_flush = False
    change = too_large(2000)
    async with scene.running() as reading:
        scene.source.bring(block(0x200), change)
        await asyncio.sleep(5)
        assert not reading.done()
        scene.sink.acknowledge(1)
        with pytest.raises(EventTooLarge, match="at least 2000"):
            await reading


@fake_time
async def test_a_rule_that_fails_is_said_after_what_is_before_it_is_durable() -> None:
    scene = Scene()
    scene.sink.acknowledges_at_flush = False
    failed = RuleFailed("events.tables.t.when", "the note is no number")
    failed.action, failed.relation, failed.commit_lsn, failed.ordinal = "UPDATE", "public.t", 0x300, 2
    async with scene.running() as reading:
        scene.source.bring(block(0x200), failed)
        await asyncio.sleep(5)
        assert not reading.done()
        scene.sink.acknowledge(1)
        with pytest.raises(RuleError) as raised:
            await reading
    error = raised.value
    assert error.message == (
        "events.tables.t.when cannot be worked out for the UPDATE at 0/300:2 on table public.t, because the note is no "
        "number"
    )
    assert error.hint is not None
    assert "on_error" in error.hint
    assert (error.exit_code, error.is_retryable, error.is_retryable_later) == (2, False, False)
    assert error.context == {
        "rule": "events.tables.t.when",
        "relation": "public.t",
        "action": "UPDATE",
        "position": "0/300:2",
    }


@fake_time
async def test_a_logical_message_that_is_too_large_is_named_by_its_prefix() -> None:
    scene = Scene(max_bytes=1000)
    scene.sink.send_fault = MessageTooLarge(0, 2000, 1000)
    brought = block(0x200)
    brought.changes = [MessageEvent("id-1", "orders.created", b"x", False, "")]
    async with scene.running() as reading:
        scene.source.bring(brought)
        with pytest.raises(EventTooLarge, match=r"prefix orders\.created .* 2000 bytes"):
            await reading


@fake_time
async def test_a_change_that_fits_by_now_is_tried_again() -> None:
    scene = Scene(max_bytes=3000)
    change = too_large(2000)
    async with scene.running() as reading:
        scene.source.bring(change)
        with pytest.raises(NotNow):
            await reading


@fake_time
async def test_draining_waits_for_what_was_sent_and_confirms_it() -> None:
    scene = Scene()
    scene.sink.acknowledges_at_flush = False
    async with scene.running() as reading:
        scene.source.bring(block(0x200))
        await asyncio.sleep(1)
        await end(reading)
        draining = asyncio.create_task(scene.streaming.drain(reason="it was asked to stop"))
        await asyncio.sleep(5)
        assert not draining.done()
        assert scene.states.state == "draining"
        scene.sink.acknowledge(1)
        await draining
    assert scene.source.confirmed == [0x100, 0x200]


@fake_time
async def test_draining_ends_at_its_deadline() -> None:
    scene = Scene()
    scene.sink.acknowledges_at_flush = False
    async with scene.running() as reading:
        scene.source.bring(block(0x200))
        await asyncio.sleep(1)
        await end(reading)
        began_at = now()
        await scene.streaming.drain(reason="it was asked to stop")
        assert now() - began_at == pytest.approx(30.0)
    assert scene.source.confirmed == [0x100]


@fake_time
async def test_draining_ends_at_its_deadline_where_the_place_cannot_be_noted() -> None:
    scene = Scene()
    scene.sink.may_lose_tail = True

    async def stuck(checkpoint: Checkpoint) -> None:
        del checkpoint
        await asyncio.sleep(1000)

    scene.sink.save_beside = stuck  # type: ignore[method-assign]
    async with scene.running() as reading:
        scene.source.bring(block(0x200))
        await asyncio.sleep(1)
        await end(reading)
        began_at = now()
        await scene.streaming.drain(reason="it was asked to stop")
        assert now() - began_at == pytest.approx(30.0)


@fake_time
async def test_a_fault_of_the_sink_reaches_the_reader() -> None:
    scene = Scene()
    scene.sink.send_fault = SinkLost("gone")
    async with scene.running() as reading:
        scene.source.bring(block(0x200))
        with pytest.raises(SinkLost):
            await reading


@fake_time
async def test_a_stop_while_the_sink_makes_wait_does_not_wait_for_what_was_not_sent() -> None:
    scene = Scene()

    async def stuck(batch: Batch) -> None:
        del batch
        await asyncio.sleep(1000)

    scene.sink.send = stuck  # type: ignore[method-assign]
    async with scene.running() as reading:
        scene.source.bring(block(0x200))
        await asyncio.sleep(1)
        await end(reading)
        began_at = now()
        await scene.streaming.drain(reason="it was asked to stop")
        assert now() == began_at
    assert scene.source.confirmed == [0x100]


@fake_time
async def test_a_relation_is_planned_before_what_follows_is_read() -> None:
    scene = Scene()
    async with scene.running():
        scene.source.bring(block(0x200, is_complete=False, relation=relation(7)), block(0x300))
        await asyncio.sleep(0.5)
        assert len(scene.source.blocks) == 1
        await asyncio.sleep(1)
        assert scene.steps == ["plan 7", "define 7"]
        assert scene.sent == [0x200, 0x300]


@fake_time
async def test_routes_of_relations_that_come_together_are_ensured_together_before_their_changes_are_sent() -> None:
    scene = Scene()

    async def ensure(routes: set[str]) -> None:
        assert routes == {"r7", "r8"}
        assert scene.sent == []
        scene.steps.append("ensure")

    scene.sink.ensure_routes = ensure  # type: ignore[assignment, method-assign]
    async with scene.running():
        scene.source.bring(block(relation=relation(7)), block(0x200, relation=relation(8)), block(0x300))
        await asyncio.sleep(5)
        assert scene.steps == ["plan 7", "define 7", "plan 8", "define 8", "ensure"]
        assert scene.sent == [0x200, 0x300]
        scene.source.bring(block(0x400))
        await asyncio.sleep(1)
        assert scene.sent[-1] == 0x400


@fake_time
async def test_nothing_is_held_where_nothing_follows_a_relation_for_the_moment() -> None:
    scene = Scene()
    async with scene.running():
        scene.source.bring(block(0x200, relation=relation(7)))
        await asyncio.sleep(5)
        assert scene.sent == [0x200]


@fake_time
async def test_so_much_is_held_and_no_more() -> None:
    scene = Scene()
    async with scene.running():
        for number in range(20):
            scene.source.bring(block(0x200 + 0x10 * number, relation=relation(number), size=1 << 18))
        await asyncio.sleep(30)
        assert [len(each) for each in scene.sink.routes] == [4] * 5
        assert len(scene.sent) == 20


@fake_time
async def test_a_fault_behind_a_relation_comes_after_what_is_before_it_is_sent() -> None:
    for error, raised in ((ConnectionLost("gone"), ConnectionLost), (too_large(2000), EventTooLarge)):
        scene = Scene(max_bytes=1000)
        async with scene.running() as reading:
            scene.source.bring(block(0x200, relation=relation(7)), error)
            with pytest.raises(raised):
                await reading
        assert scene.sent == [0x200]


@fake_time
async def test_a_relation_that_cannot_be_planned_comes_after_what_is_before_it_is_sent() -> None:
    scene = Scene()
    scene.planner.fault = SubjectCollision("the same subject")
    async with scene.running() as reading:
        scene.source.bring(block(0x200, relation=relation(7)), block(0x300))
        with pytest.raises(SubjectCollision):
            await reading
    assert scene.sent == [0x200]


async def test_it_leaves_after_a_block_that_ends_between_two_transactions() -> None:
    scene = Scene()
    async with scene.running() as reading:
        scene.leave.set()
        scene.source.bring(block(0x200, 0x300, is_complete=False))
        await asyncio.sleep(1)
        assert not reading.done(), "the last transaction has more events"
        assert scene.steps == ["stop before 101"], "the next block may end in the middle of a transaction, too"
        scene.source.bring(block(0x300))
        await asyncio.sleep(1)
        assert reading.done()
        assert [batch.commit_lsns for batch in scene.sink.batches] == [[0x200, 0x300], [0x300]]


@fake_time
async def test_a_transaction_in_a_group_is_confirmed_when_the_group_is_durable() -> None:
    """Its events come in one block, and its commit in another, which has none."""
    scene = Scene()
    scene.planner.group_route = b"ditto.public.t"
    scene.config = msgspec.structs.replace(scene.config, events=Events(group=Group()))
    async with scene.running():
        scene.source.bring(block(0x200, 0x300, is_complete=False))
        await asyncio.sleep(1)
        assert scene.sent == [0x200], "the other one waits for its commit"
        scene.sink.acknowledge(1)
        await asyncio.sleep(1)
        assert scene.source.confirmed == [0x100, 0x200]
        commit = Block([], [], [], [], delivered=Delivered(0x300, 0x308, 0), idle_lsn=0x308)
        scene.source.bring(commit)
        await asyncio.sleep(1)
        assert scene.sent == [0x200, 0x300]
        assert scene.source.confirmed == [0x100, 0x200], "sent, and not yet durable"
        scene.sink.acknowledge(2)
        await asyncio.sleep(1)
        assert scene.source.confirmed == [0x100, 0x200, 0x300]
    assert (scene.counters.events, scene.counters.stored) == (2, 2)
