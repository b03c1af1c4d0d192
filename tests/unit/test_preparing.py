"""The second phase of a session: in which order slot and sink are taken, and what stops it before."""

from __future__ import annotations

import asyncio

import pytest

from ditto.config import Config, Delivery, Nats, Postgres
from ditto.decoding.messages import Column, Relation
from ditto.errors import SlotMissing, SourceRewound, StreamGap
from ditto.lsn import Position
from ditto.monitoring.state import States
from ditto.pipeline.connecting import Report
from ditto.pipeline.preparing import Prepared, prepare
from ditto.sinks.base import Entry, PipelineId, SinkState
from unit.fakes import EMPTY, PIPELINE, FakeLeaseStore, FakeReplication, FakeSink, FakeSlot, fake_time, make_ends, now

OURS = SinkState(PIPELINE, Position(0x100, 1))


class Scene:
    def __init__(self, state: SinkState = EMPTY, *, on_gap: str = "stop", may_create: bool = True) -> None:
        self.slot, self.sink, self.lease_store = FakeSlot(), FakeSink(state), FakeLeaseStore()
        self.slot.lsn = 0x1000
        self.source, self.report = FakeReplication(self.slot, pid=5), Report()
        self.config = Config(
            postgres=Postgres(dsn="", slot="s", publication="p", create=may_create),
            nats=Nats(),
            delivery=Delivery(on_gap=on_gap),  # type: ignore[arg-type]
        )
        self.claimed: list[tuple[PipelineId, set[str], int | None]] = []
        """Each claim: by whom, with which routes, and who held the slot then."""
        claim = self.sink.claim

        async def note(pipeline: PipelineId, routes: set[str]) -> PipelineId | None:
            self.claimed.append((pipeline, set(routes), self.slot.holder))
            return await claim(pipeline, routes)

        self.sink.claim = note  # type: ignore[method-assign, assignment]

    async def prepare(self) -> Prepared:
        ends = make_ends(self.slot, self.sink, source=self.source, config=self.config, lease_store=self.lease_store)
        return await prepare(ends, states=States(now=now), report=self.report)


@fake_time
async def test_a_new_sink_is_claimed_before_the_slot_is_taken() -> None:
    """From then on PostgreSQL counts the slot's transactions as read, whether they were stored or not."""
    scene = Scene()
    prepared = await scene.prepare()
    ((pipeline, routes, holder),) = scene.claimed
    assert (pipeline.start_lsn, holder) == (0x100, None)
    assert "ditto_public_t" in routes
    assert prepared.claimed_lsn == 0x100
    assert not prepared.is_slot_used
    assert prepared.accepted_gap is None
    assert prepared.slot.active_pid == scene.slot.holder == 5


@fake_time
async def test_a_sink_of_ones_own_is_used_as_it_is() -> None:
    scene = Scene(OURS)
    prepared = await scene.prepare()
    assert scene.claimed == []
    assert prepared.claimed_lsn is None
    assert not prepared.has_new_source
    assert scene.slot.holder == 5


@fake_time
async def test_another_one_that_starts_at_the_same_time_was_first() -> None:
    """It has claimed the sink between two looks, and may have read the slot: nothing is claimed a second time."""
    scene = Scene()
    inspect, looks = scene.sink.inspect, []

    async def second_look(pipeline: PipelineId) -> SinkState:
        looks.append(now())
        if len(looks) == 2:
            scene.sink.state = OURS
        return await inspect(pipeline)

    scene.sink.inspect = second_look  # type: ignore[method-assign]
    prepared = await scene.prepare()
    assert scene.claimed == []
    assert prepared.claimed_lsn is None


@fake_time
@pytest.mark.parametrize("sign", ["statistics", "lease"])
async def test_a_slot_that_was_read_before_and_a_new_sink(sign: str) -> None:
    scene = Scene()
    if sign == "statistics":
        scene.slot.transactions = 7
    else:
        scene.lease_store.entry = Entry(3, b"")
    with pytest.raises(StreamGap, match="stream S is new, and slot s was read before"):
        await scene.prepare()
    assert (scene.claimed, scene.slot.holder) == ([], None)


@fake_time
async def test_statistics_that_are_late_are_waited_for() -> None:
    scene = Scene()
    scene.slot.has_late_counts = True
    preparing = asyncio.create_task(scene.prepare())
    await asyncio.sleep(0.5)
    assert scene.claimed == []
    scene.slot.transactions = 7
    with pytest.raises(StreamGap):
        await preparing
    assert scene.claimed == []


@fake_time
async def test_the_same_where_the_gap_is_accepted() -> None:
    scene = Scene(on_gap="continue")
    scene.slot.transactions = 7
    prepared = await scene.prepare()
    assert prepared.accepted_gap == (0, 0x100)
    assert prepared.claimed_lsn == 0x100


@fake_time
async def test_a_slot_that_this_process_has_created_was_not_read_before() -> None:
    scene = Scene()
    scene.slot.exists = False
    scene.lease_store.entry = Entry(3, b"")  # of an earlier slot of this name
    prepared = await scene.prepare()
    assert not prepared.is_slot_used
    assert scene.sink.calls.index("prepare") < scene.sink.calls.index("claim")
    assert prepared.ends.counters.created == {"slot": "s"}


@fake_time
async def test_a_slot_that_is_gone_while_the_sink_holds_events() -> None:
    scene = Scene(OURS)
    scene.slot.exists = False
    with pytest.raises(StreamGap, match="slot s does not exist"):
        await scene.prepare()
    assert not scene.slot.exists  # a new one would hide what is missing


@fake_time
async def test_a_slot_that_may_not_be_created() -> None:
    scene = Scene(may_create=False)
    scene.slot.exists = False
    with pytest.raises(SlotMissing):
        await scene.prepare()
    assert scene.claimed == []


@fake_time
async def test_the_sink_of_another_cluster_is_refused_before_it_is_changed() -> None:
    scene = Scene(SinkState(PipelineId("8", "s", "ditto"), Position(0x500, 1)))
    with pytest.raises(SourceRewound):
        await scene.prepare()
    assert (scene.claimed, scene.slot.holder) == ([], None)


@fake_time
@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        (PIPELINE, False),
        (PipelineId("7", "s", "ditto", timeline=1, publication="another"), True),
        (PipelineId("7", "s", "ditto", timeline=3, publication="p"), True),
    ],
)
async def test_a_new_timeline_or_publication_is_noticed(owner: PipelineId, expected: bool) -> None:
    scene = Scene(SinkState(owner, Position(0x100, 1)))
    scene.source.switches = {3: 0x800}
    prepared = await scene.prepare()
    assert prepared.has_new_source == expected
    assert dict(prepared.timelines.switch_lsns) == ({3: 0x800} if owner.timeline == 3 else {})


@fake_time
async def test_a_standby_has_progressed_until_it_works() -> None:
    scene = Scene(OURS)
    scene.slot.holder = 1
    preparing = asyncio.create_task(scene.prepare())
    await asyncio.sleep(3)
    assert scene.report.has_progressed  # the next session need not wait longer
    scene.slot.holder = None
    assert (await preparing).slot.active_pid == 5
    assert not scene.report.has_progressed


@fake_time
async def test_only_for_a_sink_with_keys_messages_get_the_primary_key() -> None:
    id_column = Column("id", 23, -1, True)
    for has_keys in (False, True):
        scene = Scene()
        scene.sink.capabilities = scene.sink.capabilities._replace(has_keys=has_keys)
        plan = await (await scene.prepare()).planner.plan(Relation(1, "public", "t", "d", (id_column,)))
        assert (plan.rule is not None) is has_keys
