"""What a decoder adds where the configuration asks: metadata, descriptions of tables, the last of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, to_builtins

from ditto.decoding.change import Event
from ditto.decoding.messages import Delivered, Extras, Relation, Targets
from ditto.lsn import Position
from unit import wire
from unit.implementations import positions, select_all
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
TABLE = wire.relation(1, "trades", [Column("id", wire.INT4, is_key=True), Column("j", wire.JSONB)])
OTHER = wire.relation(2, "other", [Column("id", wire.INT4, is_key=True)])
ALL = frozenset({"lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"})
LAST = Extras(marks_last=True)


def described(relation: Relation) -> Targets:
    return select_all(relation)._replace(
        primary_key=["id"],
        schema_version="v1",
        describe=lambda: (f"description of {relation.name}", "descriptions"),
    )


def metas(block: Any) -> list[Any]:
    found = [getattr(event, "meta", UNSET) for event in block.events]
    return [UNSET if meta is UNSET else to_builtins(meta) for meta in found]


def test_without_extras_there_is_no_meta(impl: Implementation) -> None:
    assert metas(impl.decode([wire.begin(LSN), TABLE, wire.insert(1, ["1", None]), wire.commit(LSN)])) == [UNSET]


def test_every_field_of_meta(impl: Implementation) -> None:
    decoder = impl.decoder(described, extras=Extras(ALL))
    for frame in (
        wire.begin(LSN),
        wire.origin("upstream"),
        TABLE,
        wire.insert(1, ["1", None]),
        wire.insert(1, ["2", None]),
        wire.commit(LSN),
        wire.begin(LSN + 16),
        wire.insert(1, ["3", None]),
    ):
        decoder.feed(frame)
    block = decoder.take()
    common = {"xid": 700, "primaryKey": ["id"], "schemaVersion": "v1"}
    assert block.events[0] == "description of trades"
    block.events.pop(0)
    assert metas(block) == [
        {"lsn": "16/B374D848", "ordinal": 1, "origin": "upstream", **common},
        {"lsn": "16/B374D848", "ordinal": 2, "origin": "upstream", **common},
        {"lsn": "16/B374D858", "ordinal": 1, "origin": None, **common},
    ]


def test_only_the_fields_that_are_asked_for(impl: Implementation) -> None:
    decoder = impl.decoder(extras=Extras(frozenset({"ordinal"})))
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", None])):
        decoder.feed(frame)
    assert metas(decoder.take()) == [{"ordinal": 1}]


def test_a_description_comes_once_before_the_first_event_at_the_place_of_the_one_before(impl: Implementation) -> None:
    decoder = impl.decoder(described)
    for frame in (
        wire.begin(LSN),
        OTHER,
        wire.insert(2, ["1"]),
        TABLE,
        wire.insert(1, ["1", None]),
        wire.insert(1, ["2", None]),
        wire.commit(LSN),
    ):
        decoder.feed(frame)
    block = decoder.take()
    assert [event if isinstance(event, str) else event.table for event in block.events] == [
        "description of other", "other", "description of trades", "trades", "trades",
    ]  # fmt: skip
    assert block.targets[0] == block.targets[2] == "descriptions"
    assert positions(block) == [Position(LSN, ordinal) for ordinal in (0, 1, 1, 2, 3)]
    assert block.delivered == Delivered(LSN, LSN + 8, 5)


def test_a_changed_relation_is_described_again(impl: Implementation) -> None:
    decoder = impl.decoder(described)
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", None]), TABLE, wire.insert(1, ["2", None])):
        decoder.feed(frame)
    assert [event for event in decoder.take().events if isinstance(event, str)] == ["description of trades"] * 2


def test_a_relation_is_asked_for_a_description_with_its_first_event_only(impl: Implementation) -> None:
    asked = []

    def select(relation: Relation) -> Targets:
        return select_all(relation)._replace(update=None, describe=lambda: asked.append(relation.name))

    decoder = impl.decoder(select)
    for frame in (wire.begin(LSN), TABLE, wire.update(1, ["1", None]), TABLE):
        decoder.feed(frame)
    assert asked == []
    for frame in (wire.insert(1, ["2", None]), wire.insert(1, ["3", None])):
        decoder.feed(frame)
    assert asked == ["trades"]
    assert [event.data["id"] for event in decoder.take().events] == [2, 3]


def test_events_that_are_stored_already_bring_no_description(impl: Implementation) -> None:
    decoder = impl.decoder(described, after=Position(LSN, 1))
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", None])):
        decoder.feed(frame)
    assert decoder.take().events == []
    decoder.feed(wire.insert(1, ["2", None]))
    block = decoder.take()
    assert block.events[0] == "description of trades"
    assert positions(block) == [Position(LSN, 1), Position(LSN, 2)]


def test_the_last_event_of_each_transaction_is_marked(impl: Implementation) -> None:
    decoder = impl.decoder(extras=LAST)
    for frame in (
        wire.begin(LSN),
        TABLE,
        wire.insert(1, ["1", None]),
        wire.insert(1, ["2", None]),
        wire.commit(LSN),
        wire.begin(LSN + 16),
        wire.commit(LSN + 16),
        wire.begin(LSN + 32),
        wire.insert(1, ["3", None]),
        wire.commit(LSN + 32),
    ):
        decoder.feed(frame)
    block = decoder.take()
    assert metas(block) == [UNSET, {"last": True}, {"last": True}]
    assert positions(block) == [Position(LSN, 1), Position(LSN, 2), Position(LSN + 32, 1)]
    assert block.delivered == Delivered(LSN + 32, LSN + 40, 3)


def test_only_one_event_waits_for_the_end_of_its_transaction(impl: Implementation) -> None:
    decoder = impl.decoder(described, extras=Extras(frozenset({"ordinal"}), marks_last=True))
    for frame in (wire.begin(LSN), OTHER, TABLE, wire.insert(2, ["1"]), wire.insert(1, ["1", None])):
        decoder.feed(frame)
    block = decoder.take()
    assert [event if isinstance(event, str) else event.table for event in block.events] == [
        "description of other", "other", "description of trades",
    ]  # fmt: skip
    assert decoder.take().events == []
    decoder.feed(wire.commit(LSN))
    block = decoder.take()
    assert metas(block) == [{"ordinal": 2, "last": True}]
    assert positions(block) == [Position(LSN, 2)]
    assert block.delivered == Delivered(LSN, LSN + 8, 1)


def test_jsons_null_is_told_from_sqls(impl: Implementation) -> None:
    table = wire.relation(3, "t", [Column("a", wire.JSONB, is_key=True), Column("b", 114, is_key=True)], identity="f")
    decoder = impl.decoder()
    for frame in (
        wire.begin(LSN),
        table,
        wire.insert(3, ["null", None]),
        wire.update(3, ["1", " null\n"], old=["null", "null"]),
        wire.update(3, ["null", "null"], old=["null", None]),
        wire.insert(3, ['"null"', "nul"]),
    ):
        decoder.feed(frame)
    first, second, third, fourth = decoder.take().events
    assert (first.json_null, first.json_null_old) == (["a"], UNSET)
    assert (second.json_null, second.json_null_old) == (["b"], ["a", "b"])
    assert (third.json_null, third.json_null_old) == (["a", "b"], ["a"])
    assert type(fourth) is Event
