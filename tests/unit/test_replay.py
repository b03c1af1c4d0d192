"""Where a batch of messages ends, whichever way the server says so; integration/test_verify.py has the real server."""

from __future__ import annotations

import pytest
from nats.aio.msg import Msg

from ditto.errors import SinkLost
from ditto.sinks.jetstream.batch_reader import BatchReader

BATCH = 40
CHECKPOINT = "ditto._checkpoint"


def message(sequence: int, *, pending: int = 1) -> Msg:
    reply = f"$JS.ACK.DITTO.c.1.{sequence}.{sequence}.1.{pending}"
    return Msg(None, CHECKPOINT, reply, b"{}", {"Ditto-Position": f"0/{sequence:X}:0"})  # type: ignore[arg-type]


def status(subject: str, code: str, words: str = "") -> Msg:
    return Msg(None, subject, "", b"", {"Status": code, "Description": words})  # type: ignore[arg-type]


def reader(*, last: int | None) -> BatchReader:
    return BatchReader("ditto", batch=BATCH, last_sequence=last)


async def test_what_is_said_of_an_earlier_batch_does_not_end_a_later_one() -> None:
    reading = reader(last=BATCH + 3)
    first = reading.expect_batch("inbox")
    for sequence in range(1, BATCH + 1):
        await reading.on_message(message(sequence))
    assert reading.batch.done()
    reading.expect_batch("inbox")
    await reading.on_message(status(first, "409", "Batch Completed"))
    assert not reading.batch.done()
    for sequence in range(BATCH + 1, BATCH + 4):
        await reading.on_message(message(sequence))
    await reading.batch
    assert (reading.messages, reading.is_done) == (BATCH + 3, True)


async def test_a_batch_that_is_full_is_followed_by_another() -> None:
    reading = reader(last=9)
    inbox = reading.expect_batch("inbox")
    await reading.on_message(message(1))
    await reading.on_message(status(inbox, "100", "Idle Heartbeat"))
    assert not reading.batch.done()
    await reading.on_message(status(inbox, "409", "Message Size Exceeds MaxBytes"))
    await reading.batch
    assert not reading.is_done


@pytest.mark.parametrize("code", ["404", "408"])
async def test_messages_that_were_removed_meanwhile_are_not_waited_for(code: str) -> None:
    reading = reader(last=9)
    await reading.on_message(status(reading.expect_batch("inbox"), code, "No Messages"))
    await reading.batch
    assert reading.is_done


@pytest.mark.parametrize(
    ("code", "words"),
    [("409", "Consumer Deleted"), ("503", ""), ("409", "Server Shutdown")],
)
async def test_what_keeps_it_from_the_end_is_an_error(code: str, words: str) -> None:
    reading = reader(last=9)
    await reading.on_message(status(reading.expect_batch("inbox"), code, words))
    with pytest.raises(SinkLost, match=words or "no consumer"):
        await reading.batch


async def test_a_message_that_is_larger_than_a_batch_gets_a_larger_one_once() -> None:
    reading = reader(last=9)
    words = "Message Size Exceeds MaxBytes"
    await reading.on_message(status(reading.expect_batch("inbox"), "409", words))
    await reading.batch
    assert (reading.needs_room, reading.is_done) == (True, False)
    await reading.on_message(status(reading.expect_batch("inbox"), "409", words))
    with pytest.raises(SinkLost, match=words):
        await reading.batch


@pytest.mark.parametrize("code", ["404", "408"])
async def test_a_stream_that_is_followed_has_no_end(code: str) -> None:
    reading = reader(last=None)
    await reading.on_message(status(reading.expect_batch("inbox"), code, "Request Timeout"))
    await reading.batch
    reading.expect_batch("inbox")
    await reading.on_message(message(1, pending=0))
    assert not reading.batch.done()
    assert not reading.is_done


async def test_a_message_that_was_lost_on_the_way_is_an_error() -> None:
    reading = reader(last=9)
    reading.expect_batch("inbox")
    await reading.on_message(message(1))
    await reading.on_message(message(3))
    with pytest.raises(SinkLost, match="messages were lost"):
        await reading.batch
