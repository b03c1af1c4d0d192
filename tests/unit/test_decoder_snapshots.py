"""What a snapshot asks of the decoder: places in the stream, recorded changes, rows that become READ changes."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding.event_id import event_id
from ditto.decoding.messages import (
    MARKER_PREFIX,
    SNAPSHOT_PREFIX,
    ChangeTooLarge,
    Column,
    Delivered,
    Extras,
    LogicalMessage,
    Moved,
    Relation,
)
from ditto.decoding.transaction_snapshot import TxSnapshot
from ditto.decoding.written_rows import WrittenRows
from ditto.errors import DecodeError
from ditto.lsn import Position
from unit import captured, wire
from unit.implementations import (
    ID_KEY,
    IMPLEMENTATIONS,
    Decoder,
    Implementation,
    comparable,
    description_of,
    encode,
    pass_all,
    pass_none,
    plan_of,
    positions,
)
from unit.test_decoder_properties import KINDS
from unit.test_snapshot_rows import HEADER, KEY, OID, copy_line, messages, played, steps, values
from unit.wire import UNCHANGED

if TYPE_CHECKING:
    from ditto.decoding.messages import Block
    from ditto.routing.table_plans import TablePlan

LSN = 0x16_B374_D848
TIME = "2000-01-01T00:00:00.000000Z"
COLUMNS = [wire.Column("id", wire.INT4, is_key=True), wire.Column("name"), wire.Column("doc", wire.JSONB)]
RELATION = wire.relation(OID, "trades", COLUMNS)
OTHER = wire.relation(9, "accounts", COLUMNS)
DESCRIBED = Relation(
    OID,
    "public",
    "trades",
    "d",
    tuple(Column(column.name, column.type_oid, -1, column.is_key) for column in COLUMNS),
)


def begin(lsn: int, xid: int) -> bytes:
    return wire.copy_data(b"B" + struct.pack("!QqI", lsn, 0, xid))


def feed(decoder: Decoder, *frames: bytes) -> Block:
    for frame in frames:
        decoder.feed(frame)
    return decoder.take()


def marker(prefix: str = MARKER_PREFIX, *, is_transactional: bool = True) -> bytes:
    return wire.logical_message(b"\0token\xff", prefix=prefix, is_transactional=is_transactional)


# ------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("prefix", [SNAPSHOT_PREFIX, MARKER_PREFIX])
def test_a_message_ends_the_block_where_it_is(impl: Implementation, prefix: str) -> None:
    decoder = impl.decoder()
    block = feed(decoder, RELATION, begin(LSN, 77), wire.insert(OID, ["1", None, None]), marker(prefix))
    assert block.message == LogicalMessage(prefix, b"\0token\xff", LSN, 2, TIME, 77)
    assert positions(block) == [Position(LSN, 1)]
    assert (block.idle_lsn, block.delivered) == (0, None)
    rest = feed(decoder, wire.insert(OID, ["2", None, None]), wire.commit(LSN))
    assert rest.message is None
    assert positions(rest) == [Position(LSN, 3)]
    assert rest.delivered == Delivered(LSN, LSN + 8, 1)
    assert decoder.logical_message_count == 1


def test_other_messages_end_no_block(impl: Implementation) -> None:
    frames = (marker(is_transactional=False), begin(LSN, 1), marker("ditto"), marker("ditto.marker.x"))
    assert feed(impl.decoder(), *frames).message is None


def test_a_message_that_is_stored_already_is_skipped(impl: Implementation) -> None:
    frames = (begin(LSN, 1), marker())
    assert feed(impl.decoder(after=Position(LSN + 1, 0)), *frames).message is None
    assert feed(impl.decoder(after=Position(LSN, 1)), *frames).message is None
    assert feed(impl.decoder(after=Position(LSN, 0)), *frames).message is not None


def test_what_waits_to_be_the_last_goes_before_a_message(impl: Implementation) -> None:
    decoder = impl.decoder(extras=Extras(marks_last=True))
    block = feed(decoder, RELATION, begin(LSN, 1), wire.insert(OID, ["1", None, None]), marker())
    assert positions(block) == [Position(LSN, 1)]
    assert b'"last"' not in encode(block.changes)[0]
    rest = feed(decoder, wire.insert(OID, ["2", None, None]), wire.commit(LSN))
    assert b'"last":true' in encode(rest.changes)[0]


def test_a_transaction_counts_as_delivered_where_something_is_stored_for_its_message(impl: Implementation) -> None:
    decoder = impl.decoder()
    feed(decoder, begin(LSN, 1), marker())
    assert feed(decoder, wire.commit(LSN)).delivered is None
    feed(decoder, begin(LSN + 16, 1), marker())
    decoder.mark_selected()
    assert feed(decoder, wire.commit(LSN + 16)).delivered == Delivered(LSN + 16, LSN + 24, 0)


# ------------------------------------------------------------------------------------- barrier


def test_nothing_passes_a_barrier(impl: Implementation) -> None:
    decoder = impl.decoder()
    decoder.stop_before(LSN + 16)
    before = feed(
        decoder, RELATION, begin(LSN, 5), wire.insert(OID, ["1", None, None]), wire.commit(LSN, end_lsn=LSN + 8)
    )
    assert (len(before.changes), before.is_at_barrier, before.idle_lsn) == (1, False, LSN + 8)
    block = feed(decoder, begin(LSN + 16, 6))
    assert (block.is_at_barrier, block.idle_lsn, block.frame_count) == (True, LSN + 8, 1)
    assert decoder.last_transaction() == (LSN, TIME, 5)
    with pytest.raises(ValueError, match="waits at the barrier"):
        decoder.feed(wire.insert(OID, ["2", None, None]))
    assert decoder.take().is_at_barrier
    decoder.stop_before(0)
    after = feed(decoder, wire.insert(OID, ["2", None, None]), wire.commit(LSN + 16))
    assert positions(after) == [Position(LSN + 16, 1)]
    assert (after.is_at_barrier, after.frame_count) == (False, 2)
    assert decoder.last_transaction() == (LSN + 16, TIME, 6)


def test_a_later_barrier_takes_its_place(impl: Implementation) -> None:
    decoder = impl.decoder()
    decoder.stop_before(LSN)
    assert feed(decoder, RELATION, begin(LSN, 5)).is_at_barrier
    decoder.stop_before(LSN + 16)
    block = feed(decoder, wire.insert(OID, ["1", None, None]), wire.commit(LSN))
    assert (len(block.changes), block.is_at_barrier) == (1, False)
    assert feed(decoder, begin(LSN + 20, 6)).is_at_barrier


@pytest.mark.parametrize(
    "frame",
    [wire.keepalive(LSN), wire.logical_message(prefix="ditto.wait", is_transactional=False, lsn=LSN)],
    ids=["keepalive", "message"],
)
def test_a_server_that_has_passed_a_barrier_is_at_it(impl: Implementation, frame: bytes) -> None:
    decoder = impl.decoder()
    decoder.stop_before(LSN)
    assert not feed(decoder, wire.keepalive(LSN - 1)).is_at_barrier
    block = feed(decoder, frame)
    assert (block.is_at_barrier, block.idle_lsn) == (True, LSN - 1)
    decoder.stop_before(0)
    block = decoder.take()
    assert (block.is_at_barrier, block.idle_lsn) == (False, LSN)


def test_a_commit_that_ends_past_a_barrier_is_at_it(impl: Implementation) -> None:
    decoder = impl.decoder()
    decoder.stop_before(LSN + 8)
    open_one = feed(decoder, begin(LSN, 5), wire.keepalive(LSN + 100))
    assert (open_one.is_at_barrier, open_one.idle_lsn) == (False, 0)
    block = feed(decoder, wire.commit(LSN, end_lsn=LSN + 8))
    assert (block.is_at_barrier, block.idle_lsn) == (True, LSN + 7)


def test_a_barrier_that_has_been_passed_is_refused(impl: Implementation) -> None:
    decoder = impl.decoder()
    feed(decoder, begin(LSN, 5))
    with pytest.raises(ValueError, match="the transaction at 16/B374D848 has begun, after 16/B374D840"):
        decoder.stop_before(LSN - 8)
    with pytest.raises(ValueError, match="has begun"):
        decoder.stop_before(LSN)
    decoder.stop_before(LSN + 1)


# ------------------------------------------------------------------------------------- recording

S = TxSnapshot(10, 20, frozenset({10, 14}))


def transaction(lsn: int, xid: int, *frames: bytes) -> list[bytes]:
    return [begin(lsn, xid), *frames, wire.commit(lsn)]


def recording(impl: Implementation, *, key: tuple[int, ...] = KEY, **options: Any) -> Decoder:
    decoder = impl.decoder(**options)
    decoder.record(OID, key)
    feed(decoder, RELATION, OTHER)
    return decoder


ROW: wire.Row = ["1", "a", None]


def test_changes_of_one_relation_are_recorded_as_they_come(impl: Implementation) -> None:
    decoder = recording(impl)
    changes = [wire.insert(OID, ROW), wire.update(OID, ROW), wire.delete(OID, key=ROW)]
    feed(decoder, *transaction(LSN, 700, *changes, wire.insert(9, ROW), wire.truncate(OID)))
    assert decoder.recorded == [(700, message) for message in messages(*changes)]
    assert decoder.recorded_bytes == sum(len(message) + 128 for message in messages(*changes))


def test_skipped_and_filtered_changes_are_recorded_too(impl: Implementation) -> None:
    for decoder in (recording(impl, after=Position(LSN, 5)), recording(impl, plan=pass_none)):
        block = feed(decoder, *transaction(LSN, 700, wire.insert(OID, ROW)))
        assert block.changes == []
        assert decoder.recorded == [(700, wire.insert(OID, ROW)[HEADER:])]


def test_only_what_a_snapshot_does_not_see_is_recorded(impl: Implementation) -> None:
    decoder = recording(impl)
    frames = [transaction(LSN + 16 * xid, xid, wire.insert(OID, [str(xid), None, None])) for xid in range(8, 23)]
    for frame in frames[:7]:
        feed(decoder, *frame)
    assert [xid for xid, _ in decoder.recorded] == [8, 9, 10, 11, 12, 13, 14]
    assert decoder.recorded_invisible_in(S) == [message for xid, message in decoder.recorded if xid in {10, 14}]
    decoder.record_invisible(S)
    assert [xid for xid, _ in decoder.recorded] == [10, 14]
    for frame in frames[7:]:
        feed(decoder, *frame)
    assert [xid for xid, _ in decoder.recorded] == [10, 14, 20, 21, 22]
    assert decoder.recorded_bytes == sum(len(message) + 128 for _, message in decoder.recorded)
    decoder.record_invisible(TxSnapshot(22, 22, frozenset()))
    assert [xid for xid, _ in decoder.recorded] == [22]
    decoder.record_invisible(None)
    feed(decoder, *transaction(LSN + 16 * 30, 3, wire.insert(OID, ROW)))
    assert [xid for xid, _ in decoder.recorded] == [22, 3]


def test_the_filter_applies_to_the_open_transaction_at_once(impl: Implementation) -> None:
    decoder = recording(impl)
    feed(decoder, begin(LSN, 11), wire.insert(OID, ROW))
    decoder.record_invisible(S)
    feed(decoder, wire.insert(OID, ROW))
    assert decoder.recorded == []
    decoder.record_invisible(TxSnapshot(11, 20, frozenset({11})))
    feed(decoder, wire.insert(OID, ROW))
    assert [xid for xid, _ in decoder.recorded] == [11]


def test_recording_ends_and_begins_anew(impl: Implementation) -> None:
    decoder = recording(impl)
    decoder.record_invisible(S)
    feed(decoder, *transaction(LSN, 20, wire.insert(OID, ROW), wire.update(OID, ["2", "a", UNCHANGED], key=ROW)))
    assert decoder.recorded
    assert decoder.moved
    decoder.record(9, KEY)
    assert (decoder.recorded, decoder.recorded_bytes, decoder.moved) == ([], 0, [])
    feed(decoder, *transaction(LSN + 16, 11, wire.insert(9, ROW), wire.insert(OID, ROW)))
    assert decoder.recorded == [(11, wire.insert(9, ROW)[HEADER:])], "the filter is gone as well"
    decoder.record(None, ())
    feed(decoder, *transaction(LSN + 32, 21, wire.insert(9, ROW), wire.insert(OID, ROW)))
    assert (decoder.recorded, decoder.recorded_bytes) == ([], 0)


# ------------------------------------------------------------------------------------- moved rows

OLD: wire.Row = ["1", "a", "{}"]
KEY_ONLY: wire.Row = ["1", None, None]


@pytest.mark.parametrize(
    ("frame", "is_moved"),
    [
        (wire.update(OID, ["2", "b", UNCHANGED], key=KEY_ONLY), True),
        (wire.update(OID, ["2", UNCHANGED, None], key=KEY_ONLY), True),
        (wire.update(OID, ["2", "b", UNCHANGED], old=["1", "a", UNCHANGED]), True),
        (wire.update(OID, ["2", "b", "{}"], key=KEY_ONLY), False),
        (wire.update(OID, ["1", "b", UNCHANGED], key=KEY_ONLY), False),
        (wire.update(OID, [UNCHANGED, "b", UNCHANGED], key=KEY_ONLY), False),
        (wire.update(OID, ["1", "b", UNCHANGED]), False),
        (wire.update(OID, ["2", "b", UNCHANGED], old=OLD), False),
        (wire.update(OID, ["2", "b", UNCHANGED], old=["1", "a", None]), False),
        (wire.delete(OID, key=KEY_ONLY), False),
        (wire.insert(OID, ["2", "b", None]), False),
        (wire.insert(OID, ["2", "b", UNCHANGED]), True),
    ],
    ids=[
        "the key, and a column is unchanged",
        "the key, and another column is unchanged",
        "neither old nor new row has it",
        "a whole new row",
        "the same key",
        "the same key, toasted",
        "no key is sent",
        "the old row has it",
        "the old row has null",
        "a delete",
        "an insert",
        "an update that brought the row into a row filter",
    ],
)
@pytest.mark.parametrize("how", ["new", "seen", "stored"])
def test_a_row_that_moves_and_is_not_sent_whole_is_noted(
    impl: Implementation, how: str, frame: bytes, is_moved: bool
) -> None:
    decoder = recording(impl, after=Position(LSN, 9 if how == "stored" else 0))
    if how == "seen":
        decoder.record_invisible(TxSnapshot(800, 800, frozenset()))
    feed(decoder, *transaction(LSN, 700, frame))
    assert decoder.moved == ([Moved(700, LSN, ("2",))] if is_moved else [])


def test_a_key_is_found_by_its_name_where_the_columns_have_changed(impl: Implementation) -> None:
    decoder = impl.decoder()
    decoder.record(OID, (2,), ("id",))
    move = wire.update(OID, ["2", "b", UNCHANGED], key=KEY_ONLY)
    feed(decoder, RELATION, *transaction(LSN, 700, move))
    assert decoder.moved == [Moved(700, LSN, ("2",))]
    feed(decoder, wire.relation(OID, "trades", [COLUMNS[1], COLUMNS[0]], identity="i"))
    feed(decoder, *transaction(LSN + 16, 701, wire.update(OID, [UNCHANGED, "4"], key=[None, "3"])))
    assert decoder.moved[1:] == [Moved(701, LSN + 16, ("4",))]
    feed(decoder, wire.relation(OID, "trades", [COLUMNS[1], COLUMNS[2]], identity="i"))
    feed(decoder, *transaction(LSN + 32, 702, wire.update(OID, ["4", UNCHANGED], key=["3", None])))
    assert len(decoder.moved) == 2, "there is no such key any more"
    assert len(decoder.recorded) == 3


def test_a_key_that_the_relation_does_not_have_moves_nothing(impl: Implementation) -> None:
    decoder = recording(impl, key=(3,))
    feed(decoder, *transaction(LSN, 700, wire.update(OID, ["2", "b", UNCHANGED], key=KEY_ONLY)))
    assert decoder.moved == []


def test_moved_rows_are_forgotten_once_they_have_been_read(impl: Implementation) -> None:
    decoder = recording(impl, key=(1, 0))
    moves = [wire.update(OID, [f"2{name}", name, UNCHANGED], key=["1", "x", None]) for name in ("a", "ä", "c")]
    feed(decoder, *transaction(LSN, 700, *moves))
    found = decoder.moved
    assert [each.key for each in found] == [("a", "2a"), ("ä", "2ä"), ("c", "2c")]
    decoder.forget_moved(found[:2])
    assert decoder.moved == found[2:]


def test_a_moved_row_whose_key_is_not_utf8_is_an_error_that_does_not_quote_it(impl: Implementation) -> None:
    decoder = recording(impl, key=(0,))
    with pytest.raises(DecodeError, match="not UTF-8") as raised:
        feed(decoder, begin(LSN, 1), wire.update(OID, [b"hunter\xff", None, UNCHANGED], key=KEY_ONLY))
    assert "hunter" not in f"{raised.value} {raised.value.__cause__}"


# ------------------------------------------------------------------------------------- READ


def all_pass(relation: Relation, **options: Any) -> TablePlan:
    """Rows pass too."""
    name = f"{relation.namespace}.{relation.name}".encode()
    return plan_of(relation, *pass_all(relation).routes[:4], b"read " + name, **options)


def read(
    impl: Implementation,
    decoder: Decoder,
    plan: TablePlan,
    rows: list[wire.Row],
    *,
    moved_count: int = 0,
    key: tuple[int, ...] = KEY,
    commit_lsn: int = LSN,
    start: int = 0,
    stop: int | None = None,
) -> Block:
    made = impl.make_rows(len(plan.relation.columns))
    for row in rows:
        made.add(copy_line(row))
    made.moved_count = moved_count
    return decoder.read_block_of(
        plan,
        made,
        start,
        made.count if stop is None else stop,
        key=key,
        run="run-1",
        commit_lsn=commit_lsn,
        commit_time=TIME,
        xid=77,
        first_ordinal=5,
        moved_cursor=["9"],
    )


def test_rows_become_changes(impl: Implementation) -> None:
    rows: list[wire.Row] = [["0", "x", None], ["1", "ä\n", '{"a": 1}'], ["2", None, "null"], ["3", "", None]]
    block = read(impl, impl.decoder(), all_pass(DESCRIBED), rows, start=1, moved_count=1)
    common = {"schema": "public", "table": "trades", "action": "READ"}
    assert [json.loads(event) for event in encode(block.changes)] == [
        {
            "id": event_id(Position(LSN, 5), ID_KEY),
            **common,
            "data": {"id": 1, "name": "ä\n", "doc": {"a": 1}},
            "dataOld": {},
            "commitTime": TIME,
            "snapshot": {"run": "run-1", "cursor": ["1"]},
        },
        {
            "id": event_id(Position(LSN, 6), ID_KEY),
            **common,
            "data": {"id": 2, "name": None, "doc": None},
            "dataOld": {},
            "commitTime": TIME,
            "jsonNull": ["doc"],
            "snapshot": {"run": "run-1", "cursor": ["2"]},
        },
        {
            "id": event_id(Position(LSN, 7), ID_KEY),
            **common,
            "data": {"id": 3, "name": "", "doc": None},
            "dataOld": {},
            "commitTime": TIME,
            "snapshot": {"run": "run-1", "cursor": ["9"]},
        },
    ]
    assert encode(block.changes)[1].endswith(b',"jsonNull":["doc"],"snapshot":{"run":"run-1","cursor":["2"]}}')
    assert positions(block) == [Position(LSN, 5), Position(LSN, 6), Position(LSN, 7)]
    assert block.routes == [b"read public.trades"] * 3
    assert block.size == sum(len(wire.row(row)) for row in rows[1:])
    assert (block.frame_count, block.idle_lsn, block.delivered) == (0, 0, None)


def test_a_table_without_a_key_has_no_cursor(impl: Implementation) -> None:
    block = read(impl, impl.decoder(), all_pass(DESCRIBED), [ROW], key=())
    assert json.loads(encode(block.changes)[0])["snapshot"] == {"run": "run-1"}


def test_a_cursor_has_the_columns_of_the_key_in_its_order(impl: Implementation) -> None:
    block = read(impl, impl.decoder(), all_pass(DESCRIBED), [["1", "ä", None]], key=(1, 0))
    assert json.loads(encode(block.changes)[0])["snapshot"]["cursor"] == ["ä", "1"]


def test_metadata_are_those_of_the_marker(impl: Implementation) -> None:
    names = frozenset({"lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"})
    decoder = impl.decoder(extras=Extras(names, marks_last=True))
    feed(decoder, begin(LSN + 8, 5), wire.origin("elsewhere"))
    plan = all_pass(DESCRIBED, primary_key=("id",), schema_version="v7")
    block = read(impl, decoder, plan, [ROW])
    assert json.loads(encode(block.changes)[0])["meta"] == {
        "lsn": "16/B374D848",
        "xid": 77,
        "ordinal": 5,
        "primaryKey": ["id"],
        "origin": None,
        "schemaVersion": "v7",
    }


def test_rows_are_counted_and_make_their_transaction_a_delivered_one(impl: Implementation) -> None:
    decoder = impl.decoder(all_pass)
    feed(decoder, RELATION, *transaction(LSN - 100, 1, wire.insert(OID, ROW)))
    feed(decoder, begin(LSN, 1), marker())
    read(impl, decoder, all_pass(DESCRIBED), [ROW], commit_lsn=LSN - 50)
    assert feed(decoder, wire.commit(LSN)).delivered is None
    feed(decoder, begin(LSN + 16, 1), marker())
    read(impl, decoder, all_pass(DESCRIBED), [ROW, ROW], commit_lsn=LSN + 16)
    assert feed(decoder, wire.commit(LSN + 16)).delivered == Delivered(LSN + 16, LSN + 24, 0)
    assert decoder.passed_counts() == {("public", "trades"): (1, 0, 0, 0, 3)}


def test_no_rows_select_nothing(impl: Implementation) -> None:
    decoder = impl.decoder()
    feed(decoder, begin(LSN, 1), marker())
    assert read(impl, decoder, all_pass(DESCRIBED), []).changes == []
    assert feed(decoder, wire.commit(LSN)).delivered is None


def test_a_table_is_described_before_its_rows(impl: Implementation) -> None:
    description = description_of(DESCRIBED)
    plan = all_pass(DESCRIBED, description=description)
    decoder = impl.decoder(lambda relation: all_pass(relation, description=description_of(relation)))
    block = read(impl, decoder, plan, [ROW])
    assert block.changes[0] is description.table
    assert positions(block) == [Position(LSN, 4), Position(LSN, 5)]
    assert block.routes == [b"described trades", b"read public.trades"]
    assert len(read(impl, decoder, plan, [ROW]).changes) == 1
    live = feed(decoder, RELATION, *transaction(LSN, 1, wire.insert(OID, ROW)))
    assert len(live.changes) == 1, "the stream does not describe it again"
    newer = all_pass(DESCRIBED, description=description_of(DESCRIBED, "v2"))
    assert len(read(impl, decoder, newer, [ROW]).changes) == 2
    stored = impl.decoder(described={b"described trades": "v1"})
    assert len(read(impl, stored, plan, [ROW]).changes) == 1


def test_a_table_that_was_dropped_and_is_there_again_is_described_again(impl: Implementation) -> None:
    plan = all_pass(DESCRIBED, description=description_of(DESCRIBED))
    decoder = impl.decoder(lambda relation: all_pass(relation, description=description_of(relation)))
    read(impl, decoder, plan, [ROW])
    feed(decoder, RELATION, *transaction(LSN, 1, wire.insert(OID, ROW)))
    decoder.forget(decoder.relations())
    assert len(read(impl, decoder, plan, [ROW]).changes) == 2
    assert decoder.passed_counts() == {("public", "trades"): (0, 0, 0, 0, 1)}


def test_rows_that_fail_leave_the_decoder_as_it_was(impl: Implementation) -> None:
    decoder = impl.decoder(max_size=100)
    plan = all_pass(DESCRIBED, description=description_of(DESCRIBED))
    feed(decoder, begin(LSN, 1), marker())
    with pytest.raises(ChangeTooLarge) as raised:
        read(impl, decoder, plan, [ROW, ["2", "x" * 101, None]])
    error = raised.value
    assert (error.size, error.column, error.relation, error.action) == (102, "name", "public.trades", "READ")
    assert (error.commit_lsn, error.ordinal) == (LSN, 6)
    with pytest.raises(DecodeError, match="not UTF-8"):
        read(impl, decoder, plan, [ROW, ["2", b"\xff", None]])
    assert decoder.passed_counts().get(("public", "trades"), (0,) * 5) == (0,) * 5
    assert feed(decoder, wire.commit(LSN)).delivered is None
    assert len(read(impl, decoder, plan, [ROW]).changes) == 2, "it is described all the same"


def test_text_that_is_not_utf8_is_an_error_that_names_table_and_column(impl: Implementation) -> None:
    with pytest.raises(DecodeError) as raised:
        read(impl, impl.decoder(), all_pass(DESCRIBED), [["1", b"hunter\xff2", None]])
    error = raised.value
    assert error.message == "cannot read a row of public.trades: text that is not UTF-8 in the column name"
    assert error.context == {"relation": "public.trades", "column": "name"}
    assert "Encodings" in str(error.hint)
    assert error.__suppress_context__


def test_rows_that_do_not_fit_their_plan_are_refused(impl: Implementation) -> None:
    with pytest.raises(ValueError, match="not selected"):
        read(impl, impl.decoder(), pass_none(DESCRIBED), [ROW])
    plan = all_pass(DESCRIBED)
    rows = impl.make_rows(2)
    options: dict[str, Any] = {"key": (), "run": "r", "commit_lsn": LSN, "commit_time": TIME, "xid": 1}
    with pytest.raises(ValueError, match="rows of 2 columns where the relation has 3"):
        impl.decoder().read_block_of(plan, rows, 0, 0, first_ordinal=1, moved_cursor=None, **options)
    with pytest.raises(IndexError):
        read(impl, impl.decoder(), plan, [ROW], stop=2)
    with pytest.raises(IndexError):
        read(impl, impl.decoder(), plan, [ROW], key=(3,))


# ------------------------------------------------------------------------------------- the same as live changes


@pytest.mark.parametrize("major", captured.MAJORS)
@pytest.mark.parametrize("name", ["types", "changes"])
def test_every_captured_insert_is_the_same_as_a_row(impl: Implementation, major: str, name: str) -> None:
    plans: dict[int, TablePlan] = {}

    def plan(relation: Relation) -> TablePlan:
        plans[relation.oid] = all_pass(relation)
        return plans[relation.oid]

    decoder = impl.decoder(plan)
    count = 0
    for frame in captured.frames(major, name):
        lived = feed(decoder, frame).changes
        if frame[HEADER : HEADER + 1] == b"I" and lived:
            (oid,) = struct.unpack_from("!I", frame, HEADER + 1)
            was_read = read(impl, decoder, plans[oid], [sent(frame[HEADER + 6 :])[0]], key=())
            assert of_the_row(encode(was_read.changes)[0]) == of_the_row(encode(lived)[0])
            count += 1
    assert count


def of_the_row(event: bytes) -> tuple[bytes, list[bytes]]:
    """What an event says of the row itself: JSON that is embedded may be any bytes."""
    data, rest = event.split(b'"data":')[1].split(b',"dataOld":')
    return data, re.findall(rb'"jsonNull":\[[^]]*\]', rest)


@given(
    st.sampled_from(KINDS),
    st.none() | st.text(max_size=20) | st.binary(max_size=8) | st.sampled_from(["null", "1", "t", "{1,NULL}"]),
)
def test_a_value_of_any_kind_is_the_same_as_in_an_insert(kind: int, cell: wire.Cell) -> None:
    if isinstance(cell, str | bytes):
        cell = (cell.encode() if isinstance(cell, str) else cell).replace(b"\0", b"")
    relation = Relation(OID, "public", "t", "d", (Column("v", 0, -1, is_key=False),))
    plan = all_pass(relation)
    plan = type(plan)(relation=relation, routes=plan.routes, kinds=bytes([kind]))
    outcomes: list[Any] = []
    for impl in IMPLEMENTATIONS:
        decoder = impl.decoder(lambda each: type(plan)(relation=each, routes=plan.routes, kinds=plan.kinds))
        try:
            live = feed(
                decoder, wire.relation(OID, "t", [wire.Column("v", 0)]), begin(LSN, 1), wire.insert(OID, [cell])
            )
            outcomes.append(of_the_row(encode(live.changes)[0]))
        except DecodeError as error:
            outcomes.append(error.context)
        try:
            outcomes.append(of_the_row(encode(read(impl, impl.decoder(), plan, [[cell]], key=()).changes)[0]))
        except DecodeError as error:
            outcomes.append(error.context)
    assert outcomes.count(outcomes[0]) == len(outcomes)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
cells = (
    st.sampled_from(["null", "7", "-0", "t", '{"a":\n1}', "{1,NULL}", "2026-01-02 03:04:05.1+00"]) | st.none() | texts
)


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), texts, st.lists(cells, min_size=3, max_size=3)), min_size=1), st.data()
)
def test_what_is_written_at_once_is_what_the_changes_are_encoded_to(
    columns: list[tuple[int, str, list[str | None]]], data: st.DataObject
) -> None:
    named = [Column(f"{index} {name}", 0, -1, is_key=False) for index, (_, name, _) in enumerate(columns)]
    relation = Relation(OID, 'a "schema"', "ä\n", "d", tuple(named))
    plan = all_pass(relation)
    plan = type(plan)(relation=relation, routes=plan.routes, kinds=bytes(kind for kind, _, _ in columns))
    rows: list[wire.Row] = [[cells[row] for _, _, cells in columns] for row in range(3)]
    full = [index for index, (_, _, cells) in enumerate(columns) if None not in cells]
    key = tuple(data.draw(st.lists(st.sampled_from(full), max_size=2))) if full else ()
    moved_count = data.draw(st.integers(0, 3))
    blocks = [read(impl, impl.decoder(), plan, rows, key=key, moved_count=moved_count) for impl in IMPLEMENTATIONS]
    written = [block.changes for block in blocks if isinstance(block.changes, WrittenRows)]
    assert len(written) == 1, "the compiled decoder writes them"
    assert encode(written[0]) == encode(list(written[0])) == encode(blocks[0].changes) == encode(blocks[1].changes)
    assert encode(written[0][1:]) == encode(written[0])[1:]


# ------------------------------------------------------------------------------------- all of it together

starts = st.dictionaries(st.integers(0, 6).map(str), st.tuples(values, st.none() | st.just("1")))


@given(starts, steps, st.booleans(), st.integers(0, 12))
def test_stream_rows_and_moved_rows_give_the_table(
    start: dict[str, tuple[Any, Any]], steps_of: list[tuple[str, str, str, Any, Any]], is_full: bool, seen: int
) -> None:
    """A consumer that knew nothing has every row at the marker, whole, but for those that are noted as moved.

    The first `seen` transactions are those that the rows were read after; their changes are in the stream all the same.
    """
    steps_of = [(*step[:4], None if step[4] is None else "2") for step in steps_of]
    model = played(steps_of, start, is_full=is_full)
    seen = min(seen, len(model.frames))
    read_rows = table_after(model.before, model.frames[:seen])
    table = table_after(model.before, model.frames)
    outcomes = []
    for impl in IMPLEMENTATIONS:
        decoder = impl.decoder(all_pass)
        decoder.record(OID, KEY)
        identity = "f" if is_full else "d"
        columns = [wire.Column(column.name, wire.TEXT, is_full or column.is_key) for column in COLUMNS]
        feed(decoder, wire.relation(OID, "trades", columns, identity=identity))
        stream = []
        for number, frame in enumerate(model.frames):
            stream.append(feed(decoder, *transaction(LSN + 16 * number, number, frame)))
        decoder.record_invisible(TxSnapshot(seen, seen, frozenset()))
        assert len(decoder.recorded) == len(model.frames) - seen
        relation = decoder.relations()[OID]
        rows = impl.make_rows(3)
        for row in read_rows.values():
            rows.add(copy_line(row))
        rows.overlay([message for _, message in decoder.recorded], KEY)
        feed(decoder, begin(LSN + 16 * len(model.frames), 999), marker())
        options: dict[str, Any] = {"run": "r", "commit_time": TIME, "xid": 9, "moved_cursor": None, "first_ordinal": 1}
        marked = decoder.read_block_of(
            all_pass(relation), rows, 0, rows.count, key=KEY, commit_lsn=LSN + 16 * len(model.frames), **options
        )
        consumer: dict[str, dict[str, Any]] = {}
        for block in (*stream, marked):
            for event in map(json.loads, encode(block.changes)):
                consume(consumer, event)
        moved = {each.key[0] for each in decoder.moved}
        for key, row in table.items():
            if key not in moved:
                assert consumer[key] == dict(zip(("id", "name", "doc"), row, strict=True))
        assert consumer.keys() <= table.keys()
        outcomes.append((decoder.recorded, decoder.moved, *(comparable(block) for block in (*stream, marked))))
    assert outcomes[0] == outcomes[1]


def table_after(before: list[wire.Row], frames: list[bytes]) -> dict[str, wire.Row]:
    """The table after these changes, as PostgreSQL has it."""
    table = {str(row[0]): row for row in before}
    for frame in frames:
        tag, body = frame[HEADER : HEADER + 1], frame[HEADER + 5 :]
        part, old = body[:1], None
        if part in b"KO":
            old, body = text_of(body[1:])
        if tag == b"D":
            assert old is not None
            del table[str(old[0])]
            continue
        new, _ = text_of(body[1:])
        key = str((old or new)[0])
        kept = table.pop(key, None)
        table[str(new[0])] = [kept[i] if cell is UNCHANGED and kept else cell for i, cell in enumerate(new)]
    return table


def text_of(data: bytes) -> tuple[wire.Row, bytes]:
    cells, rest = sent(data)
    return [cell.decode() if isinstance(cell, bytes) else cell for cell in cells], rest


def sent(data: bytes) -> tuple[wire.Row, bytes]:
    """The columns of TupleData, and what follows it."""
    (count,) = struct.unpack_from("!H", data)
    cells: wire.Row = []
    pos = 2
    for _ in range(count):
        mark = data[pos : pos + 1]
        pos += 1
        if mark == b"t":
            (size,) = struct.unpack_from("!i", data, pos)
            cells.append(data[pos + 4 : pos + 4 + size])
            pos += 4 + size
        else:
            cells.append(None if mark == b"n" else UNCHANGED)
    return cells, data[pos:]


def consume(table: dict[str, dict[str, Any]], event: dict[str, Any]) -> None:
    """What a consumer does that keeps a copy."""
    data, old = event["data"], event["dataOld"]
    if event["action"] == "DELETE":
        table.pop(old["id"], None)
        return
    before = table.pop(old.get("id", data["id"]), {})
    missing = {name: before[name] for name in event.get("unchanged", ()) if name in before}
    table[data["id"]] = {**data, **missing}
