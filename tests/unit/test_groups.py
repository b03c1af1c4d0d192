"""Groups: what is packed is every event once, in order, never two transactions in a message, each marked rightly."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.config import Group
from ditto.decoding.change import Change
from ditto.decoding.messages import Block, Delivered
from ditto.formats.layouts import ARRAY, LINES, MSGPACK, Layout
from ditto.formats.payloads import Payloads
from ditto.formats.stored_groups import events_in
from ditto.pipeline import groups
from ditto.pipeline.groups import Groups
from unit.implementations import IMPLEMENTATIONS

if TYPE_CHECKING:
    from unit.implementations import Implementation

ROUTE = b"ditto.transactions"
OWN = b"ditto._schema.public.t"
TIME = "2026-01-01T00:00:00.000001Z"


class Event(NamedTuple):
    lsn: int
    ordinal: int
    payload: bytes
    is_own: bool = False
    is_end: bool = False
    """The commit follows in the same block."""


class Message(NamedTuple):
    route: bytes
    position: tuple[int, int]
    payload: bytes
    headers: dict[str, str]
    traceparent: bytes | None

    @property
    def is_group(self) -> bool:
        return "Ditto-Events" in self.headers


def change(payload: bytes) -> Change:
    return Change(id=repr(payload), schema="s", table="t", action="INSERT", data={}, data_old={}, commit_time=TIME)


def payloads_of(events: list[Event], gap: int = 1) -> Payloads:
    data = b"".join(each.payload + b"\n" * gap for each in events)
    return Payloads(data, [end - gap for end in accumulate(len(each.payload) + gap for each in events)], gap)


def block_of(events: list[Event], delivered: Delivered | None) -> Block:
    return Block(
        [change(each.payload) for each in events],
        [OWN if each.is_own else bytes(bytearray(ROUTE)) for each in events],
        [each.lsn for each in events],
        [each.ordinal for each in events],
        delivered=delivered,
    )


class Scene:
    """Groups of one session, what they have given, and how many messages each block's transactions were."""

    def __init__(self, *, layout: Layout = ARRAY, accepts: int = 0, tail: tuple[int, int] = (0, 0), **options: Any):
        config = Group(**options)
        self.groups = Groups(config, layout=layout, route=ROUTE, max_bytes=accepts, tail=tail)
        self.messages: list[Message] = []
        self.events = 0
        self.delivered: list[tuple[int, int]] = []
        """Of each transaction that a block completed: its LSN, and how many messages there are up to its end."""

    def pack(
        self,
        *events: Event,
        delivered: int = 0,
        traceparents: dict[int, bytes] | None = None,
        gap: int = 1,
        is_made: bool = False,
    ) -> list[Message]:
        until = sum(each.lsn <= delivered for each in events)
        end = Delivered(delivered, delivered + 8, until) if delivered else None
        packed = self.groups.pack(
            block_of(list(events), end), payloads_of(list(events), gap), traceparents, is_made=is_made
        )
        block, each_payload = packed.block, list(packed.payloads.each())
        assert len(block.changes) == len(block.routes) == len(each_payload) == len(block.headers or [])
        found = [
            Message(
                route,
                (lsn, ordinal),
                bytes(payload),
                dict(line.split(": ") for line in headers.decode().split("\r\n")[:-1]),
                (packed.traceparents or {}).get(index),
            )
            for index, (route, lsn, ordinal, payload, headers) in enumerate(
                zip(block.routes, block.commit_lsns, block.ordinals, each_payload, block.headers or [], strict=True)
            )
        ]
        if block.delivered is not None:
            self.delivered.append((block.delivered.commit_lsn, len(self.messages) + block.delivered.event_count))
        self.messages += found
        self.events += packed.events
        return found


def events(lsn: int, count: int, *, first: int = 1) -> list[Event]:
    return [Event(lsn, ordinal, b'{"n":%d}' % ordinal) for ordinal in range(first, first + count)]


def test_a_transaction_is_one_message() -> None:
    (message,) = Scene().pack(*events(0x100, 3), delivered=0x100)
    assert message.payload == b'[{"n":1},{"n":2},{"n":3}]'
    assert message.position == (0x100, 3)
    assert message.route == ROUTE
    assert message.headers == {
        "Ditto-Id": repr(b'{"n":3}'),
        "Ditto-Commit-Time": TIME,
        "Ditto-First": "1",
        "Ditto-Events": "3",
        "Ditto-Group": "1",
        "Ditto-Group-Last": "true",
    }


def test_a_transaction_whose_end_comes_later_waits_for_it() -> None:
    scene = Scene()
    assert scene.pack(*events(0x100, 2)) == []
    assert scene.pack(*events(0x100, 1, first=3)) == []
    (message,) = scene.pack(delivered=0x100)
    assert message.payload == b'[{"n":1},{"n":2},{"n":3}]'
    assert "Ditto-Group-Last" in message.headers
    assert scene.delivered == [(0x100, 1)]


def test_a_full_group_goes_when_another_event_comes() -> None:
    scene = Scene(max_events=2)
    assert scene.pack(*events(0x100, 2)) == []
    (first,) = scene.pack(*events(0x100, 1, first=3))
    (second,) = scene.pack(delivered=0x100)
    assert [each.headers.get("Ditto-Group-Last") for each in (first, second)] == [None, "true"]
    assert [each.headers["Ditto-Group"] for each in (first, second)] == ["1", "2"]
    assert [each.headers["Ditto-First"] for each in (first, second)] == ["1", "3"]
    assert [each.position for each in (first, second)] == [(0x100, 2), (0x100, 3)]


def test_lines_have_no_line_break_of_an_embedded_document() -> None:
    scene = Scene(layout=LINES)
    (message,) = scene.pack(Event(1, 1, b'{"a":\r\n1}'), Event(1, 2, b'{"b":2}'), delivered=1)
    assert message.payload == b'{"a":  1}\n{"b":2}\n'


@pytest.mark.parametrize("count", [1, 15, 16, 500, 70_000])
def test_messagepack(count: int) -> None:
    scene = Scene(layout=MSGPACK, max_events=100_000, max_bytes=1 << 30)
    encoded = [Event(1, number + 1, msgspec.msgpack.encode({"n": number})) for number in range(count)]
    (message,) = scene.pack(*encoded, delivered=1, gap=0)
    assert msgspec.msgpack.decode(message.payload) == [{"n": number} for number in range(count)]


def test_a_message_of_its_own_waits_behind_the_group_to_tell_whether_that_is_the_last() -> None:
    scene = Scene()
    own = Event(0x100, 3, b"own", is_own=True)
    assert scene.pack(*events(0x100, 2), own) == []
    group, other = scene.pack(delivered=0x100)
    assert "Ditto-Group-Last" in group.headers
    assert (other.route, other.payload) == (OWN, b"own")
    assert other.headers == {"Ditto-Group": "1"}
    assert scene.delivered == [(0x100, 2)]


def test_a_group_goes_on_behind_a_message_of_its_own_as_the_next_one() -> None:
    scene = Scene()
    own = Event(0x100, 2, b"own", is_own=True)
    first, other, last = scene.pack(*events(0x100, 1), own, *events(0x100, 2, first=3), delivered=0x100)
    assert [first.payload, other.payload, last.payload] == [b'[{"n":1}]', b"own", b'[{"n":3},{"n":4}]']
    assert [each.headers["Ditto-Group"] for each in (first, other, last)] == ["1", "1", "2"]
    assert ["Ditto-Group-Last" in each.headers for each in (first, other, last)] == [False, False, True]


def test_what_waits_behind_a_group_is_bounded() -> None:
    scene = Scene(max_events=3)
    scene.pack(*events(0x100, 1))
    for ordinal in range(2, 20):
        scene.pack(Event(0x100, ordinal, b"own", is_own=True))
    assert len(scene.messages) == 19
    assert "Ditto-Group-Last" not in scene.messages[0].headers


def test_rows_of_a_snapshot_do_not_wait() -> None:
    scene = Scene(max_events=2)
    found = scene.pack(*events(0x200, 3), is_made=True) + scene.pack(*events(0x200, 2, first=4), is_made=True)
    assert [each.headers["Ditto-Events"] for each in found] == ["2", "1", "2"]
    assert [each.headers["Ditto-Group"] for each in found] == ["1", "2", "3"]
    assert not any("Ditto-Group-Last" in each.headers for each in found)


def test_a_control_event_comes_after_the_group_before_it() -> None:
    scene = Scene()
    assert scene.pack(*events(0x100, 2)) == []
    found = scene.pack(Event(0x100, 3, b"control", is_own=True), is_made=True, delivered=0x100)
    assert [each.payload for each in found] == [b'[{"n":1},{"n":2}]', b"control"]
    assert scene.delivered == [(0x100, 2)]


def test_a_session_goes_on_with_the_numbers_of_the_transaction_at_the_tail() -> None:
    scene = Scene(tail=(0x100, 7))
    (message,) = scene.pack(*events(0x100, 1, first=4), delivered=0x100)
    assert message.headers["Ditto-Group"] == "8"
    (message,) = scene.pack(*events(0x108, 1), delivered=0x108)
    assert message.headers["Ditto-Group"] == "1"


def test_a_group_has_the_first_traceparent_of_its_events() -> None:
    scene = Scene()
    first, second = scene.pack(
        *events(1, 3), *events(2, 1), delivered=2, traceparents={1: b"a" * 55, 2: b"b" * 55, 3: b"c" * 55}
    )
    assert (first.traceparent, second.traceparent) == (b"a" * 55, b"c" * 55)


def test_no_message_is_larger_than_the_sink_takes_unless_an_event_is() -> None:
    scene = Scene(accepts=2048, max_events=1000)
    large = [Event(1, ordinal, b"%d" % ordinal * 300) for ordinal in range(1, 30)]
    scene.pack(*large, Event(1, 99, b"x" * 3000), delivered=1)
    sizes = [len(each.payload) for each in scene.messages]
    assert max(sizes[:-1]) <= 1536
    assert sizes[-1] == 3002


payloads = st.integers(0, 12).map(lambda size: b'"%b"' % (b"x" * size))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[int]]:
    """Events of transactions, and where the blocks end."""
    found: list[Event] = []
    for number in range(draw(st.integers(1, 5))):
        kinds = draw(st.lists(st.tuples(payloads, st.integers(0, 5)), min_size=1, max_size=12))
        for ordinal, (payload, kind) in enumerate(kinds, 1):
            found.append(Event(8 * (number + 1), ordinal, payload, kind == 0, ordinal == len(kinds)))
    cuts = sorted(set(draw(st.lists(st.integers(0, len(found)), max_size=6))) | {len(found)})
    return found, cuts


@given(histories(), st.integers(1, 6), st.integers(8, 60), st.booleans(), st.sampled_from(IMPLEMENTATIONS))
def test_every_event_once_and_marked_rightly(
    history: tuple[list[Event], list[int]],
    max_events: int,
    size: int,
    ends_late: bool,
    impl: Implementation,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(groups, "split", impl.split)
        patch.setattr(groups, "join", impl.join)
        patch.setattr(groups, "_HEADER_ROOM", 0)
        check_history(*history, max_events=max_events, size=size, ends_late=ends_late)


def check_history(found: list[Event], cuts: list[int], *, max_events: int, size: int, ends_late: bool) -> None:
    scene = Scene(max_events=max_events, accepts=size)
    start, late = 0, 0
    for cut in cuts:
        part = found[start:cut]
        ended = [late] + [each.lsn for each in part if each.is_end and not (ends_late and each is part[-1])]
        scene.pack(*part, delivered=max(ended))
        late = part[-1].lsn if part and part[-1].is_end else 0
        start = cut
    if late:
        scene.pack(delivered=late)
    stored: list[tuple[tuple[int, int], bytes]] = []
    for message in scene.messages:
        inside = events_in(message.payload) if message.is_group else [message.payload]
        first = int(message.headers["Ditto-First"]) if message.is_group else message.position[1]
        stored += [((message.position[0], first), inside[0])]
        stored += [((message.position[0], 0), each) for each in inside[1:]]
        if message.is_group:
            assert len(inside) == int(message.headers["Ditto-Events"]) <= max_events
            assert len(message.payload) <= size or len(inside) == 1
            assert message.position[1] == first + len(inside) - 1
    assert [payload for _, payload in stored] == [each.payload for each in found]
    assert scene.events == len(found)
    for lsn in {each.lsn for each in found}:
        mine = [each for each in scene.messages if each.position[0] == lsn and each.is_group]
        assert [int(each.headers["Ditto-Group"]) for each in mine] == list(range(1, len(mine) + 1))
        marks = ["Ditto-Group-Last" in each.headers for each in mine]
        assert not any(marks[:-1])
        behind: list[bytes] = []
        for each in found:
            if each.lsn == lsn:
                behind = [*behind, each.payload] if each.is_own else []
        if marks and len(behind) <= max_events and sum(map(len, behind)) <= max(size - 5, 1):
            assert marks[-1]
    for lsn, count in scene.delivered:
        before, after = scene.messages[:count], scene.messages[count:]
        assert all(each.position[0] <= lsn for each in before)
        assert all(each.position[0] > lsn for each in after)


@given(
    st.lists(st.tuples(st.binary(max_size=6), st.sampled_from([ROUTE, OWN]), st.integers(1, 3)), max_size=20),
    st.integers(0, 2),
    st.integers(1, 5),
    st.integers(1, 30),
    st.integers(0, 4),
    st.data(),
)
def test_both_implementations_split_and_join_alike(
    entries: list[tuple[bytes, bytes, int]], gap: int, max_events: int, max_bytes: int, count: int, data: st.DataObject
) -> None:
    ends = [end - gap for end in accumulate(len(payload) + gap for payload, _, _ in entries)]
    whole = b"".join(payload + b"\n" * gap for payload, _, _ in entries)
    routes, lsns = [route for _, route, _ in entries], sorted(lsn for _, _, lsn in entries)
    options = {"gap": gap, "route": ROUTE, "max_events": max_events, "max_bytes": max_bytes}
    split, plain = (
        impl.split(routes, lsns, ends, **options, lsn=1, count=count, size=count * 3) for impl in IMPLEMENTATIONS
    )
    assert split == plain
    if not entries:
        return
    first = data.draw(st.integers(0, len(entries) - 1))
    stop = data.draw(st.integers(first + 1, len(entries)))
    separator, is_line = data.draw(st.sampled_from([(-1, False), (44, False), (10, True)]))
    joined = []
    for impl in IMPLEMENTATIONS:
        into = bytearray(b"before" * (count % 2))
        impl.join(into, whole, ends, first, stop, gap=gap, separator=separator, is_line=is_line)
        joined.append(bytes(into))
    assert joined[0] == joined[1]


def test_an_empty_payload_has_its_separator_too(impl: Implementation) -> None:
    for gap, data, ends in ((1, b"\na\n", [0, 2]), (0, b"a", [0, 1])):
        into = bytearray()
        impl.join(into, data, ends, 0, 2, gap=gap, separator=44, is_line=False)
        assert into == b",a"


def test_what_does_not_fit_together_is_an_error(impl: Implementation) -> None:
    options = {"gap": 1, "route": ROUTE, "max_events": 2, "max_bytes": 9, "lsn": 0, "count": 0, "size": 0}
    with pytest.raises(ValueError, match=r"length|shorter|longer"):
        impl.split([ROUTE], [1, 2], [1], **options)
    for ends, first, stop in (([1], 1, 1), ([1], 0, 2), ([9], 0, 1), ([3, 1], 0, 2), ([-5, 1], 0, 1)):
        into = bytearray(b"x")
        with pytest.raises(ValueError, match=r"no such|outside"):
            impl.join(into, b"ab\n", ends, first, stop, gap=1, separator=44, is_line=False)
        assert into == b"x"


def test_events_are_read_back() -> None:
    deep = b'{"n":' + b"[" * 3000 + b"]" * 3000 + b"}"
    assert events_in(b"[" + deep + b',{"n":2}]') == [deep, b'{"n":2}']
    assert events_in(b'{"n":1}\n{"n":2}\n') == [b'{"n":1}', b'{"n":2}']
    assert events_in(b'{"n":1}') == [b'{"n":1}']
    assert json.loads(events_in(b'[{"n":"]"}]')[0]) == {"n": "]"}
