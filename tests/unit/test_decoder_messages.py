"""Each message of pgoutput, built by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import UNSET, to_builtins

from ditto.decoding.messages import Column as DecodedColumn
from ditto.decoding.messages import Delivered, Relation
from ditto.lsn import Position
from ditto.routing.table_plans import TablePlan
from unit import wire
from unit.implementations import encode, pass_none, plan_of, positions
from unit.wire import UNCHANGED, Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
COLUMNS = [Column("id", wire.INT4, is_key=True), Column("name"), Column("big")]
TABLE = wire.relation(1, "trades", COLUMNS)
FULL = wire.relation(2, "full", [Column(c.name, c.type_oid, is_key=True) for c in COLUMNS], identity="f")


def decode_one(impl: Implementation, *frames: bytes) -> Any:
    """The only event of a transaction."""
    (event,) = impl.decode([wire.begin(LSN), *frames, wire.commit(LSN)]).changes
    return event


def test_an_insert(impl: Implementation) -> None:
    block = impl.decode([wire.begin(LSN), TABLE, wire.insert(1, ["7", "abc", None]), wire.commit(LSN)])
    (event,) = block.changes
    assert (event.schema, event.table, event.action) == ("public", "trades", "INSERT")
    assert event.data == {"id": 7, "name": "abc", "big": None}
    assert list(event.data) == ["id", "name", "big"]
    assert event.data_old == {}
    assert event.unchanged is UNSET
    assert block.routes == [b"insert public.trades"]
    assert positions(block) == [Position(LSN, 1)]


def test_an_update_without_an_old_row(impl: Implementation) -> None:
    event = decode_one(impl, TABLE, wire.update(1, ["7", "abc", ""]))
    assert (event.action, event.data, event.data_old) == ("UPDATE", {"id": 7, "name": "abc", "big": ""}, {})


def test_a_changed_key_gives_the_old_key_columns_only(impl: Implementation) -> None:
    event = decode_one(impl, TABLE, wire.update(1, ["8", "abc", "x"], key=["7", None, None]))
    assert event.data["id"] == 8
    assert event.data_old == {"id": 7}


def test_an_update_with_full_identity_gives_the_whole_old_row(impl: Implementation) -> None:
    event = decode_one(impl, FULL, wire.update(2, ["7", "new", "x"], old=["7", None, "x"]))
    assert event.data == {"id": 7, "name": "new", "big": "x"}
    assert event.data_old == {"id": 7, "name": None, "big": "x"}


@pytest.mark.parametrize(
    ("table", "frame", "old"),
    [
        (TABLE, wire.delete(1, key=["7", None, None]), {"id": 7}),
        (FULL, wire.delete(2, old=["7", None, "x"]), {"id": 7, "name": None, "big": "x"}),
    ],
    ids=["key", "full"],
)
def test_a_delete(impl: Implementation, table: bytes, frame: bytes, old: dict[str, Any]) -> None:
    event = decode_one(impl, table, frame)
    assert (event.action, event.data, event.data_old) == ("DELETE", {}, old)
    assert event.unchanged is UNSET


def test_an_unchanged_value_is_left_out_and_named(impl: Implementation) -> None:
    event = decode_one(impl, TABLE, wire.update(1, ["7", UNCHANGED, UNCHANGED]))
    assert event.data == {"id": 7}
    assert event.unchanged == ["name", "big"]


def test_an_unchanged_value_is_named_where_only_the_old_key_is_sent(impl: Implementation) -> None:
    event = decode_one(impl, TABLE, wire.update(1, ["8", "n", UNCHANGED], key=["7", None, None]))
    assert event.data == {"id": 8, "name": "n"}
    assert event.data_old == {"id": 7}
    assert event.unchanged == ["big"]


def test_an_unchanged_part_of_a_changed_key_comes_from_the_old_key(impl: Implementation) -> None:
    table = wire.relation(1, "t", [Column("id", wire.INT4, is_key=True), Column("part", is_key=True)])
    event = decode_one(impl, table, wire.update(1, ["8", UNCHANGED], key=["7", "large"]))
    assert (event.data, event.data_old) == ({"id": 8, "part": "large"}, {"id": 7, "part": "large"})
    assert event.unchanged is UNSET


def test_an_unchanged_value_comes_from_the_whole_old_row(impl: Implementation) -> None:
    event = decode_one(impl, FULL, wire.update(2, ["7", "new", UNCHANGED], old=["7", "old", "large"]))
    assert event.data == {"id": 7, "name": "new", "big": "large"}
    assert event.unchanged is UNSET


def test_an_unchanged_value_that_the_old_row_lacks_too_is_named(impl: Implementation) -> None:
    event = decode_one(impl, FULL, wire.update(2, ["7", "new", UNCHANGED], old=["7", "old", UNCHANGED]))
    assert event.data == {"id": 7, "name": "new"}
    assert event.data_old == {"id": 7, "name": "old"}
    assert event.unchanged == ["big"]


def test_a_truncate_is_an_event_for_each_table(impl: Implementation) -> None:
    block = impl.decode([wire.begin(LSN), TABLE, FULL, wire.truncate(2, 1, flags=3), wire.commit(LSN)])
    assert [(e.table, e.action, e.data, e.data_old) for e in block.changes] == [
        ("full", "TRUNCATE", {}, {}),
        ("trades", "TRUNCATE", {}, {}),
    ]
    assert block.routes == [b"truncate public.full", b"truncate public.trades"]
    assert block.ordinals == [1, 2]


def test_logical_messages_count_only_in_a_transaction(impl: Implementation) -> None:
    decoder = impl.decoder()
    row = wire.insert(1, ["1", None, None])
    outside = wire.logical_message(is_transactional=False)
    for frame in (outside, wire.begin(LSN), TABLE, wire.logical_message(), row, outside, row, wire.commit(LSN)):
        decoder.feed(frame)
    assert decoder.take().ordinals == [2, 3]
    assert decoder.logical_message_count == 3


def test_requests_for_snapshots_without_a_position_are_counted(impl: Implementation) -> None:
    decoder = impl.decoder()
    for prefix in ("ditto.snapshot", "other"):
        decoder.feed(wire.logical_message(b"{}", prefix=prefix, is_transactional=False))
    assert decoder.take().message is None
    assert decoder.void_request_count == 1


def test_a_logical_message_alone_selects_nothing(impl: Implementation) -> None:
    block = impl.decode([wire.begin(LSN), wire.logical_message(b""), wire.commit(LSN)])
    assert block.delivered is None
    assert block.idle_lsn == LSN + 8


def test_a_message_that_asks_for_a_checkpoint(impl: Implementation) -> None:
    asks = wire.logical_message(is_transactional=False, prefix="ditto.wait", lsn=LSN + 50)
    other = wire.logical_message(is_transactional=False, prefix="ditto.waiting", lsn=LSN + 60)
    decoder = impl.decoder()
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", None, None]), wire.commit(LSN), asks, other):
        decoder.feed(frame)
    block = decoder.take()
    # Everything that committed before the message has come: it stands at its place in the WAL.
    assert (block.wanted_lsn, block.idle_lsn) == (LSN + 50, LSN + 50)
    assert decoder.take().wanted_lsn == 0


def test_a_message_in_a_transaction_asks_too(impl: Implementation) -> None:
    asks = wire.logical_message(prefix="ditto.wait", lsn=LSN - 20)
    block = impl.decode([wire.begin(LSN), asks, wire.commit(LSN)])
    assert (block.wanted_lsn, block.idle_lsn) == (LSN - 20, LSN + 8)


def test_an_origin_changes_nothing(impl: Implementation) -> None:
    event = decode_one(impl, wire.origin("elsewhere"), TABLE, wire.insert(1, ["1", None, None]))
    assert event.data["id"] == 1


@pytest.mark.parametrize(
    ("namespace", "name", "text", "value"),
    [
        ("", "int4", "7", 7),
        ("pg_catalog", "int4", "7", 7),
        ("", "_int4", "{1,NULL}", [1, None]),
        ("", "bool", "t", True),
        ("public", "int4", "7", "7"),
        ("public", "mood", "sad", "sad"),
    ],
)
def test_a_domain_is_as_its_base_type(impl: Implementation, namespace: str, name: str, text: str, value: Any) -> None:
    table = wire.relation(1, "t", [Column("c", 99_999)])
    event = decode_one(impl, wire.type_(99_999, namespace, name), table, wire.insert(1, [text]))
    parsed = json.loads(encode([event])[0])["data"]
    assert parsed == {"c": value}
    assert type(parsed["c"]) is type(value)


def test_a_type_without_a_message_stays_text(impl: Implementation) -> None:
    event = decode_one(impl, wire.relation(1, "t", [Column("c", 99_999)]), wire.insert(1, ["7"]))
    assert event.data == {"c": "7"}


def test_what_a_relation_message_says(impl: Implementation) -> None:
    seen: list[Relation] = []

    def plan(relation: Relation) -> TablePlan:
        seen.append(relation)
        return pass_none(relation)

    decoder = impl.decoder(plan)
    decoder.feed(wire.relation(77, "Größe", [Column("id", wire.INT4, is_key=True), Column("t")], identity="i"))
    decoder.feed(wire.type_(99_999, "public", "_mood"))
    decoder.feed(wire.relation(79, "t", [Column("m", 99_999)], identity="f"))
    decoder.feed(wire.relation(78, "pg_class", [], namespace="", identity="n"))
    columns = (DecodedColumn("id", 23, -1, True), DecodedColumn("t", 25, -1, False))
    moods = (DecodedColumn("m", 99_999, -1, False, "public", "_mood"),)
    assert seen == [
        Relation(77, "public", "Größe", "i", columns),
        Relation(79, "public", "t", "f", moods),
        Relation(78, "pg_catalog", "pg_class", "n", ()),
    ]


def test_a_relation_may_change_in_mid_transaction(impl: Implementation) -> None:
    block = impl.decode(
        [
            wire.begin(LSN),
            TABLE,
            wire.insert(1, ["1", "a", "b"]),
            wire.relation(1, "renamed", [Column("id", wire.TEXT), Column("added", wire.INT4)]),
            wire.insert(1, ["1", "2"]),
            wire.commit(LSN),
        ]
    )
    assert [(event.table, event.data) for event in block.changes] == [
        ("trades", {"id": 1, "name": "a", "big": "b"}),
        ("renamed", {"id": "1", "added": 2}),
    ]
    assert block.routes == [b"insert public.trades", b"insert public.renamed"]


def test_a_filtered_change_counts_and_is_not_decoded(impl: Implementation) -> None:
    decoder = impl.decoder(lambda relation: plan_of(relation, None, b"u", None, None))
    broken = wire.insert(1, ["1", "a", "b"])[:-5]
    deleted = wire.delete(1, key=["1", None, None])
    updated = wire.update(1, ["1", "a", "b"])
    for frame in (wire.begin(LSN), TABLE, broken, deleted, updated, wire.truncate(1), wire.commit(LSN)):
        decoder.feed(frame)
    block = decoder.take()
    assert positions(block) == [Position(LSN, 3)]
    assert block.routes == [b"u"]
    assert decoder.filtered_count == 3
    assert decoder.skipped_count == 0


def test_a_transaction_without_a_selected_change_is_not_delivered(impl: Implementation) -> None:
    decoder = impl.decoder(pass_none)
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", "a", "b"]), wire.commit(LSN)):
        decoder.feed(frame)
    block = decoder.take()
    assert block.delivered is None
    assert block.idle_lsn == LSN + 8


def test_delivered_is_the_last_whole_transaction_of_the_block(impl: Implementation) -> None:
    row = wire.insert(1, ["1", "a", "b"])
    decoder = impl.decoder()
    frames = [wire.begin(100), TABLE, row, row, wire.commit(100), wire.begin(200), row, wire.commit(200)]
    for frame in [*frames, wire.begin(300), row]:
        decoder.feed(frame)
    first = decoder.take()
    decoder.feed(wire.commit(300))
    second = decoder.take()
    assert len(first.changes) == 4
    assert first.delivered == Delivered(commit_lsn=200, end_lsn=208, event_count=3)
    assert second.delivered == Delivered(300, 308, 0)
    assert second.changes == []


def test_the_idle_lsn_is_known_between_transactions_only(impl: Implementation) -> None:
    decoder = impl.decoder()

    def idle_after(frame: bytes) -> int:
        decoder.feed(frame)
        return decoder.take().idle_lsn

    assert idle_after(wire.keepalive(50)) == 50
    assert idle_after(wire.begin(100)) == 0
    assert idle_after(wire.keepalive(150)) == 0
    assert idle_after(wire.commit(100)) == 108, "a keepalive inside the transaction says nothing"
    assert idle_after(wire.keepalive(90)) == 108, "it never goes back"
    assert idle_after(wire.keepalive(160)) == 160


def test_a_reply_is_requested_once(impl: Implementation) -> None:
    decoder = impl.decoder()
    decoder.feed(wire.keepalive(50, wants_reply=True))
    decoder.feed(wire.keepalive(60))
    assert decoder.take().is_reply_requested
    decoder.feed(wire.keepalive(70))
    assert not decoder.take().is_reply_requested


def test_a_block_says_how_much_was_read(impl: Implementation) -> None:
    frames = [wire.begin(LSN), TABLE, wire.keepalive(50), wire.commit(LSN)]
    block = impl.decode(frames)
    assert block.frame_count == 4
    assert block.size == sum(map(len, frames))
    assert block.is_drained
    assert not block.is_ended


def test_taking_starts_a_new_block(impl: Implementation) -> None:
    decoder = impl.decoder()
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", "a", "b"])):
        decoder.feed(frame)
    first = to_builtins(decoder.take().changes)
    decoder.feed(wire.insert(1, ["2", "a", "b"]))
    second = decoder.take()
    assert [event["data"]["id"] for event in first] == [1]
    assert [event.data["id"] for event in second.changes] == [2]
    assert second.frame_count == 1
    assert second.ordinals == [2]
