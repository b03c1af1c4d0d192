"""The header `traceparent`: from a logical message or a column to the framed message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.decoding.change import Change
from ditto.decoding.messages import Block
from ditto.routing.traceparents import Traceparents, is_traceparent
from unit import wire
from unit.implementations import IMPLEMENTATIONS
from unit.wire import Column

if TYPE_CHECKING:
    from unit.implementations import Implementation

A = b"00-" + b"a" * 32 + b"-" + b"1" * 16 + b"-01"
B = b"00-" + b"b" * 32 + b"-" + b"2" * 16 + b"-00"
TABLE = wire.relation(1, "t", [Column("id", wire.INT4, is_key=True), Column("trace")])
ROW = wire.insert(1, ["1", None])


def message(value: bytes = A, *, is_transactional: bool = True, prefix: str = "traceparent") -> bytes:
    return wire.logical_message(value, prefix=prefix, is_transactional=is_transactional)


@pytest.mark.parametrize(
    "value",
    [
        A.upper(),
        A[:-1],
        A + b"0",
        b"ff" + A[2:],
        A.replace(b"a", b"0"),
        A.replace(b"1" * 16, b"0" * 16),
        A[:-2] + b"\r\n",
        b"0" * 55,
        b"",
    ],
)
def test_what_is_no_traceparent(value: bytes) -> None:
    assert not is_traceparent(value)


def test_a_message_counts_for_what_follows_it_in_its_transaction(impl: Implementation) -> None:
    decoder, traceparents = impl.decoder(), Traceparents(None)
    for frame in [
        *(wire.begin(100), TABLE, ROW, message(A), ROW, ROW, message(B), ROW, wire.commit(100)),
        *(wire.begin(200), ROW, wire.commit(200)),
        *(wire.begin(300), message(B), ROW),
    ]:
        decoder.feed(frame)
    assert traceparents.of(decoder.take()) == {1: A, 2: A, 3: B, 5: B}
    for frame in [ROW, wire.commit(300), wire.begin(400), ROW, wire.commit(400)]:
        decoder.feed(frame)
    assert traceparents.of(decoder.take()) == {0: B}, "it goes on in the next block, and ends with the transaction"
    for frame in [wire.begin(500), ROW, wire.commit(500)]:
        decoder.feed(frame)
    assert traceparents.of(decoder.take()) is None


@pytest.mark.parametrize(
    "frame",
    [
        message(is_transactional=False),
        message(prefix="trace"),
        message(A + b"\r\nNats-Rollup: all"),
        message(A[:-2] + b"\r\n"),
        message(b""),
    ],
)
def test_other_messages_set_nothing(impl: Implementation, frame: bytes) -> None:
    block = impl.decode([wire.begin(100), TABLE, frame, ROW, wire.commit(100)])
    assert Traceparents(None).of(block) is None


def event(data: dict[str, Any], data_old: dict[str, Any] | None = None) -> Change:
    return Change("id", "public", "t", "INSERT", data, data_old or {}, "2026-01-01T00:00:00.000000Z")


def test_a_column_counts_for_its_row_and_before_the_message() -> None:
    rows: list[dict[str, Any]] = [
        {"trace": A.decode()},
        {"trace": "no"},
        {"trace": None},
        {"trace": 7},
        {},
        {"trace": "é" * 55},
    ]
    events = [*(event(row) for row in rows), event({}, {"trace": A.decode()})]
    block = Block(events, [b"s"] * 7, [100] * 7, list(range(1, 8)))
    assert Traceparents("trace").of(block) == {0: A, 6: A}
    block.traceparents = [(100, 0, B)]
    assert Traceparents("trace").of(block) == {0: A, **dict.fromkeys(range(1, 6), B), 6: A}
    assert Traceparents(None).of(Block(events, [b"s"] * 7, [100] * 7, list(range(1, 8)))) is None


def test_only_a_header_of_that_name_is_the_applications_own() -> None:
    events = [event({"trace": A.decode()}) for _ in range(4)]
    lines = [b"traceparent: x\r\n", b"a: b\r\ntraceparent: x\r\n", b"note: traceparent: x\r\n", b""]
    block = Block(events, [b"s"] * 4, [100] * 4, [1, 2, 3, 4])
    block.headers = lines
    assert Traceparents("trace").of(block) == {2: A, 3: A}


def test_many_messages_without_events_take_no_memory() -> None:
    traceparents = Traceparents(None)
    for lsn in range(1, 5000):
        assert traceparents.of(Block([], [], [], [], traceparents=[(lsn, 1, A)])) is None
    assert len(traceparents._waiting) <= 1000
    last = Block([event({})], [b"s"], [4999], [2])
    assert traceparents.of(last) == {0: A}


@given(st.lists(st.sampled_from([None, A, B]), min_size=1, max_size=300))
def test_both_implementations_frame_the_header_alike(wanted: list[bytes | None]) -> None:
    count = len(wanted)
    framed = [
        impl.frame_block(
            [b"s"] * count,
            [(1 << 64) - 1] * count,
            [(1 << 64) - 1] * count,
            b"x\n" * count,
            list(range(1, 2 * count, 2)),
            gap=1,
            last_sequence=(1 << 63) - 1,
            reply=b"r.",
            first_number=1,
            is_committed=False,
            max_size=1 << 20,
            traceparents={index: value for index, value in enumerate(wanted) if value is not None},
        )
        for impl in IMPLEMENTATIONS
    ]
    assert all(bytes(block) == bytes(framed[0]) for block in framed)
    headers = [part.partition(b"\r\n\r\n")[0] for part in bytes(framed[0]).split(b"NATS/1.0\r\n")[1:]]
    assert [header.partition(b"\r\ntraceparent: ")[2] or None for header in headers] == wanted


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (b"", {0: A}),
        (b"traceparent: x\r\n", None),
        (b"a: b\r\ntraceparent: x\r\n", None),
        (b"a: traceparent: x\r\n", {0: A}),
        (b"a-traceparent: x\r\n", {0: A}),
    ],
)
def test_a_header_of_the_application_takes_its_place(lines: bytes, found: dict[int, bytes] | None) -> None:
    change = Change("", "s", "t", "INSERT", {}, {}, "T")
    block = Block([change], [b"r"], [1], [1], headers=[lines], traceparents=[(1, 0, A)])
    assert Traceparents(None).of(block) == found


def test_another_size_is_refused(impl: Implementation) -> None:
    with pytest.raises(ValueError, match="size"):
        impl.frame_block(
            [b"s"],
            [1],
            [1],
            b"x\n",
            [1],
            gap=1,
            last_sequence=0,
            reply=b"r.",
            first_number=1,
            is_committed=False,
            max_size=1 << 20,
            traceparents={0: A + b"0"},
        )
