"""The framed block: both implementations byte for byte, and read back by a parser that shares nothing with them."""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ditto.sinks.jetstream.pure_frames import FrameTooLarge
from unit.implementations import IMPLEMENTATIONS

if TYPE_CHECKING:
    from unit.implementations import Implementation

NO_LIMIT = 1 << 20
HEADER = re.compile(
    rb"NATS/1\.0\r\nNats-Expected-Last-Sequence: (\d+)\r\nDitto-Position: ([0-9A-F]+)/([0-9A-F]+):(\d+)\r\n\r\n"
)

REPLY = re.compile(rb"_INBOX\.abc\.batch1\.256\.fail\.(\d+)\.([0-4])\.\$FI")


class Message(NamedTuple):
    subject: bytes
    commit_lsn: int
    ordinal: int
    payload: bytes


class Parsed(NamedTuple):
    message: Message
    expected_sequence: int
    number: int
    """In the batch."""
    op: bytes
    end: int
    """Where in the block it ends."""


def parse(block: bytes) -> list[Parsed]:
    """Read `HPUB subject reply header_size total_size`, as https://docs.nats.io has it."""
    found = []
    pos = 0
    while pos < len(block):
        line_end = block.index(b"\r\n", pos)
        command, subject, reply, header_size, total_size = block[pos:line_end].split(b" ")
        assert command == b"HPUB"
        numbers = REPLY.fullmatch(reply)
        assert numbers is not None
        start = line_end + 2
        body = start + int(header_size)
        end = start + int(total_size)
        header = HEADER.fullmatch(block[start:body])
        assert header is not None
        sequence, high, low, ordinal = header.groups()
        assert not low.startswith(b"0") or low == b"0"
        assert block[end : end + 2] == b"\r\n"
        message = Message(subject, int(high, 16) << 32 | int(low, 16), int(ordinal), block[body:end])
        pos = end + 2
        found.append(Parsed(message, int(sequence), int(numbers[1]), numbers[2], pos))
    return found


def frame(
    impl: Implementation,
    messages: list[Message],
    *,
    gap: int = 1,
    last_sequence: int = 0,
    first_number: int = 1,
    is_committed: bool = False,
    max_size: int = NO_LIMIT,
) -> bytes:
    subjects, lsns, ordinals = ([message[field] for message in messages] for field in range(3))
    payloads = [message.payload for message in messages]
    block = impl.frame_block(
        subjects,
        lsns,
        ordinals,
        b"".join(payload + b"\n" * gap for payload in payloads),
        [end - gap for end in accumulate(len(payload) + gap for payload in payloads)],
        gap=gap,
        last_sequence=last_sequence,
        reply=b"_INBOX.abc.batch1.256.fail.",
        first_number=first_number,
        is_committed=is_committed,
        max_size=max_size,
    )
    return bytes(block)


messages_of_any_kind = st.lists(
    st.builds(
        Message,
        st.text("abcé._%", min_size=1, max_size=20).map(str.encode),
        st.integers(0, (1 << 64) - 1),
        st.integers(0, (1 << 63) - 1),
        st.binary(max_size=40) | st.just(b"\r\nHPUB x 1 2\r\n"),
    ),
    max_size=12,
)


@given(
    messages_of_any_kind,
    st.integers(0, (1 << 64) - 100),
    st.just(1) | st.integers(1, 1 << 40),
    st.booleans(),
    st.integers(0, 2),
)
def test_what_is_framed_is_read_back(
    messages: list[Message], last_sequence: int, first_number: int, is_committed: bool, gap: int
) -> None:
    compiled, plain = (
        frame(
            impl,
            messages,
            gap=gap,
            last_sequence=last_sequence,
            first_number=first_number,
            is_committed=is_committed,
        )
        for impl in IMPLEMENTATIONS
    )
    assert compiled == plain
    parsed = parse(compiled)
    assert [each.message for each in parsed] == messages
    assert [each.expected_sequence for each in parsed] == [last_sequence + index for index in range(len(messages))]
    assert [each.number for each in parsed] == [first_number + index for index in range(len(messages))]

    ops = [b"0" if each.number == 1 else b"1" for each in parsed]
    if ops and is_committed:
        ops[-1] = b"2"
    assert [each.op for each in parsed] == ops


def test_a_block_as_it_goes_out(impl: Implementation) -> None:
    block = frame(
        impl,
        [Message(b"ditto_public_a", 0x16_B374_D848, 1, b"{}"), Message(b"ditto_public_b", 0x16_0000_000F, 12, b"")],
        last_sequence=9,
        is_committed=True,
    )
    first = (
        b"HPUB ditto_public_a _INBOX.abc.batch1.256.fail.1.0.$FI 75 77\r\n"
        b"NATS/1.0\r\nNats-Expected-Last-Sequence: 9\r\nDitto-Position: 16/B374D848:1\r\n\r\n{}\r\n"
    )
    second = (
        b"HPUB ditto_public_b _INBOX.abc.batch1.256.fail.2.2.$FI 70 70\r\n"
        b"NATS/1.0\r\nNats-Expected-Last-Sequence: 10\r\nDitto-Position: 16/F:12\r\n\r\n\r\n"
    )
    assert block == first + second


def test_an_empty_block(impl: Implementation) -> None:
    assert frame(impl, []) == b""


def test_the_limit_is_on_headers_and_payload(impl: Implementation) -> None:
    messages = [Message(b"s", 1, 1, b"small"), Message(b"s", 1, 2, b"x" * 100)]
    sizes = [int(line.split()[-1]) for line in frame(impl, messages).split(b"\r\n") if line.startswith(b"HPUB")]
    frame(impl, messages, max_size=max(sizes))
    with pytest.raises(FrameTooLarge) as caught:
        frame(impl, messages, max_size=max(sizes) - 1)
    assert (caught.value.index, caught.value.size) == (1, max(sizes))


def frame_lists(impl: Implementation, *lists: object, gap: int = 1) -> None:
    """Frame what may not go together."""
    options = {"last_sequence": 0, "reply": b"r", "first_number": 1, "is_committed": False}
    impl.frame_block(*lists, gap=gap, max_size=NO_LIMIT, **options)


def test_each_message_has_headers_of_its_own(impl: Implementation) -> None:
    block = impl.frame_block(
        [b"s", b"s"],
        [1, 1],
        [1, 2],
        b"ab",
        [1, 2],
        gap=0,
        last_sequence=0,
        reply=b"r.",
        first_number=1,
        is_committed=False,
        max_size=NO_LIMIT,
        traceparents={1: b"t" * 55},
        headers=b"Of-All: x\r\n",
        own_headers=[b"", b"One: 1\r\nTwo: %b\r\n" % (b"2" * 500)],
    )
    head, first, _, rest = bytes(block).split(b"NATS/1.0\r\n", 2)[0], *bytes(block).partition(b"HPUB s r.2")
    assert head.endswith(b" 78 79\r\n")
    assert first.endswith(b"Of-All: x\r\n\r\na\r\n")
    start = rest.index(b"NATS/1.0")
    header_size, size = map(int, rest[:start].split()[-2:])
    header = rest[start : start + header_size]
    assert header.endswith(b"\r\ntraceparent: %b\r\nOne: 1\r\nTwo: %b\r\n\r\n" % (b"t" * 55, b"2" * 500))
    assert rest[start + header_size : start + size] == b"b"
    assert rest[start + size :] == b"\r\n"


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_headers_are_framed_alike(headers: list[bytes]) -> None:
    lists = ([b"s"] * len(headers), [1] * len(headers), [1] * len(headers), b"", [0] * len(headers))
    options = {"gap": 0, "last_sequence": 0, "reply": b"r", "first_number": 1, "is_committed": False, "max_size": 9999}
    compiled, plain = (impl.frame_block(*lists, **options, own_headers=headers) for impl in IMPLEMENTATIONS)
    assert compiled == plain
    if len(headers) > 1:
        for impl in IMPLEMENTATIONS:
            with pytest.raises(ValueError, match="length"):
                impl.frame_block(*lists, **options, own_headers=headers[1:])


def test_lists_of_different_lengths_are_an_error(impl: Implementation) -> None:
    for lengths in ((2, 1, 1, 1), (1, 2, 1, 1), (1, 1, 2, 1), (1, 1, 1, 2)):
        subjects, lsns, ordinals = ([item] * length for item, length in zip((b"s", 1, 1), lengths, strict=False))
        ends = list(range(lengths[3]))
        with pytest.raises(ValueError, match=r"length|longer|shorter"):
            frame_lists(impl, subjects, lsns, ordinals, b"\n\n", ends)


@pytest.mark.parametrize(("payloads", "ends"), [(b"", [0]), (b"a\n", [2]), (b"a\nb\n", [1, 0]), (b"a\n", [-1])])
def test_an_end_outside_of_the_payloads_is_an_error(impl: Implementation, payloads: bytes, ends: list[int]) -> None:
    count = len(ends)
    with pytest.raises(ValueError, match="outside"):
        frame_lists(impl, [b"s"] * count, [1] * count, [1] * count, payloads, ends)


def test_a_gap_of_less_than_nothing_is_an_error(impl: Implementation) -> None:
    with pytest.raises(ValueError, match="gap"):
        frame_lists(impl, [b"s"], [1], [1], b"abc", [1], gap=-1)


def test_without_a_gap_a_payload_may_end_where_the_payloads_do(impl: Implementation) -> None:
    frame_lists(impl, [b"s"], [1], [1], b"abc", [3], gap=0)
    with pytest.raises(ValueError, match="outside"):
        frame_lists(impl, [b"s"], [1], [1], b"abc", [4], gap=0)


@given(st.binary(max_size=60) | st.text("a\n", max_size=20).map(str.encode))
def test_the_ends_of_lines(data: bytes) -> None:
    expected = [index for index, byte in enumerate(data) if byte == 0x0A]
    assert [impl.line_ends(data) for impl in IMPLEMENTATIONS] == [expected, expected]


@pytest.mark.parametrize("field", [0, 3])
def test_what_is_not_bytes_is_an_error_and_no_crash(impl: Implementation, field: int) -> None:
    message: list[object] = [b"s", 1, 1, b""]
    message[field] = None
    with pytest.raises(TypeError):
        frame(impl, [Message(*message)])  # type: ignore[arg-type]
