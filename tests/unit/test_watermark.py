"""The confirmed LSN against a model that knows everything: it never passes what is stored."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ditto.pipeline.watermark import ConfirmDelay, Watermark


class Confirming(RuleBasedStateMachine):
    """A stream that grows, transactions that are sent, acknowledgements that come in any steps."""

    @initialize(tail=st.integers(0, 50))
    def start(self, tail: int) -> None:
        self.watermark = Watermark()
        self.sent_sequence = tail  # of the last message that was sent
        self.stored_sequence = 0  # of the last one that is known to be stored
        self.wal_lsn = 1000
        self.ends: list[tuple[int, int, int]] = []
        self.confirmed_before = 0

    @rule(events=st.integers(0, 3), gap=st.integers(1, 100), size=st.integers(1, 50))
    def send_transaction(self, events: int, gap: int, size: int) -> None:
        commit_lsn = self.wal_lsn + gap
        self.wal_lsn = commit_lsn + size
        self.sent_sequence += events
        self.note(commit_lsn, self.wal_lsn)

    @rule(gap=st.integers(0, 100))
    def send_checkpoint(self, gap: int) -> None:
        self.wal_lsn += gap
        self.sent_sequence += 1
        self.note(self.wal_lsn, self.wal_lsn)

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """A transaction that was sent before: skipped as stored already, it brings no new message."""
        if self.ends:
            _, confirmed_lsn, end_lsn = data.draw(st.sampled_from(self.ends), label="end")
            self.note(confirmed_lsn, end_lsn)

    def note(self, confirmed_lsn: int, end_lsn: int) -> None:
        before = self.watermark.confirmed_lsn
        self.ends.append((self.sent_sequence, confirmed_lsn, end_lsn))
        has_moved = self.watermark.sent(self.sent_sequence, confirmed_lsn, end_lsn)
        assert has_moved == (self.watermark.confirmed_lsn != before)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        before = self.watermark.confirmed_lsn
        sequence = data.draw(st.integers(0, self.sent_sequence), label="sequence")  # an old one too
        self.stored_sequence = max(self.stored_sequence, sequence)
        assert self.watermark.stored(sequence) == (self.watermark.confirmed_lsn != before)

    @invariant()
    def confirms_exactly_what_is_stored(self) -> None:
        stored = [(lsn, end) for sequence, lsn, end in self.ends if sequence <= self.stored_sequence]
        assert self.watermark.confirmed_lsn == max((lsn for lsn, _ in stored), default=0)
        assert self.watermark.end_lsn == max((end for _, end in stored), default=0)

    @invariant()
    def never_goes_back(self) -> None:
        assert self.watermark.confirmed_lsn >= self.confirmed_before
        self.confirmed_before = self.watermark.confirmed_lsn


TestConfirming = Confirming.TestCase


def test_a_transaction_is_confirmed_with_its_last_event() -> None:
    watermark = Watermark()
    assert not watermark.sent(3, 101, 108)
    assert not watermark.stored(2)
    assert watermark.confirmed_lsn == 0
    assert watermark.stored(3)
    assert (watermark.confirmed_lsn, watermark.end_lsn) == (101, 108)
    assert not watermark.stored(3)


def test_one_acknowledgement_may_confirm_several() -> None:
    watermark = Watermark()
    watermark.sent(1, 101, 108)
    watermark.sent(5, 201, 208)
    watermark.sent(9, 301, 308)
    assert watermark.stored(6)
    assert (watermark.confirmed_lsn, watermark.end_lsn) == (201, 208)


def test_a_transaction_that_comes_again_does_not_take_it_back() -> None:
    watermark = Watermark()
    watermark.stored(7)
    assert watermark.sent(7, 500, 500)
    assert not watermark.sent(7, 101, 108)
    assert (watermark.confirmed_lsn, watermark.end_lsn) == (500, 500)


def test_a_transaction_whose_events_are_stored_already_is_confirmed_at_once() -> None:
    watermark = Watermark()
    watermark.stored(7)
    assert watermark.sent(7, 101, 108)
    assert watermark.confirmed_lsn == 101


def test_without_a_delay_everything_is_confirmed_at_once() -> None:
    delay = ConfirmDelay(0, start_lsn=5)
    assert [delay.confirm(lsn, now=1.0) for lsn in (7, 9)] == [7, 9]


def test_an_lsn_is_confirmed_when_its_delay_is_over_and_not_before() -> None:
    delay = ConfirmDelay(10, start_lsn=5)
    assert delay.confirm(7, now=100) == 5
    assert delay.confirm(9, now=104) == 5
    assert delay.confirm(9, now=109.9) == 5
    assert delay.confirm(9, now=110) == 7
    assert delay.confirm(9, now=113.9) == 7
    assert delay.confirm(9, now=114) == 9


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 5)), max_size=300), st.floats(0.5, 20))
def test_the_delay_against_a_model_that_remembers_everything(steps: list[tuple[float, int]], delay_s: float) -> None:
    delay = ConfirmDelay(delay_s, start_lsn=1)
    now, lsn = 0.0, 1
    seen: list[tuple[float, int]] = []
    for seconds, growth in steps:
        now, lsn = now + seconds, lsn + growth
        seen.append((now, lsn))
        confirmed = delay.confirm(lsn, now=now)
        step_s = delay_s / ConfirmDelay.STEPS
        at_most = max((each for at, each in seen if now - at >= delay_s - 1e-9), default=1)
        at_least = max((each for at, each in seen if now - at >= delay_s + step_s + 1e-9), default=1)
        assert at_least <= confirmed <= at_most
        assert len(delay._held) <= ConfirmDelay.STEPS + 2
