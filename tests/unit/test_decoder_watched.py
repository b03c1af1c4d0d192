"""What a decoder remembers of transactions: which came first, and which was the last."""

from __future__ import annotations

from ditto.lsn import Transaction
from unit.implementations import Implementation
from unit.wire import begin, commit

TIME = "2000-01-01T00:00:00.000001Z"


def test_the_first_two_transactions_from_an_lsn_on_are_watched(impl: Implementation) -> None:
    decoder = impl.decoder(watch_lsn=0x200)
    assert decoder.watched == []
    assert decoder.last_transaction() is None
    for lsn in (0x100, 0x1FF, 0x200, 0x300, 0x400):
        decoder.feed(begin(lsn, time_us=1))
        decoder.feed(commit(lsn))
    assert [each.commit_lsn for each in decoder.watched] == [0x200, 0x300]
    assert decoder.watched[0].commit_time == TIME
    assert decoder.last_transaction() == Transaction(0x400, TIME, decoder.watched[0].xid)


def test_a_transaction_is_watched_from_its_begin_on(impl: Implementation) -> None:
    decoder = impl.decoder()
    decoder.feed(begin(0x100))
    assert [each.commit_lsn for each in decoder.watched] == [0x100]
