"""Going on after a position: exactly what comes behind it, at every place where a stream can have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ditto.decoding.messages import Delivered
from ditto.lsn import ORIGIN, Position
from unit import wire
from unit.implementations import pass_none, positions
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

COLUMNS = [Column("id", wire.INT4, is_key=True)]
ROW = wire.insert(1, ["1"])
FRAMES = [
    wire.begin(100),
    wire.relation(1, "a", COLUMNS),
    wire.relation(2, "b", COLUMNS),
    ROW,
    wire.logical_message(),
    wire.truncate(1, 2),
    wire.commit(100),
    wire.begin(200),
    ROW,
    wire.commit(200),
    wire.begin(300),
    wire.update(2, ["1"]),
    wire.delete(2, key=["1"]),
    wire.commit(300),
]
WHOLE = [Position(*pair) for pair in [(100, 1), (100, 3), (100, 4), (200, 1), (300, 1), (300, 2)]]
# Also where nothing is: a checkpoint, a filtered event, between and beyond the transactions.
PLACES = [ORIGIN, *WHOLE, *(Position(*pair) for pair in [(99, 5), (100, 0), (100, 2), (100, 9), (108, 0), (150, 3)])]
PLACES += [Position(200, 0), Position(300, 0), Position(300, 3), Position(301, 0), Position((1 << 64) - 1, 5)]


def test_the_whole_stream(impl: Implementation) -> None:
    assert positions(impl.decode(FRAMES)) == WHOLE


@pytest.mark.parametrize("after", PLACES, ids=str)
def test_the_rest_is_exactly_what_comes_behind(impl: Implementation, after: Position) -> None:
    decoder = impl.decoder(after=after)
    for frame in FRAMES:
        decoder.feed(frame)
    block = decoder.take()
    rest = [position for position in WHOLE if position > after]
    assert positions(block) == rest
    assert decoder.skipped_count == len(WHOLE) - len(rest)
    assert block.delivered == Delivered(300, 308, len(rest)), "what is stored already may be confirmed"


def test_the_same_event_is_the_same_in_every_delivery(impl: Implementation) -> None:
    whole = impl.decode(FRAMES).changes
    assert impl.decode(FRAMES, after=WHOLE[2]).changes == whole[3:]


def test_what_is_stored_is_not_decoded(impl: Implementation) -> None:
    broken = ROW[:-1]
    block = impl.decode([*FRAMES[:3], broken, ROW, wire.commit(100)], after=Position(100, 1))
    assert positions(block) == [Position(100, 2)]


def test_a_stored_transaction_of_filtered_changes_may_be_confirmed(impl: Implementation) -> None:
    # The stream's tail is behind it, hence confirming it cannot pass the tail.
    decoder = impl.decoder(pass_none, after=Position(200, 1))
    for frame in FRAMES[:7]:
        decoder.feed(frame)
    assert decoder.take().delivered == Delivered(100, 108, 0)


def test_what_was_handed_on_is_counted_by_table_and_action(impl: Implementation) -> None:
    decoder = impl.decoder(after=Position(100, 1))
    for frame in [*FRAMES, wire.begin(400), wire.relation(1, "a", COLUMNS), ROW, wire.commit(400)]:
        decoder.feed(frame)
    assert decoder.passed_counts() == {("public", "a"): (2, 0, 0, 1, 0), ("public", "b"): (0, 1, 1, 1, 0)}
