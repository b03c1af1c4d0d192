"""When a checkpoint is due."""

from __future__ import annotations

import pytest

from ditto.pipeline.checkpoint_timing import PERIOD_S, CheckpointTiming, Progress

QUIET = Progress(
    idle_lsn=0x200,
    confirmed_lsn=0x100,
    end_lsn=0x180,
    wanted_lsn=0,
    outstanding=0,
    is_reply_requested=False,
    is_synchronous=False,
)
"""Nothing is under way, and the server's WAL has grown since the last transaction."""


def is_due(progress: Progress, *, after_s: float = 0.0, saved_lsn: int = 0) -> bool:
    rule = CheckpointTiming(now=50.0)
    if saved_lsn:
        rule.saved(saved_lsn, now=50.0)
    return rule.is_due(progress, now=50.0 + after_s)


@pytest.mark.parametrize("after_s", [0.0, PERIOD_S - 0.1, PERIOD_S, 100.0])
def test_once_a_period_while_nothing_is_to_be_stored(after_s: float) -> None:
    assert is_due(QUIET, after_s=after_s) == (after_s >= PERIOD_S)


def test_the_period_begins_with_the_last_one() -> None:
    rule = CheckpointTiming(now=0.0)
    rule.saved(0x100, now=5.0)
    assert not rule.is_due(QUIET, now=5.0 + PERIOD_S - 0.1)
    assert rule.is_due(QUIET, now=5.0 + PERIOD_S)


def test_not_while_messages_are_under_way() -> None:
    """Their acknowledgement confirms more than the checkpoint would."""
    assert not is_due(QUIET._replace(outstanding=1), after_s=100.0)


def test_not_where_nothing_was_written_since() -> None:
    assert not is_due(QUIET._replace(idle_lsn=QUIET.end_lsn), after_s=100.0)


def test_not_inside_a_transaction() -> None:
    inside = QUIET._replace(idle_lsn=0)
    assert not is_due(inside, after_s=100.0)
    assert not is_due(inside._replace(is_reply_requested=True))
    assert not is_due(inside._replace(is_synchronous=True))
    assert not is_due(inside._replace(wanted_lsn=0x10))


@pytest.mark.parametrize(("confirmed_lsn", "expected"), [(0x1FF, True), (0x200, False), (0x300, False)])
def test_at_once_where_the_server_waits_for_an_answer(confirmed_lsn: int, expected: bool) -> None:
    """A server that shuts down waits until the slot has confirmed all that it sent."""
    asked = QUIET._replace(is_reply_requested=True, confirmed_lsn=confirmed_lsn, end_lsn=0x300, outstanding=5)
    assert is_due(asked) == expected


@pytest.mark.parametrize(
    ("wanted_lsn", "saved_lsn", "expected"),
    [(0x200, 0, True), (0x1FF, 0, True), (0x201, 0, False), (0x180, 0x180, False), (0x181, 0x180, True)],
)
def test_at_once_for_an_lsn_that_somebody_waits_for(wanted_lsn: int, saved_lsn: int, expected: bool) -> None:
    assert is_due(QUIET._replace(wanted_lsn=wanted_lsn, outstanding=3), saved_lsn=saved_lsn) == expected


@pytest.mark.parametrize(
    ("confirmed_lsn", "saved_lsn", "expected"),
    [(0x100, 0, True), (0x200, 0, False), (0x100, 0x200, False), (0x100, 0x1FF, True)],
)
def test_at_once_while_commits_wait(confirmed_lsn: int, saved_lsn: int, expected: bool) -> None:
    waiting = QUIET._replace(is_synchronous=True, confirmed_lsn=confirmed_lsn, outstanding=3)
    assert is_due(waiting, saved_lsn=saved_lsn) == expected
