"""What a decoder adds where the configuration asks: metadata, descriptions of tables, the last of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, to_builtins

from ditto.decoding.change import Change
from ditto.decoding.messages import Delivered, Extras, Relation
from ditto.lsn import Position
from ditto.routing.table_descriptions import TableDescription
from ditto.routing.table_plans import TablePlan
from unit import wire
from unit.implementations import description_of, pass_all, plan_of, positions
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
TABLE = wire.relation(1, "trades", [Column("id", wire.INT4, is_key=True), Column("j", wire.JSONB)])
WIDER = wire.relation(
    1, "trades", [Column("id", wire.INT4, is_key=True), Column("j", wire.JSONB), Column("more", wire.TEXT)]
)
OTHER = wire.relation(2, "other", [Column("id", wire.INT4, is_key=True)])
ALL = frozenset({"lsn", "xid", "ordinal", "primary_key", "origin", "schema_version"})
LAST = Extras(marks_last=True)


def described(relation: Relation) -> TablePlan:
    """The version is the number of columns."""
    version = f"v{len(relation.columns)}"
    return pass_all(
        relation, primary_key=("id",), schema_version=version, description=description_of(relation, version)
    )


def tables(block: Any) -> list[str]:
    """By change the table's name, or what it describes."""
    return [
        f"description of {change.table}" if isinstance(change, TableDescription) else change.table
        for change in block.changes
    ]


def metas(block: Any) -> list[Any]:
    found = [getattr(event, "meta", UNSET) for event in block.changes]
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
    common = {"xid": 700, "primaryKey": ["id"], "schemaVersion": "v2"}
    assert tables(block)[0] == "description of trades"
    block.changes.pop(0)
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
    assert tables(block) == [
        "description of other", "other", "description of trades", "trades", "trades",
    ]  # fmt: skip
    assert (block.routes[0], block.routes[2]) == (b"described other", b"described trades")
    assert positions(block) == [Position(LSN, ordinal) for ordinal in (0, 1, 1, 2, 3)]
    assert block.delivered == Delivered(LSN, LSN + 8, 5)


def test_a_changed_relation_is_described_again(impl: Implementation) -> None:
    decoder = impl.decoder(described)
    for frame in (
        wire.begin(LSN),
        TABLE,
        wire.insert(1, ["1", None]),
        TABLE,
        wire.insert(1, ["2", None]),
        WIDER,
        wire.insert(1, ["3", None, None]),
        TABLE,
        wire.insert(1, ["4", None]),
    ):
        decoder.feed(frame)
    changes = decoder.take().changes
    found = [each.version if isinstance(each, TableDescription) else each.data["id"] for each in changes]
    assert found == ["v2", 1, 2, "v3", 3, "v2", 4]


def test_a_change_that_is_filtered_brings_no_description(impl: Implementation) -> None:
    def plan(relation: Relation) -> TablePlan:
        return plan_of(relation, b"i", None, b"d", b"t", description=description_of(relation))

    decoder = impl.decoder(plan)
    for frame in (wire.begin(LSN), TABLE, wire.update(1, ["1", None]), TABLE):
        decoder.feed(frame)
    assert decoder.take().changes == []
    for frame in (wire.insert(1, ["2", None]), wire.insert(1, ["3", None])):
        decoder.feed(frame)
    assert tables(decoder.take()) == ["description of trades", "trades", "trades"]


def test_a_description_that_is_stored_already_does_not_come_again(impl: Implementation) -> None:
    stored = {b"described trades": "v2", b"described other": "v7"}
    decoder = impl.decoder(described, described=stored)
    for frame in (wire.begin(LSN), OTHER, TABLE, wire.insert(1, ["1", None]), wire.insert(2, ["1"])):
        decoder.feed(frame)
    assert tables(decoder.take()) == ["trades", "description of other", "other"]
    assert stored == {b"described trades": "v2", b"described other": "v7"}, "the caller's stays as it is"


def test_a_table_that_is_made_anew_is_described_again(impl: Implementation) -> None:
    decoder = impl.decoder(described)
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", None]), wire.commit(LSN)):
        decoder.feed(frame)
    assert decoder.forget(decoder.relations()) == {("public", "trades")}
    again = wire.relation(9, "trades", [Column("id", wire.INT4, is_key=True), Column("j", wire.JSONB)])
    decoder.take()
    for frame in (wire.begin(LSN + 16), again, wire.insert(9, ["1", None])):
        decoder.feed(frame)
    assert tables(decoder.take()) == ["description of trades", "trades"]


def test_events_that_are_stored_already_bring_no_description(impl: Implementation) -> None:
    decoder = impl.decoder(described, after=Position(LSN, 1))
    for frame in (wire.begin(LSN), TABLE, wire.insert(1, ["1", None])):
        decoder.feed(frame)
    assert decoder.take().changes == []
    decoder.feed(wire.insert(1, ["2", None]))
    block = decoder.take()
    assert tables(block)[0] == "description of trades"
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
    assert tables(block) == [
        "description of other", "other", "description of trades",
    ]  # fmt: skip
    assert decoder.take().changes == []
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
    first, second, third, fourth = decoder.take().changes
    assert (first.json_null, first.json_null_old) == (["a"], UNSET)
    assert (second.json_null, second.json_null_old) == (["b"], ["a", "b"])
    assert (third.json_null, third.json_null_old) == (["a", "b"], ["a"])
    assert type(fourth) is Change


def test_a_null_of_json_that_was_not_sent_again_is_told_too(impl: Implementation) -> None:
    table = wire.relation(3, "t", [Column("a", wire.JSONB, is_key=True), Column("b", 114, is_key=True)], identity="f")
    decoder = impl.decoder()
    for frame in (wire.begin(LSN), table, wire.update(3, ["1", wire.UNCHANGED], old=["1", "null"])):
        decoder.feed(frame)
    (change,) = decoder.take().changes
    assert (change.json_null, change.json_null_old) == (["b"], ["b"])
