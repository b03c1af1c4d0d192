"""A Relation message ends the block: nothing of its table is decoded before its plan is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from ditto.errors import DecodeError
from unit import wire
from unit.implementations import pass_all, plan_of
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

LSN = 0x16_B374_D848
COLUMNS = [Column("id", wire.INT4, is_key=True)]
TABLE = wire.relation(1, "trades", COLUMNS)
OTHER = wire.relation(2, "other", COLUMNS)


def test_a_relation_ends_the_block(impl: Implementation) -> None:
    decoder = impl.bare_decoder()
    for frame in (wire.begin(LSN), TABLE):
        decoder.feed(frame)
    first = decoder.take()
    assert (first.changes, first.frame_count) == ([], 2)
    assert first.relation is not None
    assert (first.relation.oid, first.relation.name) == (1, "trades")
    decoder.define(1, pass_all(first.relation))
    for frame in (wire.insert(1, ["1"]), wire.insert(1, ["2"]), OTHER):
        decoder.feed(frame)
    second = decoder.take()
    assert [change.data["id"] for change in second.changes] == [1, 2]
    assert second.relation is not None
    assert second.relation.name == "other"
    decoder.define(2, pass_all(second.relation))
    for frame in (wire.insert(2, ["3"]), wire.insert(1, ["4"]), wire.commit(LSN)):
        decoder.feed(frame)
    third = decoder.take()
    assert [(change.table, change.data["id"]) for change in third.changes] == [("other", 3), ("trades", 4)]
    assert third.relation is None


@pytest.mark.parametrize(
    "frame", [wire.insert(1, ["1"]), wire.update(1, ["1"]), wire.delete(1, key=["1"]), wire.truncate(1)]
)
def test_a_change_of_a_relation_without_a_plan_is_refused(impl: Implementation, frame: bytes) -> None:
    decoder = impl.bare_decoder()
    for each in (wire.begin(LSN), TABLE):
        decoder.feed(each)
    with pytest.raises(DecodeError, match="change of relation 1, which was not defined"):
        decoder.feed(frame)


def test_one_that_is_described_again_needs_a_new_plan(impl: Implementation) -> None:
    decoder = impl.bare_decoder()
    for frame in (wire.begin(LSN), TABLE):
        decoder.feed(frame)
    before = decoder.relation
    assert before is not None
    decoder.define(1, pass_all(before))
    for frame in (wire.insert(1, ["1"]), TABLE):
        decoder.feed(frame)
    block = decoder.take()
    assert len(block.changes) == 1
    again = block.relation
    assert again == before
    assert again is not before
    with pytest.raises(ValueError, match="relation 1 does not wait for this plan"):
        decoder.define(1, pass_all(before))
    assert again is not None
    decoder.define(1, plan_of(again, b"now", None, None, None))
    decoder.feed(wire.insert(1, ["2"]))
    assert decoder.take().routes == [b"now"]


def test_one_that_is_described_again_and_not_planned_is_refused(impl: Implementation) -> None:
    decoder = impl.bare_decoder()
    for frame in (wire.begin(LSN), TABLE):
        decoder.feed(frame)
    assert decoder.relation is not None
    decoder.define(1, pass_all(decoder.relation))
    for frame in (wire.insert(1, ["1"]), TABLE):
        decoder.feed(frame)
    with pytest.raises(DecodeError, match="not defined"):
        decoder.feed(wire.insert(1, ["2"]))


def test_a_plan_comes_once_and_fits_its_relation(impl: Implementation) -> None:
    decoder = impl.bare_decoder()
    decoder.feed(TABLE)
    relation = decoder.relation
    assert relation is not None
    plan = pass_all(relation)
    with pytest.raises(ValueError, match="relation 2 does not wait"):
        decoder.define(2, plan)
    with pytest.raises(ValueError, match="2 columns where the relation has 1"):
        decoder.define(1, replace(plan, kinds=bytes(2)))
    decoder.define(1, plan)
    assert decoder.relations() == {1: relation}
    with pytest.raises(ValueError, match="relation 1 does not wait"):
        decoder.define(1, plan)


def test_what_waits_for_its_plan_keeps_its_tables_place(impl: Implementation) -> None:
    decoder = impl.bare_decoder()
    for frame in (wire.begin(LSN), TABLE):
        decoder.feed(frame)
    known = decoder.relation
    assert known is not None
    decoder.define(1, pass_all(known))
    decoder.feed(wire.insert(1, ["1"]))
    decoder.feed(wire.relation(9, "trades", COLUMNS))  # made anew, while the first one is found to be dropped
    assert decoder.forget({1: known}) == set()
    assert decoder.passed_counts() == {("public", "trades"): (1, 0, 0, 0, 0)}
