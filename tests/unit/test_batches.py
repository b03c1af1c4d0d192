"""What the answers to a batch say is stored, and what they do not."""

from __future__ import annotations

import json

import pytest

from ditto.errors import ChainBroken, NotNow, PublishRejected
from ditto.sinks.jetstream.batches import Batches


def begun(*, last_sequence: int = 100) -> Batches:
    return Batches(stream="S", inbox="_INBOX.x", name="n", last_sequence=last_sequence)


def answer(batches: Batches, **fields: object) -> None:
    assert says(batches, json.dumps(fields).encode())


def says(batches: Batches, data: bytes, *, has_no_responders: bool = False) -> bool:
    return batches.answered(batches.reply.decode() + "1.2.$FI", data, has_no_responders=has_no_responders)


def test_acknowledgements_count_from_where_the_batch_began() -> None:
    batches = begun()
    batches.sent(600, is_committed=False)
    answer(batches, type="ack", seq=0, msgs=256)
    assert (batches.sent_sequence, batches.stored_sequence) == (700, 100), "the first answer only says that it began"
    answer(batches, type="ack", seq=256, msgs=256)
    assert batches.stored_sequence == 356
    answer(batches, type="ack", seq=512, msgs=100)
    assert batches.stored_sequence == 612


def test_large_messages_are_acknowledged_more_often() -> None:
    batches = begun()
    for count, size, flow in ((1, 100, 256), (4, 600_000, 6), (1, 5_000_000, 1), (100, 0, 256), (500, 150_000, 256)):
        batches.fit(count, size)
        assert (batches.flow, batches.reply) == (flow, b"_INBOX.x.n1.%d.fail." % flow)
    batches.fit(1, 5_000_000)
    batches.sent(1, is_committed=True)
    batches.ended()
    assert (batches.flow, batches.reply) == (256, b"_INBOX.x.n2.256.fail.")


def test_the_next_batch_follows_one_that_is_stored_completely() -> None:
    batches = begun()
    first = batches.reply
    batches.sent(2, is_committed=False)
    batches.sent(3, is_committed=True)
    assert batches.is_committing
    answer(batches, stream="S", seq=105, batch="n1", count=5)
    assert (batches.stored_sequence, batches.sent_sequence, batches.count) == (105, 105, 0)
    assert batches.reply != first
    for late in (b'{"type":"ack","seq":256,"msgs":256}', b"+ACK", b""):
        is_jetstreams = batches.answered(first.decode() + "256.1.$FI", late, has_no_responders=not late)
        assert is_jetstreams == (late != b"+ACK")
    assert batches.stored_sequence == 105, "a late answer to the batch before says nothing about this one"


def test_the_answer_that_is_expected_says_what_it_says_when_it_is_read() -> None:
    read, expected = begun(), begun()
    for batches in (read, expected):
        batches.sent(5, is_committed=True)
    message = expected.expected(7)
    head, body, _ = message.split(b"\r\n")
    assert head.split() == [b"MSG", read.reply + b"5.2.$FI", b"7", b"%d" % len(body)]
    assert read.answered(head.split()[1].decode(), body, has_no_responders=False)
    expected.ended()
    assert vars(read) == vars(expected)
    assert (read.stored_sequence, read.is_committing) == (105, False)


@pytest.mark.parametrize(
    ("fields", "is_committed"),
    [
        ({"stream": "S", "seq": 104, "batch": "n1", "count": 4}, True),  # ended before the last message
        ({"stream": "S", "seq": 105, "batch": "n1", "count": 5}, False),  # ended by nobody's wish
        ({"stream": "S", "seq": 106, "batch": "n1", "count": 5}, True),  # something else is in between
        ({"type": "gap", "last_seq": 2, "seq": 3}, False),
        ({"type": "ack", "seq": 6, "msgs": 256}, False),  # more than was sent
        (
            {
                "type": "err",
                "seq": 2,
                "error": {"code": 400, "err_code": 10071, "description": "wrong last sequence: 9"},
            },
            False,
        ),
        (
            {
                "error": {"code": 400, "err_code": 10208, "description": "batch publish ID unknown"},
                "stream": "S",
                "seq": 0,
            },
            False,
        ),
    ],
)
def test_what_breaks_the_chain(fields: dict[str, object], is_committed: bool) -> None:
    batches = begun()
    batches.sent(5, is_committed=is_committed)
    with pytest.raises(ChainBroken):
        answer(batches, **fields)
    assert batches.stored_sequence == 100


def test_other_refusals() -> None:
    batches = begun()
    batches.sent(1, is_committed=True)
    with pytest.raises(NotNow, match="full"):
        answer(batches, type="err", seq=1, error={"code": 503, "err_code": 10077, "description": "maximum bytes"})
    with pytest.raises(NotNow, match="could not write what follows sequence 100"):
        answer(
            batches,
            type="err",
            seq=2,
            error={"code": 400, "err_code": 10071, "description": "wrong last sequence: 100"},
        )
    with pytest.raises(PublishRejected):
        answer(batches, error={"code": 400, "err_code": 10109, "description": "stream is sealed"})
    with pytest.raises(NotNow, match="no stream answers"):
        says(batches, b"", has_no_responders=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"+ACK",
        b"+OK",
        b"\xff\xfe",
        b'"ok"',
        b"[]",
        b"5",
        b"null",
        b"true",
        b"{}",
        b'{"status":"ok"}',
        b'{"type":"ack"}',
        b'{"type":"ack","seq":"5","msgs":256}',
        b'{"type":"done","seq":5}',
        b'{"type":7}',
        b'{"error":"no"}',
        b'{"error":{"message":"no"}}',
        b'{"error":null}',
        b'{"stream":"S","seq":105}',
        b'{"stream":"S","seq":105,"batch":"somebody\'s","count":5}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("is_committed", [False, True])
def test_what_subscribers_reply_is_no_answer(data: bytes, is_committed: bool) -> None:
    batches = begun()
    batches.sent(5, is_committed=is_committed)
    assert not says(batches, data)
    assert (batches.stored_sequence, batches.sent_sequence, batches.is_committing) == (100, 105, is_committed)


def test_frames_of_single_messages() -> None:
    batches = begun(last_sequence=7)
    batches.sent(2, is_committed=False)
    reply = batches.reply
    assert reply.startswith(b"_INBOX.x.n1.")
    assert batches.frame(b"s", b"A: b\r\n", b"{}") == (
        b"HPUB s " + reply + b"3.2.$FI 50 52\r\nNATS/1.0\r\nNats-Expected-Last-Sequence: 9\r\nA: b\r\n\r\n{}\r\n"
    )
    assert batches.frame_end(b"s") == b"PUB s " + reply + b"3.3.$FI 0\r\n\r\n"
