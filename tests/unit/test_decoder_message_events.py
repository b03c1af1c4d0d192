"""Logical messages that become events: their places among the changes, and after a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ditto.decoding.change import MessageEvent
from ditto.decoding.messages import Delivered, RuleFailed
from ditto.lsn import ORIGIN, Position, transaction_at
from ditto.routing.table_plans import Routed
from unit import wire
from unit.implementations import Implementation, positions

if TYPE_CHECKING:
    from unit.implementations import Decoder

LSN = 0x16_B374D848
TABLE = wire.relation(1, "t", [wire.Column("id", 23, is_key=True)])
ROW = wire.insert(1, ["1"])


def rule(prefix: str, content: bytes, is_transactional: bool) -> Routed | None:
    if content == b"wrong":
        raise RuleFailed("events.messages.a", "it is wrong")
    headers = b"x: %d\r\n" % is_transactional if content == b"with headers" else b""
    return Routed(b"to." + prefix.encode(), headers) if prefix.startswith("a") else None


def decoder_of(impl: Implementation, **options: Any) -> Decoder:
    return impl.decoder(message_rule=rule, **options)


def beside(content: bytes = b"beside", *, end: int, prefix: str = "a") -> bytes:
    """A message that is part of no transaction; PostgreSQL sends the end of its record."""
    return wire.logical_message(content, is_transactional=False, prefix=prefix, lsn=end)


def test_in_order_with_the_rows(impl: Implementation) -> None:
    decoder = decoder_of(impl)
    for frame in (
        wire.begin(LSN),
        TABLE,
        ROW,
        wire.logical_message(b"with headers", prefix="a"),
        wire.logical_message(b"", prefix="b"),
        ROW,
        wire.commit(LSN),
    ):
        decoder.feed(frame)
    block = decoder.take()
    assert positions(block) == [Position(LSN, 1), Position(LSN, 2), Position(LSN, 4)]
    assert isinstance(block.changes[1], MessageEvent)
    assert block.changes[1].commit_time == block.changes[0].commit_time
    assert block.routes[1] == b"to.a"
    assert block.headers == [b"", b"x: 1\r\n", b""]
    assert block.delivered == Delivered(LSN, LSN + 8, 3)


def test_dittos_own_messages_are_never_events(impl: Implementation) -> None:
    decoder = impl.decoder(message_rule=lambda *_: Routed(b"r"))
    for prefix in ("ditto.wait", "ditto.snapshot", "traceparent", "ditto.marker"):
        decoder.feed(beside(prefix=prefix, end=LSN))
    assert decoder.take().changes == []


@pytest.mark.parametrize("distance", [0, 8, 40])
def test_a_message_of_no_transaction_and_the_commit_right_after_it(impl: Implementation, distance: int) -> None:
    """Its record may end where the commit's begins: neither takes the other's place."""
    decoder = decoder_of(impl)
    decoder.feed(beside(end=LSN))
    block = decoder.take()
    (place,) = positions(block)
    assert place < Position(LSN - 1, 1), "before the rows that a snapshot stores before the commit"
    assert transaction_at(place, "") is None
    assert block.idle_lsn == LSN, "not past the commit, which has not come yet"
    assert block.delivered is not None
    assert block.delivered.end_lsn <= LSN
    for frame in (wire.begin(LSN + distance), TABLE, ROW, wire.commit(LSN + distance)):
        decoder.feed(frame)
    assert positions(decoder.take()) == [Position(LSN + distance, 1)]


def test_after_a_restart(impl: Implementation) -> None:
    """What comes again is skipped, whichever of the two was stored last."""
    frames = [beside(end=LSN), wire.begin(LSN), TABLE, ROW, wire.commit(LSN), beside(end=LSN + 96)]
    first = decoder_of(impl)
    for frame in frames:
        first.feed(frame)
    everything = positions(first.take())
    assert len(everything) == 3
    for stored in range(4):
        decoder = decoder_of(impl, after=everything[stored - 1] if stored else ORIGIN)
        for frame in frames:
            decoder.feed(frame)
        assert positions(decoder.take()) == everything[stored:]


def test_a_message_waits_at_the_barrier(impl: Implementation) -> None:
    decoder = decoder_of(impl)
    decoder.stop_before(LSN)
    decoder.feed(beside(end=LSN))
    assert len(decoder.take().changes) == 1
    decoder.feed(beside(b"after", end=LSN + 200))
    block = decoder.take()
    assert (block.changes, block.is_at_barrier) == ([], True)
    decoder.stop_before(0)
    decoder.feed(wire.keepalive(LSN + 300))
    assert [event.content for event in decoder.take().changes] == [b"after"]


@pytest.mark.parametrize("is_transactional", [True, False])
def test_a_rule_that_fails(impl: Implementation, is_transactional: bool) -> None:
    decoder = decoder_of(impl)
    wrong = wire.logical_message(b"wrong", is_transactional=is_transactional, prefix="a", lsn=LSN)
    if is_transactional:
        decoder.feed(wire.begin(LSN))
    with pytest.raises(RuleFailed) as caught:
        decoder.feed(wrong)
    assert (caught.value.relation, caught.value.action, caught.value.ordinal) == ("a", "MESSAGE", 1)
