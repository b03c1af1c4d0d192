"""What is stored where the stream reaches a request, a marker or a barrier."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import msgspec
import pytest

from ditto.decoding.choose import Decoder
from ditto.decoding.messages import MARKER_PREFIX, SNAPSHOT_PREFIX, Block, ChangeTooLarge, LogicalMessage, RuleFailed
from ditto.decoding.snapshot_rows import Rows
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.errors import EventTooLarge, SinkLost, SnapshotRefused, StreamUnusable
from ditto.formats.snapshot_events import Control, ControlEvent
from ditto.monitoring.snapshot_status import SnapshotStatus
from ditto.pipeline.snapshots.chunks import ChunkedTable, Restart
from ditto.pipeline.snapshots.deliveries import At, Deliveries, TooLargeRow
from ditto.pipeline.snapshots.limits import ChunkSize, Limits
from ditto.pipeline.snapshots.moved_rows import MANY, MovedRows
from ditto.pipeline.snapshots.progress import Progress
from ditto.pipeline.snapshots.requests import Start
from ditto.pipeline.snapshots.runs import Runs
from ditto.source.snapshot_chunk import Chunk
from ditto.source.snapshot_reader import SnapshotReader
from ditto.source.snapshot_table import SnapshotTable
from ditto.source.snapshot_transaction import TableChanged
from ditto.tasks import end
from unit import wire
from unit.fakes import fake_time, now
from unit.implementations import ID_KEY, plan_of

OID = 7
COLUMNS = [wire.Column("id", wire.INT4, is_key=True), wire.Column("note")]
TIME = "2026-01-01T00:00:00.000001Z"
EVERYTHING = TxSnapshot(1000, 1000, frozenset())
"""Sees every transaction of these tests, whose xid is 700."""
NOTHING = TxSnapshot(10, 10, frozenset())


def begin(lsn: int) -> bytes:
    return wire.begin(lsn)


class FakeReader:
    """Gives the chunks of the test, and puts markers into the stream."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.chunks: list[Chunk] = []
        self.cursors: list[list[str] | None] = []
        self.moved: list[list[tuple[str, ...]]] = []
        self.marker_ok = True

    async def current_snapshot(self) -> TxSnapshot:
        return NOTHING

    async def wait_for(self, xmax: int, *, tell: Any) -> None:
        del xmax, tell
        await asyncio.sleep(0)

    async def read_chunk(self, table: SnapshotTable, *, cursor: list[str] | None, moved: Any, **rest: Any) -> Chunk:
        del table, rest
        self.cursors.append(cursor)
        self.moved.append([each.key for each in moved])
        await asyncio.sleep(0.01)
        chunk = self.chunks.pop(0)
        return chunk._replace(moved=[each for each in moved if chunk.snapshot.sees(each.xid)])

    async def emit_marker(self, table: SnapshotTable, token: str, *, tell: Any) -> bool:
        del table, tell
        if self.marker_ok:
            self._scene.markers.put_nowait(token)
        return self.marker_ok


class Scene:
    """A stream that the test moves on by hand."""

    def __init__(self) -> None:
        self.decoder = Decoder(id_key=ID_KEY)
        self.runs = Runs()
        self.markers: asyncio.Queue[str] = asyncio.Queue()
        self.sent: list[Block] = []
        self.fault: Exception | None = None
        self.route_fault: Exception | None = None
        self.routes: list[set[str]] = []
        self.lsn = 0x1000
        self.moved = MovedRows(acknowledged=lambda: 0)
        self.progress = Progress(SnapshotStatus(), clock=now)
        self.deliveries = Deliveries(
            self.runs,
            decoder=self.decoder,
            moved=self.moved,
            slot="ditto",
            key=ID_KEY,
            prefix="ditto",
            denial="",
            emit=self._emit,
            progress=self.progress,
            checkpoint=self.checkpoint,
            ensure_routes=self._ensure,
        )
        self.reader = FakeReader(self)

    async def _emit(self, token: str) -> None:
        self.markers.put_nowait(token)

    async def checkpoint(self, lsn: int) -> None:
        """Nothing waits for one here."""

    async def _ensure(self, routes: set[str]) -> None:
        if self.route_fault is not None:
            raise self.route_fault
        self.routes.append(routes)

    async def _send(self, block: Block) -> int:
        if self.fault is not None and isinstance(block.changes[0], ControlEvent) is False:
            raise self.fault
        self.sent.append(block)
        return sum(len(each.changes) for each in self.sent)

    @property
    def told(self) -> list[tuple[int, int, Any]]:
        """Positions of what was sent, with a control event's state or a row's `data`."""
        return [
            (lsn, ordinal, each.snapshot.state if isinstance(each, ControlEvent) else each.data)
            for block in self.sent
            for each, lsn, ordinal in zip(block.changes, block.commit_lsns, block.ordinals, strict=True)
        ]

    @property
    def last_control(self) -> Control:
        return [each.snapshot for block in self.sent for each in block.changes if isinstance(each, ControlEvent)][-1]

    @contextmanager
    def transaction(self) -> Iterator[int]:
        self.lsn += 0x100
        self.decoder.feed(wire.begin(self.lsn))
        yield self.lsn
        self.decoder.feed(wire.commit(self.lsn))

    def change(self, *frames: bytes) -> None:
        """One transaction with these changes; what they move is noted, as the stream does it after each block."""
        with self.transaction():
            for frame in frames:
                self.decoder.feed(frame)
        self.decoder.take()
        self.moved.add(self.decoder.moved)
        self.decoder.forget_moved(list(self.decoder.moved))

    async def message(self, prefix: str, content: bytes) -> int:
        with self.transaction() as lsn:
            self.decoder.feed(wire.logical_message(content, prefix=prefix))
            message = self.decoder.take().message
            assert isinstance(message, LogicalMessage)
            await self.deliveries.at_message(message, self._send)
        self.decoder.take()
        return lsn

    async def reach(self) -> int:
        """The stream reaches the next marker."""
        return await self.message(MARKER_PREFIX, (await self.markers.get()).encode())

    def describe(self) -> None:
        self.decoder.feed(wire.relation(OID, "t", COLUMNS))
        relation = self.decoder.take().relation
        assert relation is not None
        self.plan = plan_of(relation, *[b"ditto.public.t"] * 5)
        self.decoder.define(OID, self.plan)

    def chunk(self, *ids: int, snapshot: TxSnapshot = EVERYTHING, is_last: bool = False) -> None:
        rows = Rows(2)
        for number in ids:
            rows.add(f"{number}\tread\n".encode())
        cursor = [str(ids[-1])] if ids else None
        self.reader.chunks.append(Chunk(snapshot, rows, [], cursor, is_last, 0.01))

    def table(self, rows_per_s: int = 0) -> ChunkedTable:
        self.describe()
        self.runs.requested(Start(("t",), run="r"), "x")
        self.runs.resolved("r", [("public", "t")])
        current = self.runs.current()
        assert current is not None
        described = SnapshotTable(
            relation=self.plan.relation,
            publication="p",
            key=(0,),
            key_columns=(),
            comparable={},
            select="",
            source="",
            condition="",
            lock="",
            fingerprint_sql="",
            fingerprint="",
            estimated_rows=0,
            estimated_row_bytes=1,
        )
        return ChunkedTable(
            current,
            described,
            self.plan,
            where="",
            reader=cast("SnapshotReader", self.reader),
            deliveries=self.deliveries,
            size=ChunkSize(max_rows=100, max_bytes=1000),
            limits=Limits(rows_per_s, clock=now, changed=self.deliveries.changed),
            progress=self.progress,
            clock=now,
        )

    async def begun(self, rows_per_s: int = 0) -> tuple[ChunkedTable, asyncio.Task[None]]:
        table = self.table(rows_per_s)
        storing = asyncio.create_task(self.deliveries.store(table.begin))
        await self.reach()
        await storing
        return table, asyncio.create_task(table.run())


# ------------------------------------------------------------------------------------- requests and markers


@fake_time
async def test_a_request_is_stored_at_its_own_position_and_takes_effect() -> None:
    scene = Scene()
    lsn = await scene.message(SNAPSHOT_PREFIX, b'{"start": ["t"]}')
    assert scene.told == [(lsn, 1, "requested")]
    assert scene.routes == [{"ditto._snapshot.>"}]
    assert scene.sent[0].delivered is None, "others of its transaction may follow"
    assert [each.run for each in scene.runs.open] == [f"{lsn:X}-1"]
    assert scene.deliveries.changed.is_set()


@fake_time
async def test_a_request_that_cannot_be_read_is_refused() -> None:
    scene = Scene()
    await scene.message(SNAPSHOT_PREFIX, b"{")
    assert (scene.last_control.state, scene.runs.open) == ("refused", ())
    assert "not a JSON object" in (scene.last_control.reason or "")


@fake_time
async def test_a_stream_that_takes_no_control_events_refuses_the_run_and_goes_on() -> None:
    scene = Scene()
    scene.route_fault = StreamUnusable("not its subjects")
    await scene.message(SNAPSHOT_PREFIX, b'{"start": []}')
    assert (scene.sent, scene.runs.open) == ([], ())


@fake_time
async def test_a_marker_of_another_session_stands_for_nothing() -> None:
    scene = Scene()
    await scene.message(MARKER_PREFIX, b"0123456789abcdef")
    await scene.message(MARKER_PREFIX, b"\xff")
    assert scene.sent == []


@fake_time
async def test_what_a_marker_stands_for_is_complete_with_its_last_control_event() -> None:
    scene = Scene()
    scene.runs.requested(Start((), run="r"), "x")

    async def make(at: At) -> AsyncGenerator[Block | Control, None]:
        assert at.xid == 700
        yield Control(state="paused", run="r")
        yield Control(state="resumed", run="r")

    storing = asyncio.create_task(scene.deliveries.store(make))
    lsn = await scene.reach()
    await storing
    assert scene.told == [(lsn, 1, "paused"), (lsn, 2, "resumed")]
    delivered = scene.sent[-1].delivered
    assert delivered is not None
    assert (delivered.commit_lsn, delivered.event_count) == (lsn, 1)


# ------------------------------------------------------------------------------------- chunks


@fake_time
async def test_a_table_from_its_beginning_to_its_end() -> None:
    scene = Scene()
    scene.chunk(1, 2)
    scene.chunk(3, is_last=True)
    _, running = await scene.begun()
    first = await scene.reach()
    second = await scene.reach()
    await running
    assert scene.reader.cursors == [None, ["2"]]
    assert [each for each in scene.told if each[0] == first] == [
        (first, 1, {"id": 1, "note": "read"}),
        (first, 2, {"id": 2, "note": "read"}),
        (first, 3, "reading"),
    ]
    assert [each for each in scene.told if each[0] == second] == [
        (second, 1, {"id": 3, "note": "read"}),
        (second, 2, "done"),
        (second, 3, "finished"),
    ]
    row = scene.sent[1].changes[0]
    assert b'"snapshot":{"run":"r","cursor":["1"]}}' in msgspec.json.encode(row)
    assert scene.sent[1].snapshot_run == "r"
    assert scene.runs.open == ()


@fake_time
async def test_rows_are_as_at_the_marker() -> None:
    scene = Scene()
    scene.chunk(1, 2, 3, 4, snapshot=NOTHING, is_last=True)
    _, running = await scene.begun()
    scene.change(
        wire.update(OID, ["1", "changed"]),
        wire.delete(OID, key=["2", None]),
        wire.update(OID, ["9", "moved"], key=["3", None]),
        wire.insert(OID, ["5", "new"]),
    )
    await scene.reach()
    await running
    assert [each[2] for each in scene.told if isinstance(each[2], dict)] == [
        {"id": 1, "note": "changed"},
        {"id": 4, "note": "read"},
    ]


@fake_time
async def test_changes_that_the_snapshot_sees_are_not_applied() -> None:
    scene = Scene()
    scene.chunk(1, snapshot=EVERYTHING, is_last=True)
    _, running = await scene.begun()
    scene.change(wire.update(OID, ["1", "older than the row"]))
    await scene.reach()
    await running
    assert [each[2] for each in scene.told if isinstance(each[2], dict)] == [{"id": 1, "note": "read"}]


@fake_time
async def test_a_row_that_moved_without_all_its_columns_is_read_again_before_the_table_is_done() -> None:
    scene = Scene()
    scene.chunk(1, 2, snapshot=NOTHING, is_last=True)
    scene.chunk(snapshot=EVERYTHING, is_last=True)
    _, running = await scene.begun()
    await asyncio.sleep(0.02)
    scene.change(wire.update(OID, ["0", wire.UNCHANGED], key=["2", None]))
    assert scene.moved.limit(0xFFFF) == scene.lsn
    await scene.reach()
    assert scene.last_control.state == "reading"
    assert scene.last_control.open[0].moved == (("0",),)
    await scene.reach()
    await running
    assert scene.reader.moved == [[], [("0",)]]
    assert [each[2] for each in scene.told][-2:] == ["done", "finished"]


@fake_time
async def test_too_many_moved_rows_end_the_table() -> None:
    scene = Scene()
    _, running = await scene.begun()
    scene.change(*(wire.update(OID, [str(-n), wire.UNCHANGED], key=[str(n), None]) for n in range(1, MANY + 2)))
    with pytest.raises(SnapshotRefused, match="other keys"):
        await running


@fake_time
async def test_a_table_that_changed_between_snapshot_and_marker_is_read_again() -> None:
    scene = Scene()
    scene.chunk(1)
    scene.reader.marker_ok = False
    _, running = await scene.begun()
    with pytest.raises(TableChanged):
        await running
    assert [each[2] for each in scene.told] == ["begun"]


@fake_time
async def test_reading_that_fails_waits_for_the_chunk_that_is_being_stored() -> None:
    scene = Scene()
    scene.chunk(1)
    _, running = await scene.begun()
    await asyncio.sleep(0.011)
    storing, going_on = asyncio.Event(), asyncio.Event()
    send = scene._send

    async def slow(block: Block) -> int:
        storing.set()
        await going_on.wait()
        return await send(block)

    scene._send = slow  # type: ignore[method-assign]
    reaching = asyncio.create_task(scene.reach())
    await storing.wait()
    await asyncio.sleep(1)  # the next chunk cannot be read: there is none
    assert not running.done()
    going_on.set()
    await reaching
    with pytest.raises(IndexError):
        await running
    assert scene.runs.open[0].cursor == ("1",)


@fake_time
async def test_chunks_are_read_again_where_what_was_recorded_had_to_be_given_up() -> None:
    scene = Scene()
    scene.chunk(1, snapshot=NOTHING)
    scene.chunk(2, snapshot=NOTHING)
    table, running = await scene.begun()
    await asyncio.sleep(0.02)
    table.give_up_recorded()
    await scene.reach()
    with pytest.raises(Restart):
        await running
    assert [each[2] for each in scene.told] == ["begun"]
    assert scene.runs.open[0].cursor is None


@fake_time
async def test_nothing_of_a_run_that_was_cancelled_is_stored() -> None:
    scene = Scene()
    scene.chunk(1)
    scene.chunk(2)
    _, running = await scene.begun()
    await asyncio.sleep(0.02)
    await scene.message(SNAPSHOT_PREFIX, b'{"cancel": "r"}')
    await scene.reach()
    await asyncio.sleep(0.1)
    while not scene.markers.empty():
        await scene.reach()
    await running
    assert [each[2] for each in scene.told] == ["begun", "cancelled"]


@fake_time
async def test_nothing_is_read_after_a_pause_that_comes_while_the_rate_is_waited_for() -> None:
    scene = Scene()
    scene.chunk(1, 2)
    scene.chunk(3, is_last=True)
    _, running = await scene.begun(rows_per_s=1)
    await scene.reach()
    await scene.message(SNAPSHOT_PREFIX, b'{"start": ["t"]}')
    await asyncio.sleep(1)
    assert not running.done(), "another request ends no wait"
    await scene.message(SNAPSHOT_PREFIX, b'{"pause": "r"}')
    await running
    assert scene.reader.cursors == [None]


@fake_time
async def test_a_chunk_that_was_read_is_stored_although_its_run_was_paused() -> None:
    scene = Scene()
    scene.chunk(1)
    scene.chunk(2)
    _, running = await scene.begun()
    await asyncio.sleep(0.015)
    await scene.message(SNAPSHOT_PREFIX, b'{"pause": ""}')
    await scene.reach()
    await asyncio.sleep(0.1)
    while not scene.markers.empty():
        await scene.reach()
    await running
    assert "paused" in [each[2] for each in scene.told]
    assert scene.runs.open[0].cursor == ("2",)
    assert scene.runs.active is None


@fake_time
async def test_a_row_that_the_sink_does_not_take_ends_the_table_and_not_the_stream() -> None:
    scene = Scene()
    scene.chunk(1)
    scene.chunk(2)
    _, running = await scene.begun()
    scene.fault = EventTooLarge("too large")
    await scene.reach()
    with pytest.raises(TooLargeRow, match="too large"):
        await running
    assert [each[2] for each in scene.told] == ["begun"]


@fake_time
async def test_a_row_that_is_too_large_to_be_made_is_told_in_words() -> None:
    scene = Scene()

    async def fails(at: At) -> AsyncGenerator[Block | Control, None]:
        del at
        error = ChangeTooLarge(7_000_000, "doc")
        error.relation = "public.t"
        yield Control(state="paused", run="r")
        raise error

    storing = asyncio.create_task(scene.deliveries.store(fails))
    await scene.reach()
    words = r"row of table public\.t makes .* at least 7,000,000 bytes, .* column doc"
    with pytest.raises(TooLargeRow, match=words) as told:
        await storing
    assert "events.oversize" in told.value.hint


@fake_time
async def test_a_row_for_which_a_rule_fails_is_refused_in_words() -> None:
    scene = Scene()

    async def fails(at: At) -> AsyncGenerator[Block | Control, None]:
        del at
        error = RuleFailed("events.tables.t.when", "the note is no number")
        error.relation, error.action = "public.t", "READ"
        yield Control(state="paused", run="r")
        raise error

    storing = asyncio.create_task(scene.deliveries.store(fails))
    await scene.reach()
    with pytest.raises(
        SnapshotRefused, match=r"when cannot .* a row of table public\.t, because the note is no number"
    ):
        await storing


@fake_time
async def test_what_cannot_be_made_is_the_runners_and_what_cannot_be_sent_the_streams() -> None:
    scene = Scene()

    async def fails(at: At) -> AsyncGenerator[Block | Control, None]:
        del at
        yield Control(state="paused", run="r")
        raise TableChanged

    storing = asyncio.create_task(scene.deliveries.store(fails))
    await scene.reach()
    with pytest.raises(TableChanged):
        await storing
    scene.chunk(1)
    scene.chunk(2)
    _, running = await scene.begun()
    scene.fault = SinkLost("gone")
    with pytest.raises(SinkLost):
        await scene.reach()
    await end(running)


# ------------------------------------------------------------------------------------- barrier


@fake_time
async def test_a_barrier_is_stored_before_the_transaction_and_then_gone() -> None:
    scene = Scene()

    async def make(at: At) -> AsyncGenerator[Block | Control, None]:
        del at
        yield Control(state="paused", run="r")

    done = scene.deliveries.expect_before(0x2000, At(0x1FFF, TIME, 0), make)
    scene.decoder.feed(wire.keepalive(0x3000))
    await scene.deliveries.at_barrier(scene._send)
    assert done.done()
    assert scene.told == [(0x1FFF, 1, "paused")]
    await scene.deliveries.at_barrier(scene._send)
    assert len(scene.sent) == 1
