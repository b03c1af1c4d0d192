"""Whether what the slot sends is the history that the stream was filled from."""

from __future__ import annotations

from typing import Any

import pytest

from ditto.errors import SourceRewound
from ditto.lsn import Position, Transaction
from ditto.pipeline.source_history import History
from ditto.sinks.base import Capabilities

TIME = "2026-11-25T12:00:00.000001Z"
LATER = "2026-11-25T12:00:00.000002Z"
LAST = Transaction(0x500, TIME, 700)
EVENT = Position(0x500, 3)
CHECKPOINT = Position(0x600, 0)


def history(tail: Position, *, last: Transaction | None = LAST, confirmed_lsn: int = 0x400, **options: Any) -> History:
    return History(
        tail=tail,
        last=last,
        confirmed_lsn=confirmed_lsn,
        is_same_publication=options.pop("is_same_publication", True),
        sink=Capabilities("stream", "DITTO", "nats.stream and events.prefix"),
        doubt=options.pop("doubt", None),
    )


def at(lsn: int, time: str = LATER, xid: int | None = 800) -> Transaction:
    return Transaction(lsn, time, xid)


@pytest.mark.parametrize(
    ("tail", "sent", "idle_lsn"),
    [
        # The last transaction comes again, alone or with the next one.
        (EVENT, [LAST], 0),
        (EVENT, [LAST], 0x580),
        (EVENT, [LAST, at(0x700)], 0),
        (EVENT, [at(0x500, TIME, None)], 0),
        # After a checkpoint there is the rest of the way to it, in which nothing may come.
        (CHECKPOINT, [LAST, at(0x600)], 0),
        (CHECKPOINT, [LAST, at(0x700)], 0),
        (CHECKPOINT, [LAST], 0x600),
    ],
)
def test_the_same_history(tail: Position, sent: list[Transaction], idle_lsn: int) -> None:
    told = history(tail)
    assert not told.is_certain
    told.judge(sent, idle_lsn)
    assert told.is_certain


@pytest.mark.parametrize(
    ("tail", "sent", "idle_lsn"),
    [(EVENT, [], 0), (EVENT, [], 0x500), (CHECKPOINT, [LAST], 0), (CHECKPOINT, [LAST], 0x5FF), (CHECKPOINT, [], 0x4FF)],
)
def test_not_certain_yet(tail: Position, sent: list[Transaction], idle_lsn: int) -> None:
    told = history(tail)
    told.judge(sent, idle_lsn)
    assert not told.is_certain


@pytest.mark.parametrize(
    ("tail", "sent", "idle_lsn", "words"),
    [
        (EVENT, [at(0x500, LATER, 700)], 0, "sends one of 2026-11-25T12:00:00.000002Z in its place"),
        (EVENT, [at(0x500, TIME, 701)], 0, "sends transaction 701 in its place"),
        (EVENT, [at(0x501)], 0, "does not send it again"),
        (EVENT, [], 0x501, "does not send it again"),
        (CHECKPOINT, [at(0x700)], 0, "does not send it again"),
        (CHECKPOINT, [], 0x601, "does not send it again"),
        (CHECKPOINT, [at(0x500)], 0, "in its place"),
        (CHECKPOINT, [LAST, at(0x5FF)], 0, "sends one at 0/5FF that the stream has not"),
        (CHECKPOINT, [at(0x5FF)], 0, "sends one at 0/5FF that the stream has not"),
    ],
)
def test_another_history(tail: Position, sent: list[Transaction], idle_lsn: int, words: str) -> None:
    told = history(tail)
    with pytest.raises(SourceRewound) as caught:
        told.judge(sent, idle_lsn)
    assert words in caught.value.message
    assert f"transaction 700 of {TIME}" in caught.value.message
    assert "on_gap: continue" in (caught.value.hint or "")
    assert not told.is_certain


def test_a_slot_that_has_passed_the_last_transaction_does_not_send_it() -> None:
    told = history(CHECKPOINT, confirmed_lsn=0x501)
    told.judge([at(0x700)], 0)
    assert told.is_certain
    told = history(CHECKPOINT, confirmed_lsn=0x501)
    told.judge([], 0x600)
    assert told.is_certain
    told = history(CHECKPOINT, confirmed_lsn=0x501)
    with pytest.raises(SourceRewound):
        told.judge([at(0x580)], 0)


@pytest.mark.parametrize(
    ("tail", "last", "confirmed_lsn"),
    [
        (CHECKPOINT, LAST, 0x600),  # everything before the checkpoint is confirmed: nothing of it comes again
        (CHECKPOINT, None, 0x400),  # a checkpoint of an earlier version
        (EVENT, LAST, 0x501),  # a gap, which is another matter
    ],
)
def test_what_cannot_be_compared_is_not(tail: Position, last: Transaction | None, confirmed_lsn: int) -> None:
    assert history(tail, last=last, confirmed_lsn=confirmed_lsn).is_certain


@pytest.mark.parametrize("sent", [[at(0x501)], [at(0x580), at(0x590)], [LAST, at(0x580)]])
def test_another_publication_may_leave_out_and_add_transactions(sent: list[Transaction]) -> None:
    told = history(CHECKPOINT, is_same_publication=False)
    told.judge(sent, 0)
    assert told.is_certain


def test_another_publication_does_not_change_a_commit_time() -> None:
    with pytest.raises(SourceRewound):
        history(EVENT, is_same_publication=False).judge([at(0x500, LATER, 700)], 0)


def test_the_last_transaction_is_known_from_elsewhere() -> None:
    told = history(EVENT)
    with pytest.raises(SourceRewound):
        told.judge([at(0x501)], 0)
    assert told.is_last_absent
    told.know_last()
    told.judge([at(0x501)], 0)
    assert told.is_certain


def test_only_an_absent_transaction_can_be_known_from_elsewhere() -> None:
    told = history(CHECKPOINT)
    with pytest.raises(SourceRewound):
        told.judge([LAST, at(0x5FF)], 0)
    assert not told.is_last_absent


@pytest.mark.parametrize("sent", [[at(0x500)], [at(0x501)], [at(0x4FF, TIME, 700), at(0x501)]])
def test_a_doubt_is_raised_unless_the_last_transaction_comes(sent: list[Transaction]) -> None:
    doubt = SourceRewound("a doubt")
    with pytest.raises(SourceRewound, match="a doubt"):
        history(EVENT, doubt=doubt, is_same_publication=False).judge(sent, 0)
    told = history(EVENT, doubt=doubt, is_same_publication=False)
    told.judge([LAST], 0)
    assert told.is_certain
